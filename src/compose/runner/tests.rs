//! Versions of Compose as they are written.

use super::*;

#[test]
fn versions_are_read_as_distributions_write_them() {
    for (text, numbers) in [
        ("2.40.3-3", (2, 40, 3)),
        ("v2.26.1", (2, 26, 1)),
        ("2.26.1-4\n", (2, 26, 1)),
        ("5.0.0-desktop.1", (5, 0, 0)),
        ("2.20+ds1", (2, 20, 0)),
        ("1.29.2", (1, 29, 2)),
    ] {
        assert_eq!(
            Version::parse(text).map(|version| version.numbers),
            Some(numbers),
            "{text}"
        );
    }
    assert_eq!(Version::parse("docker-compose version 1.29"), None);
    let version = Version::parse("2.26.1-4").unwrap();
    assert!(version > Version::OLDEST && version < (2, 26, 2));
}

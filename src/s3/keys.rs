//! Paths of files as keys of objects, and back. A key is the prefix and the path, with `/` between names.

use crate::model::config::Prefix;

/// No storage takes a longer key. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>
const LONGEST_KEY: usize = 1024;
/// No Linux file system takes a longer name.
const LONGEST_NAME: usize = 255;

/// The key of a path.
///
/// # Errors
/// Says in words why no object can have it as its key.
pub fn key_of(prefix: &Prefix, path: &[u8]) -> Result<String, &'static str> {
    let path = std::str::from_utf8(path).map_err(|_| "its name is not UTF-8, and keys of objects are")?;
    // A list of objects is XML, which has no way to write them.
    if path.chars().any(char::is_control) {
        return Err("there is a control character in its name");
    }
    let key = format!("{prefix}{path}");
    match key.len() > LONGEST_KEY {
        true => Err("its path is longer than the 1,024 bytes that a key may have"),
        false => Ok(key),
    }
}

/// The path of a key; `None` for one that is no path below a directory: outside of the prefix, with a name of nothing,
/// `.` or `..` in it, or ending with `/`, as the markers of some consoles do.
#[must_use]
pub fn path_of<'a>(prefix: &Prefix, key: &'a str) -> Option<&'a str> {
    let path = key.strip_prefix(prefix.as_str())?;
    let fine = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= LONGEST_NAME && !name.bytes().any(|b| b == 0)
    };
    path.split('/').all(fine).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_becomes_a_key_and_a_path_again() {
        let media = prefix("/media");
        for path in ["a", "a b/c+d%20.jpg", "ä/a\u{308}", "x/..y/.z"] {
            let key = key_of(&media, path.as_bytes()).unwrap();
            assert_eq!(
                (key.as_str(), path_of(&media, &key)),
                (&*format!("media/{path}"), Some(path))
            );
        }
        assert_eq!(key_of(&prefix(""), b"a").unwrap(), "a");
        assert_eq!(path_of(&prefix("/"), "a/b"), Some("a/b"));
    }

    #[test]
    fn what_cannot_be_a_key_is_told() {
        let media = prefix("media");
        let long = [b'a'; LONGEST_KEY - 6];
        assert!(key_of(&media, &long).is_ok());
        for (bad, why) in [
            (&b"\xff"[..], "UTF-8"),
            (b"a\nb", "control"),
            (&[b'a'; LONGEST_KEY - 5], "1,024"),
        ] {
            assert!(key_of(&media, bad).unwrap_err().contains(why));
        }
    }

    #[test]
    fn a_key_leads_nowhere_else() {
        let media = prefix("media");
        let long = format!("media/{}", "a".repeat(256));
        for key in [
            "media/",
            "media/a/",
            "media//a",
            "media/../a",
            "media/./a",
            "mediaa",
            "other",
            "media/a\0b",
            &long,
        ] {
            assert_eq!(path_of(&media, key), None, "{key:?}");
        }
    }
}

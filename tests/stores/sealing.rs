//! Sealed entries are read by age and zstd, and what those two made is read as an entry.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;

use rehome::backup::format::{Encryption, Sealed};
use rehome::backup::seal::{Encrypting, Keys, Recipient, Sealer, Sealing, unseal};
use rehome::model::{Kind, Result, Secret};

use crate::support::{bash, noise, sha256, told};

/// A pair of keys by age-keygen: the public one; the secret one lies in `key` there.
pub fn keys(dir: &Path) -> Recipient {
    bash(dir, "age-keygen -o key 2>/dev/null; age-keygen -y key")
        .parse()
        .unwrap()
}

pub fn seal(plain: &[u8], encryption: Encrypting, level: i32) -> (Sealed, Vec<u8>) {
    let mut sealer = Sealer::new(Vec::new(), &Sealing { level, encryption }).unwrap();
    for piece in plain.chunks(100_000) {
        sealer.write_all(piece).unwrap();
    }
    sealer.finish().unwrap()
}

pub fn open(stored: &[u8], sealed: &Sealed, keys: &Keys) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let mut from = unseal(Box::new(Cursor::new(stored.to_vec())), sealed, keys)?;
    from.read_to_end(&mut plain)
        .map_err(|e| rehome::backup::failed("cannot restore", &e))?;
    Ok(plain)
}

/// Some that can be compressed and some that cannot, and lengths around what zstd and age take at once.
pub fn contents() -> Vec<Vec<u8>> {
    let mut text = Vec::new();
    for n in 0..40_000 {
        writeln!(text, "INSERT INTO site VALUES ({n}, 'row {n}');").unwrap();
    }
    vec![
        Vec::new(),
        b"x".to_vec(),
        noise(10, (64 << 10) - 1),
        noise(11, 300_000),
        vec![0; 3 << 20],
        text,
    ]
}

#[test]
fn age_and_zstd_read_what_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let (dir, recipient) = (dir.path(), keys(dir.path()));
    for (i, plain) in contents().iter().enumerate() {
        for (encryption, command) in [
            (Encrypting::None, "zstd -dc entry"),
            (
                Encrypting::Recipients(vec![recipient.clone()]),
                "age -d -i key entry | zstd -dc",
            ),
        ] {
            for level in [1, 3, 19, 99] {
                let (sealed, stored) = seal(plain, encryption.clone(), level);
                assert_eq!(sealed.bytes, plain.len() as u64);
                assert_eq!(sealed.stored_bytes, stored.len() as u64);
                std::fs::write(dir.join("entry"), &stored).unwrap();
                let read = bash(dir, &format!("{command} | sha256sum"));
                assert!(read.starts_with(&sha256(plain)), "{i}, {level}: {command}");
                let given = Keys::none().with_file(&dir.join("key")).unwrap();
                assert!(open(&stored, &sealed, &given).unwrap() == *plain, "{i}, {level}");
            }
        }
    }
    // zstd says itself that there is a checksum.
    let (_, stored) = seal(&noise(1, 1000), Encrypting::None, 3);
    std::fs::write(dir.join("entry"), stored).unwrap();
    assert!(bash(dir, "cp entry entry.zst; zstd -lv entry.zst").contains("XXH64"));
}

#[test]
fn what_age_and_zstd_wrote_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    keys(dir);
    let plain = noise(20, 500_000);
    std::fs::write(dir.join("plain"), &plain).unwrap();
    bash(
        dir,
        "zstd -q --check plain -o entry.zst; age -R <(age-keygen -y key) -o entry.zst.age entry.zst",
    );
    for name in ["entry.zst", "entry.zst.age"] {
        let stored = std::fs::read(dir.join(name)).unwrap();
        let sealed = judged(&plain, &stored);
        let given = Keys::none().with_file(&dir.join("key")).unwrap();
        assert!(open(&stored, &sealed, &given).unwrap() == plain, "{name}");
    }
}

/// What the manifest would say of these bytes.
pub fn judged(plain: &[u8], stored: &[u8]) -> Sealed {
    Sealed {
        bytes: plain.len() as u64,
        blake3: blake3::hash(plain).to_hex().to_string(),
        stored_bytes: stored.len() as u64,
        stored_blake3: blake3::hash(stored).to_hex().to_string(),
    }
}

#[test]
fn a_passphrase_opens_it_here_and_in_age() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let plain = noise(30, 200_000);
    let secret = || Secret::new("correct horse battery");
    let (sealed, stored) = seal(&plain, Encrypting::Passphrase(secret()), 3);
    let given = Keys::none().with_passphrase(secret());
    assert!(open(&stored, &sealed, &given).unwrap() == plain);
    std::fs::write(dir.join("entry"), &stored).unwrap();
    // age asks a terminal.
    bash(
        dir,
        "(sleep 1; echo 'correct horse battery'; sleep 4) | script -qec 'age -d -o opened entry' /dev/null",
    );
    assert!(bash(dir, "zstd -dc opened | sha256sum").starts_with(&sha256(&plain)));

    let wrong = Keys::none().with_passphrase(Secret::new("wrong"));
    let failure = open(&stored, &sealed, &wrong).unwrap_err();
    assert_eq!(failure.kind, Kind::Refused);
    assert_eq!(
        told(&failure),
        "the passphrase is not the one that the backup was encrypted with\n\
        data: nothing was changed\n\
        hint: give the passphrase that it was made with"
    );
    assert_eq!(
        open(&stored, &sealed, &Keys::none()).unwrap_err().what,
        "the backup is encrypted with a passphrase, and none was given"
    );
}

#[test]
fn keys_that_do_not_fit_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let recipient = keys(dir);
    bash(dir, "age-keygen -o other 2>/dev/null");
    let plain = noise(40, 1000);
    let (sealed, stored) = seal(&plain, Encrypting::Recipients(vec![recipient]), 3);
    let failure = open(&stored, &sealed, &Keys::none()).unwrap_err();
    assert_eq!(
        told(&failure),
        "the backup is encrypted, and no key was given\n\
        data: nothing was changed\n\
        hint: give the file with the secret key of one of its recipients"
    );
    let other = Keys::none().with_file(&dir.join("other")).unwrap();
    let failure = open(&stored, &sealed, &other).unwrap_err();
    assert_eq!(failure.what, "none of the keys that were given opens the backup");
    // Several are tried, and a passphrase does no harm.
    let both = other
        .with_file(&dir.join("key"))
        .unwrap()
        .with_passphrase(Secret::new("x"));
    assert!(open(&stored, &sealed, &both).unwrap() == plain);
    assert_eq!(format!("{both:?}"), "Keys(2 keys, a passphrase)");

    let nobody = Sealing {
        level: 3,
        encryption: Encrypting::Recipients(Vec::new()),
    };
    assert_eq!(
        Sealer::new(Vec::new(), &nobody).err().unwrap().kind,
        Kind::Refused
    );
}

#[test]
fn files_of_keys_are_read_as_age_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    keys(dir);
    bash(
        dir,
        "(echo; cat key; printf '\\r\\n# more\\r\\n'; tail -n 1 key) >twice; : >empty; echo 'AGE-SECRET-KEY-1MINE' >bad
        ssh-keygen -q -t ed25519 -N '' -f ssh; age -R <(age-keygen -y key) -o sealed key",
    );
    assert_eq!(
        format!("{:?}", Keys::none().with_file(&dir.join("twice")).unwrap()),
        "Keys(2 keys, no passphrase)"
    );
    for (name, why) in [
        ("empty", "there is no key in it"),
        ("bad", "line 1 is no key of age: invalid Bech32 encoding"),
        (
            "ssh",
            "it has a key of another kind, as for SSH; only those of age are read",
        ),
        ("sealed", "stream did not contain valid UTF-8"),
        ("missing", "No such file or directory (os error 2)"),
    ] {
        let failure = Keys::none().with_file(&dir.join(name)).unwrap_err();
        assert_eq!(failure.causes[0], why, "{name}");
        assert!(!told(&failure).contains("1MINE"), "{}", told(&failure));
    }
    let secret = bash(dir, "tail -n 1 key");
    let failure = secret.parse::<Recipient>().unwrap_err();
    assert!(!told(&failure).contains(secret.trim()), "{}", told(&failure));
    assert!("age1nonsense".parse::<Recipient>().is_err());
}

#[test]
fn the_manifest_is_told_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let public = bash(dir.path(), "age-keygen -o key 2>/dev/null; age-keygen -y key");
    let sealing = Sealing {
        level: 3,
        encryption: Encrypting::Recipients(vec![public.parse().unwrap()]),
    };
    let recipients = vec![public.trim().to_owned()];
    assert_eq!(sealing.encryption(), Encryption::Recipients { recipients });
    assert_eq!(sealing.suffix(), ".zst.age");
}

/// A writer that is full.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_written_is_no_entry() {
    let sealing = Sealing {
        level: 3,
        encryption: Encrypting::None,
    };
    for room in [0, 1000, 200_000] {
        let mut sealer = Sealer::new(Full(room), &sealing).unwrap();
        let written = sealer.write_all(&noise(50, 1 << 20));
        assert!(written.is_err() || sealer.finish().is_err(), "{room}");
    }
}

//! Who can read an encrypted backup: recipients to write for, keys and passphrases to read with.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use age::x25519;

use crate::model::{Failure, Result, Secret};

/// A file of keys is never longer.
const KEY_FILE_LIMIT: u64 = 1 << 20;

/// Whom a backup is encrypted for: a public key of age (`age1…`), as `age-keygen` prints it.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl Recipient {
    pub(super) fn age(&self) -> &x25519::Recipient {
        &self.0
    }
}

impl FromStr for Recipient {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        // Never shown: it may be what should have been kept.
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            return Err(
                Failure::usage("a backup is encrypted for a public key, and this is a secret one")
                    .hint("give what `age-keygen -y KEYFILE` prints: it begins with age1"),
            );
        }
        let hint = "a recipient is a public key of age, as `age-keygen` prints it: age1…";
        text.parse().map(Self).map_err(|why: &str| {
            Failure::usage(format!("{text:?} is no recipient"))
                .cause(why)
                .hint(hint)
        })
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.0)
    }
}

/// What encrypted backups are read with. Nothing at all is fine for those that are not.
#[derive(Clone, Default)]
pub struct Keys {
    pub(super) identities: Vec<x25519::Identity>,
    pub(super) passphrase: Option<Secret>,
}

impl Keys {
    /// No keys.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// With a passphrase, too.
    #[must_use]
    pub fn with_passphrase(mut self, passphrase: Secret) -> Self {
        self.passphrase = Some(passphrase);
        self
    }

    /// Adds the keys of a file as `age-keygen` writes it: a key a line, empty lines and comments.
    ///
    /// # Errors
    /// When it cannot be read, or has no key.
    pub fn with_file(mut self, path: &Path) -> Result<Self> {
        let cannot = || {
            Failure::refused(format!("cannot read keys from {}", path.display())).data("nothing was changed")
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(KEY_FILE_LIMIT).read_to_string(&mut text))
            .map_err(|e| cannot().because(&e))?;
        let found = parse(&text).map_err(|why| {
            cannot()
                .cause(why)
                .hint("it should be a file that `age-keygen -o FILE` wrote")
        })?;
        self.identities.extend(found);
        Ok(self)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passphrase = if self.passphrase.is_some() { "a" } else { "no" };
        write!(f, "Keys({} keys, {passphrase} passphrase)", self.identities.len())
    }
}

/// The keys in a text; otherwise why there are none, without a word of the text.
fn parse(text: &str) -> Result<Vec<x25519::Identity>, String> {
    if text.starts_with("age-encryption.org/") || text.starts_with("-----BEGIN AGE ENCRYPTED FILE") {
        return Err("it is encrypted itself: decrypt it first, with `age -d`".to_owned());
    }
    if text.starts_with("-----BEGIN") {
        return Err("it has a key of another kind, as for SSH; only those of age are read".to_owned());
    }
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<_> = lines
        .map(|(number, line)| {
            line.parse()
                .map_err(|why| format!("line {number} is no key of age: {why}"))
        })
        .collect::<Result<_, String>>()?;
    if keys.is_empty() {
        return Err("there is no key in it".to_owned());
    }
    Ok(keys)
}

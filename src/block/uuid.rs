//! The UUID of a file system.

use std::fmt;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::model::{Failure, Result};

/// A UUID, printed as blkid prints it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uuid(u128);

impl Uuid {
    /// A random one, version 4. <https://www.rfc-editor.org/rfc/rfc9562#section-5.4>
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub fn random() -> Result<Self> {
        let mut bytes = [0_u8; 16];
        // Up to 256 bytes come whole or not at all: getrandom(2).
        getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|error| Failure::environment("cannot make a random UUID").because(&error))?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        f.pad(&parts.join("-"))
    }
}

/// A text that is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no UUID")]
pub struct NoUuid(String);

impl FromStr for Uuid {
    type Err = NoUuid;

    fn from_str(text: &str) -> Result<Self, NoUuid> {
        let error = || NoUuid(text.to_owned());
        let lengths: Vec<_> = text.split('-').map(str::len).collect();
        let hex = text.replace('-', "");
        if lengths != [8, 4, 4, 4, 12] || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(&hex, 16).map(Self).map_err(|_| error())
    }
}

impl TryFrom<String> for Uuid {
    type Error = NoUuid;

    fn try_from(text: String) -> Result<Self, NoUuid> {
        text.parse()
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_random_of_version_4_and_read_as_it_is_printed() {
        let one = Uuid::random().unwrap();
        assert_ne!(one, Uuid::random().unwrap());
        let text = one.to_string();
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]), "{text}");
        assert_eq!(text.parse(), Ok(one));
        assert_eq!(text.to_uppercase().parse(), Ok(one));
        for wrong in [
            "",
            "ABCD-1234",
            &text[1..],
            &text.replace('-', "x"),
            &text.replace('4', "é"),
        ] {
            assert!(wrong.parse::<Uuid>().is_err(), "{wrong}");
        }
    }
}

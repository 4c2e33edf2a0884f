//! Numeric owners. Names are never used: the same name is another number in another image (trap 23).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A numeric user and group, written `999:999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// An owner that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no owner: write it as UID:GID, for example 999:999")]
pub struct ParseOwnerError(String);

impl FromStr for Owner {
    type Err = ParseOwnerError;
    fn from_str(s: &str) -> Result<Self, ParseOwnerError> {
        let error = || ParseOwnerError(s.to_owned());
        let (uid, gid) = s.split_once(':').ok_or_else(error)?;
        // u32::MAX means "leave unchanged" to chown(2); it is no owner.
        let number = |s: &str| s.parse::<u32>().ok().filter(|n| *n != u32::MAX).ok_or_else(error);
        Ok(Self {
            uid: number(uid)?,
            gid: number(gid)?,
        })
    }
}

impl TryFrom<String> for Owner {
    type Error = ParseOwnerError;
    fn try_from(s: String) -> Result<Self, ParseOwnerError> {
        s.parse()
    }
}

impl From<Owner> for String {
    fn from(owner: Owner) -> String {
        owner.to_string()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.uid, self.gid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_two_numbers() {
        assert_eq!("999:70".parse(), Ok(Owner { uid: 999, gid: 70 }));
        for text in ["999", "postgres:postgres", "1000:", ":", "4294967295:0", "1:2:3"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }
}

//! Who may come in to `rehome serve`: its users, tokens and sessions, and what each of them did.
//!
//! A password is kept as its argon2id, a secret that Rehome drew as its BLAKE3: that has nothing to guess, and is looked up
//! in every request.

mod attempts;
mod password;
mod secret;
mod store;

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use attempts::Attempts;
pub use password::{MIN_PASSWORD, Passwords};
pub use secret::{draw, draw_token};
pub use store::{AuditLine, Deed, Session, Store, Token, User};

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look.
    Read,
    /// Change, too.
    Operate,
}

impl Scope {
    /// For people, and for the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "operate" => Ok(Self::Operate),
            _ => Err("read or operate".to_owned()),
        }
    }
}

/// The name of a user or of a token: `[a-z0-9][a-z0-9._-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AccessName(String);

impl AccessName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(plain);
        let rest = text.bytes().all(|c| plain(c) || b"._-".contains(&c));
        match begins && rest && text.len() <= 63 {
            true => Ok(Self(text.to_owned())),
            false => Err("a name of a-z, 0-9, `.`, `_` and `-`, of at most 63 characters, that begins with a letter or a digit".to_owned()),
        }
    }
}

impl fmt::Display for AccessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Somebody who is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A person, by a session.
    User(String),
    /// A program, by its token.
    Token(String, Scope),
}

impl Who {
    /// Whether it may change something.
    #[must_use]
    pub fn may_operate(&self) -> bool {
        match self {
            Self::User(_) => true,
            Self::Token(_, scope) => *scope == Scope::Operate,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "web user {name}"),
            Self::Token(name, _) => write!(f, "token {name}"),
        }
    }
}

/// A session that nobody used for so long is over, in seconds.
const IDLE: i64 = 12 * 3600;
/// So long one lasts at most.
const LASTS: i64 = 7 * 24 * 3600;

/// Whether a session still counts. One from the future is of a clock that was set back, and does not.
fn counts(made: Timestamp, seen: Timestamp, now: Timestamp) -> bool {
    let since = |then: Timestamp| now.as_second() - then.as_second();
    // A request of another thread may have been a moment later.
    let skew = -5;
    (skew..IDLE).contains(&since(seen)) && (skew..LASTS).contains(&since(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["ada", "a.b-c_1", "0"] {
            assert_eq!(name.parse::<AccessName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(64);
        for name in ["", "-a", ".a", "Ada", "a b", "a/b", "ä", "a\n", &long] {
            assert!(name.parse::<AccessName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_at_last_in_any_case() {
        let at = |second| Timestamp::from_second(1_000_000_000 + second).unwrap();
        assert!(counts(at(0), at(0), at(0)) && counts(at(0), at(1), at(IDLE)));
        assert!(!counts(at(0), at(0), at(IDLE)), "idle");
        assert!(counts(at(0), at(LASTS - 10), at(LASTS - 1)));
        assert!(!counts(at(0), at(LASTS - 10), at(LASTS)), "however busy it was");
        assert!(!counts(at(100), at(100), at(0)), "the clock was set back");
    }
}

//! Passwords: argon2id, and the same work for a user that there is none of.

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::secret::{draw, random};
use crate::model::{Failure, Result, Secret};

/// A password is at least so long.
pub const MIN_PASSWORD: usize = 12;
/// And at most so long: more only makes work.
const MAX_PASSWORD: usize = 1024;
/// What OWASP advises for argon2id: 19 MiB, two passes, one lane.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Makes and compares what is kept of passwords.
#[derive(Debug)]
pub struct Passwords {
    /// Of a password that nobody has.
    nobody: String,
}

impl Passwords {
    /// Ready to compare.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self> {
        Ok(Self {
            nobody: Self::keep(&draw()?)?,
        })
    }

    /// What is kept of a password, with a salt of its own.
    ///
    /// # Errors
    /// When it is too short or too long.
    pub fn keep(password: &Secret) -> Result<String> {
        let length = password.reveal().chars().count();
        if length < MIN_PASSWORD {
            return Err(
                Failure::usage(format!("a password has at least {MIN_PASSWORD} characters"))
                    .data("nothing was changed"),
            );
        }
        if password.reveal().len() > MAX_PASSWORD {
            return Err(
                Failure::usage(format!("a password has at most {MAX_PASSWORD} bytes"))
                    .data("nothing was changed"),
            );
        }
        let failed =
            |error: argon2::password_hash::Error| Failure::bug("cannot hash a password").because(&error);
        let salt = SaltString::encode_b64(&random::<16>()?).map_err(failed)?;
        let hash = argon2()?.hash_password(password.reveal().as_bytes(), &salt);
        Ok(hash.map_err(failed)?.to_string())
    }

    /// Whether that is the password; `kept` is nothing for a user that is not there, and that takes as long.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    pub fn is(&self, kept: Option<&str>, password: &Secret) -> Result<bool> {
        if password.reveal().len() > MAX_PASSWORD {
            return Ok(false);
        }
        let there = kept.is_some();
        let hash = PasswordHash::new(kept.unwrap_or(&self.nobody))
            .map_err(|error| Failure::environment("a password in serve.db cannot be read").because(&error))?;
        let same = argon2()?
            .verify_password(password.reveal().as_bytes(), &hash)
            .is_ok();
        Ok(same && there)
    }
}

fn argon2() -> Result<Argon2<'static>> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None)
        .map_err(|error| Failure::bug("argon2 refuses its parameters").because(&error))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_itself_and_no_other() {
        let passwords = Passwords::new().unwrap();
        let password = Secret::new("correct horse battery");
        let kept = Passwords::keep(&password).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, Passwords::keep(&password).unwrap(), "a salt of its own");
        assert!(passwords.is(Some(&kept), &password).unwrap());
        for other in [
            "",
            "correct horse batter",
            "correct horse battery ",
            &"x".repeat(5000),
        ] {
            assert!(
                !passwords.is(Some(&kept), &Secret::new(other)).unwrap(),
                "{other}"
            );
        }
        assert!(!passwords.is(None, &password).unwrap());
        assert!(passwords.is(Some("broken"), &password).is_err());
    }

    #[test]
    fn short_and_very_long_ones_are_refused() {
        for bad in ["", "eleven char", &"x".repeat(1025)] {
            assert!(Passwords::keep(&Secret::new(bad)).is_err(), "{bad}");
        }
        // Characters count, and not bytes.
        assert!(Passwords::keep(&Secret::new("ääääääääääää")).is_ok());
        assert!(Passwords::keep(&Secret::new("äääääää")).is_err());
    }
}

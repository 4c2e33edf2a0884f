//! Secrets that Rehome draws itself, and what is kept of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::model::{Failure, Result, Secret};

/// What tells a token from anything else, for people and for those who look for leaked ones.
const TOKEN: &str = "rh_";

/// A new secret: 32 bytes of the system's randomness, as text.
///
/// # Errors
/// When the system gives none.
pub fn draw() -> Result<Secret> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()?)))
}

/// The same as a token.
///
/// # Errors
/// As [`draw`].
pub fn draw_token() -> Result<Secret> {
    Ok(Secret::new(format!("{TOKEN}{}", draw()?.reveal())))
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let got = getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|error| Failure::environment("the system gives no randomness").because(&error))?;
    match got == N {
        true => Ok(bytes),
        false => Err(Failure::environment("the system gives too little randomness")),
    }
}

/// What is kept of a secret, and looked up: nobody comes from it back to the secret, and how long it takes to compare says
/// nothing about one.
pub(super) fn kept(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_differ_and_can_stand_in_a_header() {
        let (a, b) = (draw_token().unwrap(), draw_token().unwrap());
        assert_ne!(a, b);
        let text = a.reveal().strip_prefix("rh_").unwrap();
        assert_eq!(text.len(), 43);
        assert!(
            text.bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
        );
        // b3sum of the three bytes.
        assert!(kept("abc").starts_with("6437b3ac38465133ffb63b75273a8db5"));
    }
}

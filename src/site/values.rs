//! What people write when they add a site: ports, images and paths.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::is_image_reference;

/// A port, and where it is on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// On 127.0.0.1.
    pub host: u16,
    /// In the container.
    pub container: u16,
}

/// `3000`, or `8080:3000` where the machine's port is another.
impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (host, container) = text.split_once(':').unwrap_or((text, text));
        match (port(host), port(container)) {
            (Some(host), Some(container)) => Ok(Self { host, container }),
            _ => Err("a port from 1 to 65535, or two of them: 8080:3000".to_owned()),
        }
    }
}

/// The reference of an image, as the engine understands it.
///
/// # Errors
/// What it has to be, in words.
pub fn check_image(text: &str) -> Result<String, String> {
    match is_image_reference(text) {
        true => Ok(text.to_owned()),
        false => Err("the reference of an image, as ghost:5 or ghcr.io/owner/name:tag".to_owned()),
    }
}

/// The path that a site answers on when it is well.
///
/// # Errors
/// What it has to be, in words.
pub fn check_health(text: &str) -> Result<String, String> {
    let strange = |c: char| c.is_control() || c.is_whitespace();
    match !text.starts_with('/') || text.chars().count() > 1024 || text.contains(strange) {
        true => Err("a path, as / or /health".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_images_and_paths() {
        let pair = |host, container| Ok(Published { host, container });
        assert_eq!("3000".parse(), pair(3000, 3000));
        assert_eq!("8080:80".parse(), pair(8080, 80));
        for text in ["", "0", "65536", "a", "80:", ":80", "1:2:3", "127.0.0.1:80", "-1"] {
            assert!(text.parse::<Published>().is_err(), "{text}");
        }
        assert!(check_image("ghcr.io/a/b:tag").is_ok() && check_health("/ok?x=1").is_ok());
        for text in ["", "-x", "a b", "a\nb"] {
            assert!(
                check_image(text).is_err() && check_health(text).is_err(),
                "{text:?}"
            );
        }
    }
}

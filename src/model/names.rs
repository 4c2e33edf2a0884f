//! Names, one type each, so that a volume's key in the Compose file and its full Docker name cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct ParseNameError {
    what: &'static str,
    value: String,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $check:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks the rule and wraps the name.
            ///
            /// # Errors
            /// When the text breaks the rule of this kind of name.
            pub fn new(value: impl Into<String>) -> Result<Self, ParseNameError> {
                let value = value.into();
                let check: fn(&str) -> bool = $check;
                if check(&value) {
                    Ok(Self(value))
                } else {
                    Err(ParseNameError { what: $what, value, rule: $rule })
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = ParseNameError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $type {
            type Error = ParseNameError;
            fn try_from(s: String) -> Result<Self, Self::Error> {
                Self::new(s)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

/// A text as the name of a file: every byte but letters, digits, `-` and `_` becomes `%` and two digits, so that it cannot
/// leave its directory. Two texts never become one name.
#[must_use]
pub fn file_name(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let named = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02x}"),
    };
    text.bytes().map(named).collect()
}

/// The characters that Compose allows in keys of `services:` and `volumes:`.
/// <https://github.com/compose-spec/compose-go/blob/main/schema/compose-spec.json>
fn compose_key(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= 255
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The characters that the engine allows in names of volumes and containers.
/// <https://github.com/moby/moby/blob/master/daemon/names/names.go>
fn engine_name(s: &str) -> bool {
    s.len() <= 255
        && s.starts_with(|c: char| c.is_ascii_alphanumeric())
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn project_name(s: &str) -> bool {
    s.len() <= 255
        && s.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}

fn site_name(s: &str) -> bool {
    (1..=63).contains(&s.len())
        && !s.starts_with('-')
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

name!(
    /// The name of a Compose project, as `docker compose` resolved it.
    /// <https://docs.docker.com/compose/how-tos/project-name/>
    ProjectName, "project name", project_name,
    "lower-case letters, digits, `-` and `_`, beginning with a letter or digit"
);
name!(
    /// The key of a service in the Compose file.
    ServiceName, "service name", compose_key, "letters, digits, `.`, `_` and `-`"
);
name!(
    /// The key of a volume in the Compose file (`postgres_data`).
    VolumeKey, "volume", compose_key, "letters, digits, `.`, `_` and `-`"
);
name!(
    /// The full name of a Docker volume (`kms-connect_postgres_data`).
    VolumeName, "volume name", engine_name, "letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
);
name!(
    /// The name of a site: it is also that of its directory, so nothing in it can lead out of the root.
    SiteName, "site name", site_name,
    "at most 63 lower-case letters, digits and `-`, beginning with a letter or digit"
);
name!(
    /// The full id of a container.
    ContainerId, "container id", |s| !s.is_empty(), "must not be empty"
);
name!(
    /// The id of an image (`sha256:…`), never its tag: tags move.
    ImageId, "image id", |s| !s.is_empty(), "must not be empty"
);
name!(
    /// The id of a run: short enough to type, `7k2f9q`.
    RunId, "run", |s| (4..=16).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
    "four to sixteen lower-case letters and digits"
);

impl RunId {
    /// Letters and digits that cannot be misread for each other.
    const ALPHABET: &'static [u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// Makes a six-letter id out of random bytes (30 bits are used).
    #[must_use]
    pub fn from_entropy(entropy: [u8; 6]) -> Self {
        Self(
            entropy
                .iter()
                .map(|b| char::from(Self::ALPHABET[usize::from(b & 31)]))
                .collect(),
        )
    }
}

impl SiteName {
    /// What its directory is called where others are volumes: in a backup, and for `--only`. No site's name has a dot, so
    /// no two become one.
    #[must_use]
    pub fn key(&self) -> VolumeKey {
        VolumeKey(format!("site.{self}"))
    }

    /// The same where a backup has the full name of a volume. The engine has none of it.
    #[must_use]
    pub fn volume_name(&self) -> VolumeName {
        VolumeName(format!("site.{self}"))
    }
}

impl ContainerId {
    /// The first twelve characters, as `docker ps` prints them.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl ImageId {
    /// Twelve characters of it, as `docker images` prints them.
    #[must_use]
    pub fn short(&self) -> &str {
        let hex = self.0.strip_prefix("sha256:").unwrap_or(&self.0);
        hex.get(..12).unwrap_or(hex)
    }
}

/// The longest reference that is taken: so long may the name in it be alone.
const LONGEST_REFERENCE: usize = 255;

/// Whether a text can be the reference of an image, as `ghost:5`, `registry.example:5000/team/app` or `app@sha256:…`.
/// <https://github.com/distribution/reference/blob/main/reference.go>
#[must_use]
pub fn is_image_reference(text: &str) -> bool {
    let name = match text.split_once('@') {
        Some((_, digest)) if !is_digest(digest) => return false,
        Some((name, _)) => name,
        None => text,
    };
    // What is behind the last `/` has the tag; a colon before that is the port of a registry.
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[path..].split_once(':') {
        Some((_, tag)) if !is_tag(tag) => return false,
        Some((last, _)) => &name[..path + last.len()],
        None => name,
    };
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    let is_path = |text: &str| text.split('/').all(is_path_part);
    // It would be taken for an id.
    let is_id = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let named = is_path(name) || (!rest.is_empty() && is_registry(first) && is_path(rest));
    text.len() <= LONGEST_REFERENCE && !is_id && named
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64
        && hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| word(b) || b".-".contains(&b))
        && text.bytes().next().is_some_and(word)
}

/// Lower-case letters and digits, with one `.`, one or two `_`, or any number of `-` between them.
fn is_path_part(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = text.split(plain).filter(|between| !between.is_empty());
    let joined = |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    text.starts_with(plain) && text.ends_with(plain) && between.into_iter().all(joined)
}

/// A host, and its port.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let part = |part: &str| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        part.starts_with(ends)
            && part.ends_with(ends)
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && host.split('.').all(part)
}

/// The candidate that a user most likely meant, if one is near enough to say so.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(wanted, c), c))
        .filter(|(distance, c)| *distance <= 1 + c.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_are_refused_with_the_rule() {
        assert!(VolumeName::new("kms-connect_postgres_data").is_ok());
        let error = VolumeName::new("../etc").unwrap_err();
        assert_eq!(
            error.to_string(),
            "volume name \"../etc\" is not valid: letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        );
        assert!(ProjectName::new("Backend").is_err());
        assert!(RunId::new("7K2F").is_err());
    }

    #[test]
    fn references_of_images_are_those_that_the_engine_takes() {
        let digest = format!("app@sha256:{}", "0a".repeat(32));
        for reference in [
            "ghost",
            "ghost:5",
            "rehome-sites/python:1",
            "registry.example:5000/team/app:1.2-rc_1",
            "localhost/x",
            "UPPER/x",
            "a--b/c__d/e.f",
            "a/b/c@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            digest.as_str(),
        ] {
            assert!(is_image_reference(reference), "{reference}");
        }
        let (id, long) = ("0a".repeat(32), "a".repeat(256));
        for reference in [
            "",
            "_",
            "-x",
            "a..b",
            "a___b",
            "a-",
            "a//b",
            "/a",
            "a/",
            "Upper",
            "x/Upper",
            "a b",
            "a\n",
            "a:",
            "a:-1",
            ":1",
            "a:b:c",
            "a@sha256:00",
            "a@b@c",
            "é",
            ":5000/a",
            "host:/a",
            "-h/a",
            id.as_str(),
            long.as_str(),
        ] {
            assert!(!is_image_reference(reference), "{reference}");
        }
    }

    #[test]
    fn a_site_name_stays_in_its_root() {
        let long = "a".repeat(63);
        for name in ["blog", "a", "7", "my-shop-2", "x-", long.as_str()] {
            let site = SiteName::new(name).unwrap();
            assert!(VolumeKey::new(site.key().as_str()).is_ok(), "{name}");
            assert!(VolumeName::new(site.volume_name().as_str()).is_ok(), "{name}");
        }
        let too_long = "a".repeat(64);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\0b",
            "-a",
            "Blog",
            "blog.example",
            "b_g",
            "é",
            "a\n",
            " a",
            too_long.as_str(),
        ] {
            assert!(SiteName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_run_id_is_made_of_the_unmistakable_alphabet() {
        let id = RunId::from_entropy([0, 31, 32, 255, 17, 9]);
        assert_eq!(id.as_str(), "0z0zh9");
        assert!(RunId::new(id.as_str()).is_ok());
    }

    #[test]
    fn the_nearest_name_is_named_and_a_far_one_is_not() {
        let known = ["postgres_data", "media_volume", "static_volume"];
        assert_eq!(nearest("postgress_data", known), Some("postgres_data"));
        assert_eq!(nearest("redis", known), None);
    }
}

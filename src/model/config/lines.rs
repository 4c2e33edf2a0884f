//! On which line of a YAML text a value stands.
//!
//! The YAML library keeps no positions in its values, but its errors know them. So a value is found by walking to it
//! and failing there on purpose: one parse a question, of a file that is small by decree.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The line (from 1) of the value at `path`, each part a key or, in a list, an index. `None` where there is none.
#[must_use]
pub fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    match (Walk { path }).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Err(error) if error.to_string().contains(FOUND) => error.location().map(|place| place.line()),
        _ => None,
    }
}

/// What the deliberate error says; nothing else in the library says it.
const FOUND: &str = "rehome: here it is";

#[derive(Clone, Copy)]
struct Walk<'p> {
    path: &'p [&'p str],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Walk<'_> {
    /// A scalar: the end of the path is here, or the path leads nowhere.
    fn scalar<E: serde::de::Error>(self) -> Result<(), E> {
        if self.path.is_empty() {
            Err(E::custom(FOUND))
        } else {
            Ok(())
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        while let Some(key) = map.next_key::<serde_yaml::Value>()? {
            if key.as_str() == Some(first) {
                map.next_value_seed(Walk { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else {
            return Err(A::Error::custom(FOUND));
        };
        let wanted = first.parse::<usize>().ok();
        let mut index = 0;
        loop {
            let more = if wanted == Some(index) {
                seq.next_element_seed(Walk { path: rest })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
version: 1
# a comment
block:
  root: /mnt/kms-data
  volumes:
    postgres_data: { path: postgres }
    media_volume:
      path: media

      owner: \"1000:1000\"
  exclude: [redis_data]
checks:
  - { service: api, http: \"http://localhost/\" }
  - service: web
    http: \"http://localhost:8080/\"
";

    #[test]
    fn every_value_is_found_on_its_line() {
        for (path, line) in [
            (&["version"][..], 1),
            (&["block", "root"], 4),
            (&["block", "volumes", "postgres_data", "path"], 6),
            (&["block", "volumes", "media_volume", "owner"], 10),
            (&["block", "exclude"], 11),
            (&["block", "exclude", "0"], 11),
            (&["checks", "1", "http"], 15),
        ] {
            assert_eq!(line_of(TEXT, path), Some(line), "{path:?}");
        }
        for path in [
            &["block", "style"][..],
            &["checks", "2"],
            &["version", "deeper"],
            &["checks", "http"],
        ] {
            assert_eq!(line_of(TEXT, path), None, "{path:?}");
        }
        assert_eq!(
            line_of("a: [b", &["a"]).map(|_| ()),
            Some(()),
            "found before the text breaks"
        );
        assert_eq!(line_of("", &["a"]), None);
    }
}

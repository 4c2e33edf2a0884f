//! Scalars of the YAML that Rehome writes: plain where nobody could misread them, quoted otherwise.

/// A scalar for a value that Compose interpolates: dollars are doubled.
pub(super) fn value(text: &str) -> String {
    scalar(&text.replace('$', "$$"))
}

/// A scalar that Compose takes as it is: keys of mappings.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// A quoted scalar for a value that Compose interpolates.
pub(super) fn quoted_value(text: &str) -> String {
    quoted(&text.replace('$', "$$"))
}

/// In double quotes, in which everything can be said.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Some of these are line breaks to YAML, and a reader would fold them.
            _ if c.is_control() || ['\u{2028}', '\u{2029}', '\u{feff}'].contains(&c) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether the text is a string in every version of YAML without quotes, in block and in flow style.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_be_misread_is_quoted() {
        for (text, written) in [
            ("/mnt/kms-data/postgres", "/mnt/kms-data/postgres"),
            ("on", "\"on\""),
            ("1e3", "\"1e3\""),
            ("/mnt/a b: c", "\"/mnt/a b: c\""),
            ("/it's \"x\"\\", "\"/it's \\\"x\\\"\\\\\""),
            ("a\u{85}b", "\"a\\u0085b\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), written);
        }
        assert_eq!(value("/a$b"), "\"/a$$b\"");
    }

    proptest! {
        /// libyaml is the judge.
        #[test]
        fn every_text_is_read_back_as_it_was(text in any::<String>()) {
            let document = format!("{{ {}: {} }}", scalar(&text), scalar(&text));
            let read: std::collections::BTreeMap<String, String> = serde_yaml::from_str(&document).unwrap();
            prop_assert_eq!(read.into_iter().next(), Some((text.clone(), text)));
        }
    }
}

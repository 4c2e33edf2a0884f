//! Numbers of things, as people say them.

/// `1 file`, `2 files`, `0 entries`: the noun in its singular, its plural by rule.
#[must_use]
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    let stem = noun
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    let plural = match (number, stem) {
        (1, _) => noun.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{noun}s"),
    };
    format!("{number} {plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(1_u64, "file"), "1 file");
        assert_eq!(count(0_u64, "entry"), "0 entries");
        assert_eq!(count(2_u64, "key"), "2 keys");
        assert_eq!(count(14_212_u64, "directory"), "14212 directories");
    }
}

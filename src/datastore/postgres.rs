//! PostgreSQL: versions and states.

/// The major version of a data directory or a server: `15`, or `9.6` before version 10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// Reads a `PG_VERSION` file, a `PG_MAJOR` variable, or what `postgres --version` prints.
    ///
    /// ```
    /// use rehome::datastore::PostgresVersion;
    /// assert_eq!(PostgresVersion::parse("15\n"), PostgresVersion::parse("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"));
    /// assert_ne!(PostgresVersion::parse("9.5"), PostgresVersion::parse("postgres (PostgreSQL) 9.6.24"));
    /// assert_eq!(PostgresVersion::parse("no version"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let mut parts = number.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?;
        // Up to 9.6 two numbers made a major version. <https://www.postgresql.org/support/versioning/>
        match (major.parse::<u32>().ok()?, parts.next()) {
            (..10, Some(minor)) => Some(Self(format!("{major}.{minor}"))),
            _ => Some(Self(major.to_owned())),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a state of the control file means that nothing is missing from the data files.
/// The words are those of `pg_controldata`: <https://www.postgresql.org/docs/current/app-pgcontroldata.html>
#[must_use]
pub fn is_clean_state(state: &str) -> bool {
    matches!(state, "shut down" | "shut down in recovery")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_finished_shutdown_is_clean() {
        assert!(is_clean_state("shut down"));
        assert!(is_clean_state("shut down in recovery"));
        for state in [
            "in production",
            "shutting down",
            "in crash recovery",
            "starting up",
            "",
        ] {
            assert!(!is_clean_state(state), "{state}");
        }
    }
}

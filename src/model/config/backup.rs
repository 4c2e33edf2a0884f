//! `backup:` in rehome.yml.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{host, scalar};
use crate::model::{ServiceName, VolumeKey};

/// Levels of compression: as zstd has them, without those that take a machine's memory.
pub const COMPRESSION: std::ops::RangeInclusive<i32> = 1..=19;

/// Backups: where to, what of, how long they are kept, when. Everything may be left out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Where backups are kept; each of these places gets all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Place>,

    /// Which backups stay when the others are pruned.
    pub keep: Keep,

    /// When a backup is made: a time of the day, as `02:00`, or a calendar expression of systemd, as `Mon..Fri 02:00`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,

    /// What the services do while their data is read.
    pub consistency: Consistency,

    /// How backups are encrypted; without it they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<Encrypt>,

    /// Volumes that are left out.
    #[serde(deserialize_with = "scalar::list", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub exclude: Vec<VolumeKey>,

    /// Services whose databases are not dumped: the files of their volumes are archived instead.
    #[serde(deserialize_with = "scalar::list", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub no_dump: Vec<ServiceName>,

    /// How hard zstd tries, from 1 (fast) to 19 (small).
    #[schemars(range(min = 1, max = 19))]
    pub compression: i32,

    /// An address that is asked for at the begin (`/start`), after a good end, and after a bad one (`/fail`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"))]
    pub ping: Option<String>,

    /// The variable of the environment or of `.env` that holds this address: whoever knows it may ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_from: Option<String>,

    /// A text file for Prometheus' node exporter, written at the end of each backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::absolute")]
    pub metrics: Option<PathBuf>,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            to: Vec::new(),
            keep: Keep::default(),
            schedule: None,
            consistency: Consistency::default(),
            encrypt: None,
            exclude: Vec::new(),
            no_dump: Vec::new(),
            compression: 3,
            ping: None,
            ping_from: None,
            metrics: None,
        }
    }
}

// The address of a ping is a secret.
impl fmt::Debug for Backup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup")
            .field("to", &self.to)
            .field("keep", &self.keep)
            .field("schedule", &self.schedule)
            .field("consistency", &self.consistency)
            .field("encrypt", &self.encrypt)
            .field("exclude", &self.exclude)
            .field("no_dump", &self.no_dump)
            .field("compression", &self.compression)
            .field("ping", &self.pinged())
            .field("metrics", &self.metrics)
            .finish()
    }
}

/// What the services do while their data is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// They run. Databases are consistent in themselves, files are of slightly different moments.
    #[default]
    Live,
    /// Those that write to a volume are paused while it is read.
    Pause,
    /// They are stopped.
    Stop,
}

/// Which backups stay when the others are pruned. The newest of each period stays; periods are those of UTC, and one
/// without a backup does not count. Keys that are left out keep their default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// The newest ones, whatever their age.
    #[schemars(range(max = 10000))]
    pub last: u32,
    /// The newest of each hour, for so many hours that have one.
    #[schemars(range(max = 10000))]
    pub hourly: u32,
    /// Of each day.
    #[schemars(range(max = 10000))]
    pub daily: u32,
    /// Of each week, from Monday on.
    #[schemars(range(max = 10000))]
    pub weekly: u32,
    /// Of each month.
    #[schemars(range(max = 10000))]
    pub monthly: u32,
    /// Of each year.
    #[schemars(range(max = 10000))]
    pub yearly: u32,
    /// So many good ones stay, whatever the other rules say.
    #[schemars(range(max = 10000))]
    pub minimum: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            last: 0,
            hourly: 0,
            daily: 7,
            weekly: 4,
            monthly: 6,
            yearly: 0,
            minimum: 3,
        }
    }
}

impl Keep {
    /// Each rule with its key.
    #[must_use]
    pub fn by_key(&self) -> [(&'static str, u32); 7] {
        [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
            ("minimum", self.minimum),
        ]
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.by_key().into_iter().filter(|(_, n)| *n > 0);
        let said: Vec<String> = said.map(|(key, n)| format!("{key} {n}")).collect();
        f.write_str(if said.is_empty() { "nothing" } else { "" })?;
        f.write_str(&said.join(", "))
    }
}

/// How backups are encrypted. It says one of `recipients` and `passphrase_from`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Encrypt {
    /// Public keys of age (`age1…`): this server cannot read its own backups afterwards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,

    /// The variable of the environment or of `.env` that holds a passphrase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_from: Option<String>,
}

impl Encrypt {
    fn mistake(&self) -> Option<(&'static str, String)> {
        match (self.recipients.as_slice(), &self.passphrase_from) {
            ([], None) => Some((
                "",
                "it says neither `recipients` nor `passphrase_from`".to_owned(),
            )),
            ([_, ..], Some(_)) => Some((
                "passphrase_from",
                "it is encrypted for recipients or with a passphrase, and not both".to_owned(),
            )),
            ([], Some(name)) if !super::hook::is_variable(name) => {
                Some(("passphrase_from", format!("{name:?} is no name of a variable")))
            }
            // What is refused is not shown: it may be the secret half of a key.
            (keys, None) => keys.iter().position(|key| !is_recipient(key)).map(|at| {
                let secret = keys[at].trim().to_ascii_uppercase().starts_with("AGE-SECRET-KEY");
                let what = match secret {
                    true => format!("entry {} is a secret key: give the public one, age1…", at + 1),
                    false => format!("entry {} is no public key of age (age1…)", at + 1),
                };
                ("recipients", what)
            }),
            ([], Some(_)) => None,
        }
    }
}

/// Looks like a public key of age; whether it is one, age says.
fn is_recipient(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.strip_prefix("age1")
        .is_some_and(|rest| (50..=4000).contains(&rest.len()) && rest.chars().all(plain))
}

/// Where backups are kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Place {
    /// A directory of this machine. In rehome.yml it is absolute.
    Dir(PathBuf),
    /// S3-compatible storage.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every name there begins with, without `/` at either end; may be empty.
        prefix: String,
    },
}

/// A text that is no place for backups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParsePlaceError(String);

impl Place {
    /// Reads `s3://bucket/prefix`.
    fn s3(text: &str) -> Result<Self, ParsePlaceError> {
        let no = |why: &str| Err(ParsePlaceError(format!("{text:?} {why}")));
        let Some(rest) = text.strip_prefix("s3://") else {
            return no("is no bucket: write it as s3://bucket/prefix");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_bucket = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(of_bucket) || bucket.starts_with('.') {
            return no("names no bucket: write it as s3://bucket/prefix");
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-%@".contains(c);
        let fine = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
        if !(prefix.is_empty() || (prefix.len() <= 500 && prefix.split('/').all(fine))) {
            return no("has a prefix with more than letters, digits and ._-%@ between single `/`");
        }
        Ok(Self::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// Reads a directory.
    fn dir(text: &str) -> Result<Self, ParsePlaceError> {
        if text.is_empty() || text.contains(char::is_control) || text.len() > 1024 {
            return Err(ParsePlaceError(format!("{text:?} is no directory")));
        }
        if text.contains("://") {
            return Err(ParsePlaceError(format!(
                "{text:?} is neither a directory nor s3://bucket/prefix"
            )));
        }
        Ok(Self::Dir(text.into()))
    }

    /// The same with a relative directory taken from this one.
    #[must_use]
    pub fn from_here(self, here: &Path) -> Self {
        match self {
            Self::Dir(path) => Self::Dir(here.join(path).components().collect()),
            s3 => s3,
        }
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        match text.starts_with("s3:") {
            true => Self::s3(text),
            false => Self::dir(text.strip_prefix("dir:").unwrap_or(text)),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// A place for backups. It says one of `dir` and `s3`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename = "Place")]
struct Written {
    /// An absolute directory of this machine.
    #[serde(deserialize_with = "scalar::some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::absolute")]
    dir: Option<Directory>,
    /// S3-compatible storage, as `s3://bucket/prefix`.
    #[serde(deserialize_with = "scalar::some", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schemas::bucket")]
    s3: Option<Bucket>,
}

impl JsonSchema for Place {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Written::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}

/// What stands behind `dir`.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
struct Directory(PathBuf);

impl FromStr for Directory {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        match Place::dir(text)? {
            // One place has one spelling.
            Place::Dir(path) if path.is_absolute() => Ok(Self(path.components().collect())),
            _ => Err(ParsePlaceError(format!("{text:?} is no absolute path"))),
        }
    }
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What stands behind `s3`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Bucket(Place);

impl FromStr for Bucket {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        Place::s3(text).map(Self)
    }
}

impl TryFrom<String> for Bucket {
    type Error = ParsePlaceError;
    fn try_from(text: String) -> Result<Self, ParsePlaceError> {
        text.parse()
    }
}

impl From<Bucket> for String {
    fn from(bucket: Bucket) -> Self {
        bucket.0.to_string()
    }
}

impl TryFrom<Written> for Place {
    type Error = ParsePlaceError;
    fn try_from(written: Written) -> Result<Self, ParsePlaceError> {
        match (written.dir, written.s3) {
            (Some(dir), None) => Ok(Self::Dir(dir.0)),
            (None, Some(bucket)) => Ok(bucket.0),
            (None, None) => Err(ParsePlaceError("it says neither `dir` nor `s3`".to_owned())),
            (Some(_), Some(_)) => Err(ParsePlaceError(
                "`dir` and `s3` are two places: give each an entry of its own".to_owned(),
            )),
        }
    }
}

impl From<Place> for Written {
    fn from(place: Place) -> Self {
        match place {
            Place::Dir(path) => Self {
                dir: Some(Directory(path)),
                s3: None,
            },
            s3 @ Place::S3 { .. } => Self {
                dir: None,
                s3: Some(Bucket(s3)),
            },
        }
    }
}

/// What may stand as a schedule: a line that systemd could read. Whether it can, systemd says.
///
/// # Errors
/// A sentence.
pub fn schedule(text: &str) -> Result<&str, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " .,:/*~-+_".contains(c);
    let text = text.trim();
    match (1..=200).contains(&text.len()) && text.chars().all(plain) {
        true => Ok(text),
        false => Err(format!(
            "{text:?} is no time: write it as 02:00, or as systemd does: Mon..Fri 02:00"
        )),
    }
}

impl Backup {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Who is pinged, as it may be shown: without the address.
    #[must_use]
    pub fn pinged(&self) -> Option<String> {
        match (&self.ping_from, &self.ping) {
            (Some(name), _) => Some(format!("the address in {name}")),
            (None, Some(url)) => Some(host(url).unwrap_or_default().to_owned()),
            (None, None) => None,
        }
    }

    /// What is wrong with it, and with which key below `backup`. It names no address and no key.
    pub(super) fn mistake(&self) -> Option<(Vec<String>, String)> {
        let found =
            |keys: &[&str], what: String| Some((keys.iter().map(ToString::to_string).collect(), what));
        for (at, place) in self.to.iter().enumerate() {
            if self.to[..at].contains(place) {
                return found(&["to", &at.to_string()], format!("{place} stands there twice"));
            }
        }
        let large = self.keep.by_key().into_iter().find(|(_, n)| *n > 10_000);
        if let Some((key, n)) = large {
            return found(&["keep", key], format!("{n} are more than 10000"));
        }
        if let Some(Err(what)) = self.schedule.as_deref().map(schedule) {
            return found(&["schedule"], what);
        }
        if let Some((key, what)) = self.encrypt.as_ref().and_then(Encrypt::mistake) {
            let keys = ["encrypt", key];
            return found(&keys[..if key.is_empty() { 1 } else { 2 }], what);
        }
        if !COMPRESSION.contains(&self.compression) {
            return found(
                &["compression"],
                format!("{} is no level from 1 to 19", self.compression),
            );
        }
        match (&self.ping, &self.ping_from) {
            (Some(_), Some(_)) => {
                return found(
                    &["ping_from"],
                    "`ping` and `ping_from` are two addresses".to_owned(),
                );
            }
            (Some(url), None) if host(url).is_none() => {
                return found(&["ping"], "it is no URL with https:// or http://".to_owned());
            }
            (None, Some(name)) if !super::hook::is_variable(name) => {
                return found(&["ping_from"], format!("{name:?} is no name of a variable"));
            }
            _ => {}
        }
        match &self.metrics {
            Some(path) if !path.is_absolute() || path.file_name().is_none() => found(
                &["metrics"],
                format!("{:?} is no absolute path of a file", path.display().to_string()),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, parse, schema, write_commented};
    use super::*;

    const WHOLE: &str = "\
version: 1
backup:
  to: [ { dir: /var/backups//kms/ }, { s3: s3://bucket/kms/ } ]
  keep: { daily: 14, minimum: 1 }
  schedule: Mon..Fri 02:00
  consistency: pause
  encrypt: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p] }
  exclude: [redis_data, on]
  no_dump: [cache]
  compression: 9
  ping: https://hc-ping.com/s3cret
  metrics: /var/lib/node_exporter/rehome.prom
";

    /// What one key is refused with, and on which line.
    fn refused(backup: &str) -> ConfigError {
        parse(&format!("version: 1\nbackup:\n{backup}\n")).unwrap_err()
    }

    #[test]
    fn all_of_it_is_read_and_written_back() {
        let config = parse(WHOLE).unwrap();
        let backup = &config.backup;
        let s3 = Place::S3 {
            bucket: "bucket".to_owned(),
            prefix: "kms".to_owned(),
        };
        assert_eq!(backup.to, [Place::Dir("/var/backups/kms".into()), s3]);
        assert_eq!(backup.to[1].to_string(), "s3://bucket/kms");
        assert_eq!(
            backup.keep.to_string(),
            "daily 14, weekly 4, monthly 6, minimum 1"
        );
        assert_eq!((backup.consistency, backup.compression), (Consistency::Pause, 9));
        assert_eq!(backup.exclude.len(), 2);
        let written = write_commented(&config);
        assert_eq!(parse(&written).unwrap(), config, "{written}");
        insta::assert_snapshot!(written);
        assert_eq!(parse("version: 1").unwrap().backup, Backup::default());
        assert_eq!(parse("version: 1\nbackup: {}").unwrap(), Config::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_on_its_line() {
        for (text, line, words) in [
            ("  keep: { dayly: 7 }", 3, "unknown key `dayly` in `backup.keep`"),
            ("  tu: []", 3, "unknown key `tu` in `backup`"),
            (
                "  to:\n    - { dir: /a, s4: b }",
                4,
                "unknown key `s4` in `backup.to[0]`",
            ),
            ("  to:\n    - dir: backups", 4, "no absolute path"),
            ("  to:\n    - dir: s3://b/c", 4, "neither a directory nor s3://"),
            ("  to:\n    - {}", 4, "neither `dir` nor `s3`"),
            ("  to:\n    - { dir: /a, s3: s3://bucket }", 4, "two places"),
            ("  to:\n    - dir: /a\n    - s3: s3://b", 5, "names no bucket"),
            ("  to:\n    - s3: bucket/kms", 4, "s3://bucket/prefix"),
            ("  to:\n    - s3: s3://bucket/a/../b", 4, "single `/`"),
            ("  to:\n    - dir: /a\n    - dir: /a/", 5, "twice"),
            ("  keep: { last: -1 }", 3, "last"),
            ("  keep:\n    daily: 10001", 4, "backup.keep.daily: 10001"),
            ("  schedule: tonight!", 3, "is no time"),
            ("  consistency: paused", 3, "unknown variant"),
            ("  encrypt: {}", 3, "backup.encrypt: it says neither"),
            ("  encrypt:\n    passphrase_from: A B", 4, "no name of a variable"),
            ("  encrypt:\n    recipients: [bob]", 4, "entry 1 is no public key"),
            ("  exclude: [a b]", 3, "not valid"),
            ("  compression: 22", 3, "no level from 1 to 19"),
            ("  ping: ftp://x", 3, "no URL"),
            ("  ping: https://x\n  ping_from: A", 4, "two addresses"),
            ("  metrics: a.prom", 3, "no absolute path of a file"),
        ] {
            let error = refused(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert_eq!(error.line, Some(line), "{text}: {error}");
        }
    }

    #[test]
    fn no_secret_shows() {
        let secret = "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ";
        let error = refused(&format!("  encrypt: {{ recipients: [{secret}] }}")).to_string();
        assert!(error.contains("secret key") && !error.contains("QQQ"), "{error}");
        let backup = parse(WHOLE).unwrap().backup;
        let shown = format!("{backup:?}");
        assert!(
            !shown.contains("s3cret") && shown.contains("hc-ping.com"),
            "{shown}"
        );
        assert_eq!(backup.pinged().as_deref(), Some("hc-ping.com"));
    }

    #[test]
    fn a_place_is_read_from_the_command_line_too() {
        let place = |text: &str| {
            text.parse::<Place>()
                .map(|place| place.from_here(Path::new("/srv/kms")))
        };
        for (text, shown) in [
            ("backups", "/srv/kms/backups"),
            ("./backups/", "/srv/kms/backups"),
            ("dir:/a", "/a"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b", "s3://bucket/a/b"),
        ] {
            assert_eq!(place(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "s3:/bucket",
            "S3://bucket",
            "https://bucket",
            "s3://bucket//a",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_schema_knows_its_keys() {
        let schema = schema();
        let of = |name: &str| &schema["$defs"][name];
        assert_eq!(of("Backup")["additionalProperties"], false);
        assert_eq!(of("Place")["additionalProperties"], false);
        let backup = serde_json::json!({ "Backup": of("Backup"), "Keep": of("Keep"), "Place": of("Place") });
        insta::assert_snapshot!(serde_json::to_string_pretty(&backup).unwrap());
    }
}

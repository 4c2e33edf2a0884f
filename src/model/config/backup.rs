//! `backup:` in rehome.yml.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::{Destination, Place, Volumes};
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
    pub to: Vec<Destination>,

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

    /// The variable of the environment or of `.env` that holds the password of repositories of restic, where backups are
    /// not encrypted with a passphrase, which is theirs as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restic_password_from: Option<String>,

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
            restic_password_from: None,
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
            .field("restic_password_from", &self.restic_password_from)
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

    /// Where backups are kept.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        self.to.iter().map(|to| to.place.clone()).collect()
    }

    /// Whether a place keeps volumes as snapshots.
    #[must_use]
    pub fn has_snapshots(&self, place: &Place) -> bool {
        let is_it = |to: &Destination| to.place == *place && to.volumes == Volumes::Restic;
        self.to.iter().any(is_it)
    }

    /// The variable with the passphrase that backups are encrypted with.
    #[must_use]
    pub fn passphrase_from(&self) -> Option<&str> {
        self.encrypt.as_ref()?.passphrase_from.as_deref()
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
            if self.to[..at].iter().any(|before| before.place == place.place) {
                let twice = format!("{} stands there twice", place.place);
                return found(&["to", &at.to_string()], twice);
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
        match &self.restic_password_from {
            Some(name) if !super::hook::is_variable(name) => {
                let what = format!("{name:?} is no name of a variable");
                return found(&["restic_password_from"], what);
            }
            Some(_) if self.passphrase_from().is_some() => {
                let what = "`encrypt.passphrase_from` is the password of repositories already";
                return found(&["restic_password_from"], what.to_owned());
            }
            _ => {}
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
  to: [ { dir: /var/backups//kms/ }, { s3: s3://bucket/kms/, volumes: restic } ]
  keep: { daily: 14, minimum: 1 }
  schedule: Mon..Fri 02:00
  consistency: pause
  encrypt: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p] }
  restic_password_from: RESTIC
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
        assert_eq!(
            backup.places(),
            [Place::Dir("/var/backups/kms".into()), s3.clone()]
        );
        assert_eq!(backup.to[1].to_string(), "s3://bucket/kms (volumes: restic)");
        assert!(!backup.has_snapshots(&backup.to[0].place) && backup.has_snapshots(&s3));
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
            (
                "  to:\n    - dir: /a\n    - { dir: /a/, volumes: restic }",
                5,
                "twice",
            ),
            ("  to:\n    - { dir: /a, volumes: borg }", 4, "unknown variant"),
            ("  restic_password_from: A B", 3, "no name of a variable"),
            (
                "  encrypt: { passphrase_from: A }\n  restic_password_from: B",
                4,
                "already",
            ),
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
    fn the_schema_knows_its_keys() {
        let schema = schema();
        let of = |name: &str| &schema["$defs"][name];
        assert_eq!(of("Backup")["additionalProperties"], false);
        assert_eq!(of("Place")["additionalProperties"], false);
        let backup = serde_json::json!({ "Backup": of("Backup"), "Keep": of("Keep"), "Place": of("Place") });
        insta::assert_snapshot!(serde_json::to_string_pretty(&backup).unwrap());
    }
}

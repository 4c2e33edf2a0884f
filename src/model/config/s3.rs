//! `s3:` in rehome.yml.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::place::is_bucket;
use super::scalar;
use crate::model::{ByteSize, Rate, VolumeKey};

/// More requests than this at a time only meet the storage's own limits.
pub const CONCURRENCY: std::ops::RangeInclusive<u16> = 1..=256;

/// Longer values are none.
const LONGEST: usize = 200;

/// Uploads in S3-compatible storage: which volume's, where, how the services are switched over. Everything may be left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// The volume with the uploads, by its key in the Compose file.
    #[serde(deserialize_with = "scalar::some", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub volume: Option<VolumeKey>,

    /// The bucket; without it that of `AWS_STORAGE_BUCKET_NAME` in `.env`.
    #[serde(deserialize_with = "scalar::some", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Bucket>")]
    pub bucket: Option<Bucket>,

    /// What every key begins with: the `location` of the application's storage class.
    #[serde(deserialize_with = "scalar::one", skip_serializing_if = "Prefix::is_default")]
    pub prefix: Prefix,

    /// The variables of `.env` that send the services to S3, with the values that do so.
    #[serde(skip_serializing_if = "is_usual_switch")]
    #[schemars(schema_with = "switch_schema")]
    pub switch: BTreeMap<String, String>,

    /// The canned ACL of each object; without it none is sent, which newer buckets insist on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<Acl>,

    /// The `Cache-Control` of each object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,

    /// The storage class of each object, as `STANDARD_IA`; without it the bucket's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,

    /// The origins whose pages may read from the bucket by script, as `https://www.example.org`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cors: Vec<String>,

    /// Whether the bucket keeps what is overwritten and deleted.
    #[serde(skip_serializing_if = "is_true")]
    pub versioning: bool,

    /// Whether the bucket encrypts what it stores, with keys of its own.
    #[serde(skip_serializing_if = "is_true")]
    pub encryption: bool,

    /// How many requests run at a time.
    #[serde(
        deserialize_with = "scalar::one",
        skip_serializing_if = "Concurrency::is_auto"
    )]
    pub concurrency: Concurrency,

    /// The most bytes a second, as `50MB`.
    #[serde(deserialize_with = "rate", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rate_schema")]
    pub bandwidth: Option<ByteSize>,

    /// A file for Prometheus, as `/var/lib/node_exporter/rehome-s3.prom`; without it one beside that of `backup.metrics`,
    /// if there is one, with `-s3` in its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<PathBuf>,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            volume: None,
            bucket: None,
            prefix: Prefix::default(),
            switch: usual_switch(),
            acl: None,
            cache_control: None,
            storage_class: None,
            cors: Vec::new(),
            versioning: true,
            encryption: true,
            concurrency: Concurrency::Auto,
            bandwidth: None,
            metrics: None,
        }
    }
}

// What is not said is not written: serde asks by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_true(value: &bool) -> bool {
    *value
}

fn usual_switch() -> BTreeMap<String, String> {
    BTreeMap::from([("USE_S3".to_owned(), "1".to_owned())])
}

fn is_usual_switch(switch: &BTreeMap<String, String>) -> bool {
    *switch == usual_switch()
}

fn rate<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    Ok(scalar::some::<D, Rate>(deserializer)?.map(|Rate(bytes)| bytes))
}

fn switch_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": { "type": ["string", "integer", "boolean"] },
    })
}

fn rate_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)? ?[A-Za-z]*(/s)?$" },
        { "type": "integer", "minimum": 1 },
    ] })
}

/// A bucket's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bucket(String);

/// What every key begins with: empty, or ending in `/` and without one at its front.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// A text that is not what stands in `s3`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseS3Error(String);

impl FromStr for Bucket {
    type Err = ParseS3Error;
    fn from_str(text: &str) -> Result<Self, ParseS3Error> {
        match is_bucket(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(ParseS3Error(format!(
                "{text:?} names no bucket: 3 to 63 letters, digits and `.`, `-`, without s3:// and without a prefix"
            ))),
        }
    }
}

impl FromStr for Prefix {
    type Err = ParseS3Error;

    // The characters are those of prefixes of backups: they mean nothing in a policy, a shell, a URL or a program's text.
    fn from_str(text: &str) -> Result<Self, ParseS3Error> {
        let inner = text.strip_prefix('/').unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-%@".contains(c);
        let fine = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(plain);
        match inner {
            "" => Ok(Self(String::new())),
            inner if inner.len() <= 500 && inner.split('/').all(fine) => Ok(Self(format!("{inner}/"))),
            _ => Err(ParseS3Error(format!(
                "{text:?} is no prefix: letters, digits and ._-%@ between single `/`, as media/"
            ))),
        }
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self("media/".to_owned())
    }
}

impl Prefix {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

macro_rules! text {
    ($type:ident, $pattern:literal) => {
        impl $type {
            /// It as text.
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

        impl TryFrom<String> for $type {
            type Error = ParseS3Error;
            fn try_from(text: String) -> Result<Self, ParseS3Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

text!(Bucket, "^[A-Za-z0-9_-][A-Za-z0-9._-]{2,62}$");
text!(Prefix, "^/?([A-Za-z0-9._%@-]+(/[A-Za-z0-9._%@-]+)*/?)?$");

/// A canned ACL of an object.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#canned-acl>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Acl {
    /// For its owner alone.
    Private,
    /// Everybody may read.
    PublicRead,
    /// Everybody may read; of an object it means no more.
    PublicReadWrite,
    /// Everybody with an account at the provider may read.
    AuthenticatedRead,
    /// For its owner, and images of machines may be made of it.
    AwsExecRead,
    /// The bucket's owner may read it.
    BucketOwnerRead,
    /// The bucket's owner may do everything with it.
    BucketOwnerFullControl,
}

impl Acl {
    /// As it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
            Self::AuthenticatedRead => "authenticated-read",
            Self::AwsExecRead => "aws-exec-read",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
        }
    }

    /// Whether whoever knows the address may read the object.
    #[must_use]
    pub fn is_public(self) -> bool {
        matches!(self, Self::PublicRead | Self::PublicReadWrite)
    }
}

/// How many requests run at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as the storage answers well.
    #[default]
    Auto,
    /// So many.
    Fixed(u16),
}

impl Concurrency {
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl FromStr for Concurrency {
    type Err = ParseS3Error;
    fn from_str(text: &str) -> Result<Self, ParseS3Error> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let number = text.parse().ok().filter(|n| CONCURRENCY.contains(n));
        number.map(Self::Fixed).ok_or_else(|| {
            ParseS3Error(format!(
                "{text:?} is neither auto nor a number from {} to {}",
                CONCURRENCY.start(),
                CONCURRENCY.end()
            ))
        })
    }
}

impl Serialize for Concurrency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(number) => serializer.serialize_u16(*number),
        }
    }
}

impl JsonSchema for Concurrency {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Concurrency".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "const": "auto" },
            { "type": "integer", "minimum": 1, "maximum": 256 },
        ] })
    }
}

impl S3 {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with it, and with which key below `s3`.
    pub(super) fn mistake(&self) -> Option<(Vec<String>, String)> {
        let found =
            |keys: &[&str], what: String| Some((keys.iter().map(ToString::to_string).collect(), what));
        if self.switch.is_empty() {
            return found(
                &["switch"],
                "it names no variable: nothing would send the services to S3".into(),
            );
        }
        for (name, value) in &self.switch {
            if !super::hook::is_variable(name) {
                return found(&["switch", name], format!("{name:?} is no name of a variable"));
            }
            if value.is_empty() || value.len() > LONGEST || value.contains(char::is_control) {
                return found(&["switch", name], format!("{value:?} is no value for it"));
            }
        }
        if let Some(text) = &self.cache_control
            && !is_header(text)
        {
            return found(
                &["cache_control"],
                format!("{text:?} is no value of a header, as max-age=86400"),
            );
        }
        if let Some(class) = &self.storage_class {
            let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            if class.is_empty() || class.len() > LONGEST || !class.chars().all(plain) {
                return found(
                    &["storage_class"],
                    format!("{class:?} is no storage class, as STANDARD_IA"),
                );
            }
            // https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-class-intro.html
            if matches!(class.as_str(), "GLACIER" | "DEEP_ARCHIVE") {
                return found(
                    &["storage_class"],
                    format!("an upload in {class} cannot be read for hours; GLACIER_IR can"),
                );
            }
        }
        if let Some(path) = &self.metrics
            && (!path.is_absolute() || path.file_name().is_none())
        {
            let what = format!("{:?} is no absolute path of a file", path.display().to_string());
            return found(&["metrics"], what);
        }
        let wrong = self.cors.iter().position(|origin| !is_origin(origin));
        wrong.and_then(|at| {
            let what = format!(
                "{:?} is no origin: a scheme and a host, as https://www.example.org",
                self.cors[at]
            );
            found(&["cors", &at.to_string()], what)
        })
    }
}

fn is_header(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

/// `https://www.example.org`, a port too; one `*` at most, as S3 has it.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ManageCorsUsing.html#cors-allowed-origin>
fn is_origin(text: &str) -> bool {
    let host = |rest: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]*".contains(c);
        !rest.is_empty() && rest.chars().all(plain)
    };
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    text == "*" || (text.matches('*').count() <= 1 && text.len() <= LONGEST && rest.is_some_and(host))
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, parse, schema, write_commented};
    use super::*;

    const WHOLE: &str = "\
version: 1
s3:
  volume: media_volume
  bucket: obcms-media
  prefix: /uploads/media
  switch: { USE_S3: true, S3_VERSION: 4 }
  acl: public-read
  cache_control: max-age=86400, public
  storage_class: STANDARD_IA
  cors: ['https://www.example.org', 'https://*.example.org:8443', '*']
  versioning: false
  encryption: false
  concurrency: 32
  bandwidth: 50MB/s
  metrics: /var/lib/node_exporter/rehome-s3.prom
";

    fn refused(s3: &str) -> ConfigError {
        parse(&format!("version: 1\ns3:\n{s3}\n")).unwrap_err()
    }

    #[test]
    fn all_of_it_is_read_and_written_back() {
        let config = parse(WHOLE).unwrap();
        let s3 = &config.s3;
        assert_eq!(s3.volume.as_ref().unwrap().as_str(), "media_volume");
        assert_eq!(s3.prefix.as_str(), "uploads/media/");
        assert_eq!((&*s3.switch["USE_S3"], &*s3.switch["S3_VERSION"]), ("true", "4"));
        assert_eq!(s3.acl.map(Acl::as_str), Some("public-read"));
        assert_eq!(s3.concurrency, Concurrency::Fixed(32));
        assert_eq!(s3.bandwidth, Some(ByteSize(50_000_000)));
        let written = write_commented(&config);
        assert_eq!(parse(&written).unwrap(), config, "{written}");
        insta::assert_snapshot!(written);
    }

    #[test]
    fn what_nobody_said_is_the_default_and_is_not_written() {
        let said = parse("version: 1\ns3: { volume: media, concurrency: auto, prefix: media }").unwrap();
        assert_eq!(said.s3.prefix, Prefix::default());
        assert_eq!(said.s3.switch, BTreeMap::from([("USE_S3".into(), "1".into())]));
        assert!(said.s3.versioning && said.s3.encryption);
        let written = write_commented(&said);
        assert!(written.ends_with("\ns3:\n  volume: media\n"), "{written}");
        assert_eq!(parse("version: 1\ns3: {}").unwrap(), Config::default());
        assert!(!write_commented(&Config::default()).contains("s3:"));
    }

    #[test]
    fn a_prefix_has_one_spelling() {
        for (text, prefix) in [
            ("media", "media/"),
            ("/media/", "media/"),
            ("a/b.c/", "a/b.c/"),
            ("", ""),
            ("/", ""),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().as_str(), prefix);
        }
        for text in [
            "a//b", "//a", "a/../b", "..", ".", "a b", "a*", "${x}", "a?", "\u{e9}",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        assert!("x".repeat(501).parse::<Prefix>().is_err());
    }

    #[test]
    fn an_acl_is_written_as_it_is_sent() {
        for acl in [
            Acl::Private,
            Acl::PublicRead,
            Acl::PublicReadWrite,
            Acl::AuthenticatedRead,
            Acl::AwsExecRead,
            Acl::BucketOwnerRead,
            Acl::BucketOwnerFullControl,
        ] {
            assert_eq!(serde_json::to_value(acl).unwrap(), acl.as_str());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_on_its_line() {
        for (text, line, words) in [
            ("  volum: a", 3, "unknown key `volum` in `s3`"),
            ("  prefix: a\n  volume: a b", 4, "not valid"),
            ("  volume: a\n  bucket: s3://media/x", 4, "names no bucket"),
            ("  bucket: ab", 3, "names no bucket"),
            ("  volume: a\n  prefix: a/../b", 4, "is no prefix"),
            ("  prefix: 'a//b'", 3, "is no prefix"),
            ("  volume: a\n  switch: {}", 4, "names no variable"),
            ("  switch:\n    USE S3: 1", 4, "no name of a variable"),
            ("  switch:\n    A: 1\n    USE_S3: ''", 5, "no value"),
            ("  acl: public", 3, "unknown variant"),
            (
                "  volume: a\n  cache_control: \"a\\nb\"",
                4,
                "no value of a header",
            ),
            ("  storage_class: standard ia", 3, "no storage class"),
            ("  storage_class: DEEP_ARCHIVE", 3, "cannot be read for hours"),
            ("  cors:\n    - https://a.org\n    - a.org", 5, "no origin"),
            ("  cors: ['https://a.org/x']", 3, "no origin"),
            ("  cors: ['https://*.*.org']", 3, "no origin"),
            ("  volume: a\n  concurrency: 0", 4, "neither auto nor"),
            ("  concurrency: 257", 3, "neither auto nor"),
            ("  volume: a\n  bandwidth: fast", 4, "is no size"),
            ("  bandwidth: 0", 3, "would never end"),
            ("  versioning: maybe", 3, "expected a boolean"),
            ("  metrics: a.prom", 3, "no absolute path of a file"),
            (
                "  metrics: /a.prom\nbackup: { metrics: /a.prom }",
                3,
                "backups write that file",
            ),
        ] {
            let error = refused(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert_eq!(error.line, Some(line), "{text}: {error}");
        }
    }

    #[test]
    fn the_schema_knows_its_keys() {
        let schema = schema();
        assert_eq!(schema["$defs"]["S3"]["additionalProperties"], false);
        insta::assert_snapshot!(serde_json::to_string_pretty(&schema["$defs"]["S3"]).unwrap());
    }
}

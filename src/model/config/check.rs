//! `checks:` in rehome.yml.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{scalar, schemas, write_some_span};
use crate::model::ServiceName;

/// Something that must be so before a run counts as done. It says one of `http`, `tcp`, `command`, `log_free_of` and
/// `file`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The service that is asked, from inside; without one this machine asks.
    #[serde(
        default,
        deserialize_with = "scalar::some",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "Option<String>")]
    pub service: Option<ServiceName>,

    /// The URL, as the service itself would call it: `http://localhost:8000/health/`. From this machine `https://` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"))]
    pub http: Option<String>,

    /// The status that the URL must answer with; 200 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,

    /// A text that the answer of the URL must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,

    /// A port of `localhost` that must take connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tcp: Option<u16>,

    /// A program and its arguments; no shell is involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,

    /// The exit code that the command must have; 0 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,

    /// A text that no line of the service's log may hold since its containers were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_free_of: Option<String>,

    /// A file that must be there: absolute in a service, on this machine relative to the project's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,

    /// How long it may take until it is so, as `60s` or `2m`; 60s if it is not said. A log is watched for this long;
    /// if it is not said, it is looked at once.
    #[serde(
        default,
        deserialize_with = "scalar::some_span",
        serialize_with = "write_some_span",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "schemas::span")]
    pub within: Option<Duration>,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// Journals of the first version know only HTTP, and have its fields without a name around them.
#[serde(untagged)]
pub enum Question {
    /// A URL answers.
    Http {
        /// The address.
        url: String,
        /// With this status.
        status: u16,
        /// And this text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// A port of `localhost` takes connections.
    Tcp {
        /// The port.
        tcp: u16,
    },
    /// A program ends as it should.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its exit code.
        code: i64,
    },
    /// A log does not hold a text.
    Log {
        /// The text.
        log_free_of: String,
    },
    /// A file is there.
    File {
        /// Its path.
        file: String,
    },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, .. } => f.write_str(url),
            Self::Tcp { tcp } => write!(f, "port {tcp}"),
            Self::Command { command, .. } => write!(f, "`{}`", command.join(" ")),
            Self::Log { log_free_of } => write!(f, "log free of {log_free_of:?}"),
            Self::File { file } => write!(f, "file {file}"),
        }
    }
}

impl Check {
    /// What it asks.
    ///
    /// # Errors
    /// What is wrong with it, and with which key.
    pub fn question(&self) -> Result<Question, (&'static str, String)> {
        let kinds = [
            ("http", self.http.is_some()),
            ("tcp", self.tcp.is_some()),
            ("command", self.command.is_some()),
            ("log_free_of", self.log_free_of.is_some()),
            ("file", self.file.is_some()),
        ];
        let said: Vec<&'static str> = kinds.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
        match said.as_slice() {
            [_] => {}
            [] => {
                let what = "it asks nothing: say one of http, tcp, command, log_free_of, file";
                return Err(("", what.to_owned()));
            }
            [_, second, ..] => {
                let what = format!(
                    "{} are two checks: give each an entry of its own",
                    said.join(" and ")
                );
                return Err((second, what));
            }
        }
        for (key, is, with) in [
            ("status", self.status.is_some(), "http"),
            ("body", self.body.is_some(), "http"),
            ("code", self.code.is_some(), "command"),
        ] {
            if is && said[0] != with {
                return Err((key, format!("`{key}` is for `{with}`")));
            }
        }
        match self {
            Self { http: Some(url), .. } => self.http(url),
            Self { tcp: Some(0), .. } => Err(("tcp", "0 is no port".to_owned())),
            Self { tcp: Some(tcp), .. } => Ok(Question::Tcp { tcp: *tcp }),
            Self {
                command: Some(command),
                ..
            } => match command.first() {
                Some(first) if !first.is_empty() => Ok(Question::Command {
                    command: command.clone(),
                    code: self.code.unwrap_or(0),
                }),
                _ => Err(("command", "it runs nothing".to_owned())),
            },
            Self {
                log_free_of: Some(text),
                ..
            } => match (&self.service, text.as_str()) {
                (_, "") => Err(("log_free_of", "every log holds nothing".to_owned())),
                (None, _) => Err((
                    "log_free_of",
                    "it names no service, whose log is looked at".to_owned(),
                )),
                (Some(_), text) => Ok(Question::Log {
                    log_free_of: text.to_owned(),
                }),
            },
            Self { file: Some(file), .. } => match &self.service {
                Some(_) if !file.starts_with('/') => Err(("file", format!("{file:?} is no absolute path"))),
                _ if file.is_empty() => Err(("file", "it names no file".to_owned())),
                _ => Ok(Question::File { file: file.clone() }),
            },
            _ => Err(("", "it asks nothing".to_owned())),
        }
    }

    fn http(&self, url: &str) -> Result<Question, (&'static str, String)> {
        let plain = url.strip_prefix("http://");
        // Inside a service's network services speak plain HTTP, and nobody there knows whom to trust.
        let host = match &self.service {
            Some(_) => plain,
            None => plain.or_else(|| url.strip_prefix("https://")),
        };
        if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            return Err(("http", format!("{url:?} is no URL that can be asked")));
        }
        let status = self.status.unwrap_or(200);
        if !(100..=599).contains(&status) {
            return Err(("status", format!("{status} is no HTTP status")));
        }
        Ok(Question::Http {
            url: url.to_owned(),
            status,
            body: self.body.clone(),
        })
    }

    /// How long it may take until it is so.
    #[must_use]
    pub fn limit(&self) -> Duration {
        let default = match self.log_free_of {
            Some(_) => Duration::ZERO,
            None => Duration::from_secs(60),
        };
        self.within.unwrap_or(default)
    }
}

//! `rehome config show`: every setting in effect, and where it came from.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::Settings;
use crate::compose::{Dotenv, FoundBy};
use crate::engine::HostSource;
use crate::model::Result;
use crate::model::config::{Encrypt, default_subdir, line_of};
use crate::ops::App;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The configuration.
    File {
        /// What the file is called.
        name: String,
        /// The line, from 1.
        line: Option<usize>,
    },
    /// An option of the command line.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// `.env` of the project.
    Dotenv,
    /// A Docker context.
    Context(String),
    /// Compose, out of its files and the directory's name.
    Compose,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                name,
                line: Some(line),
            } => write!(f, "{name}:{line}"),
            Self::File { name, line: None } => f.write_str(name),
            Self::Flag(option) => f.write_str(option),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::Dotenv => f.write_str(".env"),
            Self::Context(name) => write!(f, "context {name}"),
            Self::Compose => f.write_str("docker compose"),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its name: the keys of `rehome.yml` joined by dots.
    pub name: String,
    /// What is in effect; `null` where there is no limit, or where it is detected at each move.
    pub value: Value,
    /// Where it came from.
    pub from: Source,
}

impl App {
    /// The settings in effect: what the command line and the environment say first, then the configuration.
    ///
    /// # Errors
    /// When `.env` cannot be read.
    pub fn effective(&self) -> Result<Vec<Setting>> {
        let wanted = &self.options.project;
        let dotenv = Dotenv::read(&self.located.dotenv)?;
        let name = if wanted.project_name.is_some() {
            Source::Flag("--project-name")
        } else if wanted
            .env
            .get("COMPOSE_PROJECT_NAME")
            .is_some_and(|name| !name.is_empty())
        {
            Source::Environment("COMPOSE_PROJECT_NAME")
        } else if dotenv
            .get("COMPOSE_PROJECT_NAME", &wanted.env)
            .is_some_and(|name| !name.is_empty())
        {
            Source::Dotenv
        } else {
            Source::Compose
        };
        let files = match self.located.found_by {
            FoundBy::Flags => Source::Flag("--file"),
            FoundBy::Environment => Source::Environment("COMPOSE_FILE"),
            FoundBy::Dotenv => Source::Dotenv,
            FoundBy::Default => Source::Default,
        };
        let host = self.engine.host();
        let engine = match &host.source {
            HostSource::Flag => Source::Flag("--host"),
            HostSource::Context(name) => Source::Context(name.clone()),
            HostSource::Environment => Source::Environment("DOCKER_HOST"),
            HostSource::Default => Source::Default,
        };
        let said =
            |flag: &Option<PathBuf>, name| flag.as_ref().map_or(Source::Default, |_| Source::Flag(name));
        let setting = |name: &str, value, from| Setting {
            name: name.to_owned(),
            value,
            from,
        };
        let mut settings = vec![
            setting("project", json!(self.project.name), name),
            setting("files", json!(self.located.files), files),
            setting("engine", json!(host.url), engine),
            setting(
                "state",
                json!(self.state.path()),
                said(&self.options.state_dir, "--state-dir"),
            ),
            setting(
                "config",
                json!(self.settings.path),
                said(&self.options.config, "--config"),
            ),
        ];
        settings.extend(self.settings.show());
        Ok(settings)
    }
}

impl Settings {
    /// What can stand in the configuration, each with its line where it does.
    #[must_use]
    pub fn show(&self) -> Vec<Setting> {
        let name = self.path.as_deref().and_then(|path| path.file_name());
        let name = name.map_or_else(
            || "rehome.yml".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let setting = |keys: &[&str], value: Value| {
            let line = line_of(&self.text, keys);
            let from = match line {
                Some(_) => Source::File {
                    name: name.clone(),
                    line,
                },
                None => Source::Default,
            };
            Setting {
                name: keys.join("."),
                value,
                from,
            }
        };
        let mut settings = vec![
            setting(&["block", "root"], json!(self.block_root)),
            setting(&["block", "override"], json!(self.override_path)),
        ];
        for (key, volume) in &self.volumes {
            let path = volume
                .path
                .as_ref()
                .map_or_else(|| default_subdir(key), ToString::to_string);
            settings.push(setting(&["block", "volumes", key.as_str(), "path"], json!(path)));
            if let Some(owner) = volume.owner {
                settings.push(setting(
                    &["block", "volumes", key.as_str(), "owner"],
                    json!(owner),
                ));
            }
        }
        settings.push(setting(&["block", "exclude"], json!(self.exclude)));
        let seconds = self.stop_timeout.map(|limit| format!("{}s", limit.as_secs()));
        settings.push(setting(&["stop_timeout"], json!(seconds)));
        let hooks = self.hooks.as_ref();
        settings.push(setting(
            &["hooks", "after_start"],
            json!(hooks.map(|hooks| &hooks.after_start)),
        ));
        for (phase, of_it) in hooks.into_iter().flat_map(|hooks| {
            [
                ("before_pull", &hooks.before_pull),
                ("before_start", &hooks.before_start),
                ("after_healthy", &hooks.after_healthy),
                ("on_failure", &hooks.on_failure),
                ("after_finish", &hooks.after_finish),
            ]
        }) {
            if !of_it.is_empty() {
                settings.push(setting(&["hooks", phase], json!(of_it)));
            }
        }
        settings.push(setting(&["checks"], json!(self.checks)));
        settings.push(setting(&["data_root"], json!(self.data_root)));
        settings.push(setting(&["deploy", "git"], json!(self.deploy.git)));
        for (place, variant) in self.variants.iter().enumerate() {
            let active = if variant.active { "active" } else { "not active" };
            let name = variant.file.file_name().map(|name| name.to_string_lossy());
            let value = format!("{} {active}: {}", name.unwrap_or_default(), variant.why);
            settings.push(setting(&["variants", &place.to_string()], json!(value)));
        }
        for (place, notify) in self.notify.iter().enumerate() {
            settings.push(setting(&["notify", &place.to_string()], json!(notify.shown())));
        }
        let s3 = &self.s3;
        settings.extend([
            setting(&["s3", "volume"], json!(s3.volume)),
            setting(&["s3", "bucket"], json!(s3.bucket)),
            setting(&["s3", "prefix"], json!(s3.prefix)),
            setting(&["s3", "switch"], json!(s3.switch)),
            setting(&["s3", "acl"], json!(s3.acl)),
            setting(&["s3", "cache_control"], json!(s3.cache_control)),
            setting(&["s3", "storage_class"], json!(s3.storage_class)),
            setting(&["s3", "cors"], json!(s3.cors)),
            setting(&["s3", "versioning"], json!(s3.versioning)),
            setting(&["s3", "encryption"], json!(s3.encryption)),
            setting(&["s3", "concurrency"], json!(s3.concurrency)),
            setting(
                &["s3", "bandwidth"],
                json!(s3.bandwidth.map(|rate| format!("{rate}/s"))),
            ),
        ]);
        if let Some(file) = &s3.metrics {
            settings.push(setting(&["s3", "metrics"], json!(file)));
        }
        let backup = &self.backup;
        let places: Vec<String> = backup.to.iter().map(ToString::to_string).collect();
        settings.extend([
            setting(&["backup", "to"], json!(places)),
            setting(&["backup", "keep"], json!(backup.keep.to_string())),
            setting(&["backup", "schedule"], json!(backup.schedule)),
            setting(&["backup", "consistency"], json!(backup.consistency)),
            setting(
                &["backup", "encrypt"],
                json!(backup.encrypt.as_ref().map(encrypted)),
            ),
            setting(
                &["backup", "restic_password_from"],
                json!(backup.restic_password_from),
            ),
            setting(&["backup", "exclude"], json!(backup.exclude)),
            setting(&["backup", "no_dump"], json!(backup.no_dump)),
            setting(&["backup", "compression"], json!(backup.compression)),
        ]);
        let ping = if backup.ping_from.is_some() {
            "ping_from"
        } else {
            "ping"
        };
        if let Some(shown) = backup.pinged() {
            settings.push(setting(&["backup", ping], json!(shown)));
        }
        if let Some(file) = &backup.metrics {
            settings.push(setting(&["backup", "metrics"], json!(file)));
        }
        settings
    }
}

fn encrypted(encrypt: &Encrypt) -> String {
    match &encrypt.passphrase_from {
        Some(name) => format!("with the passphrase in {name}"),
        None => format!("for {}", encrypt.recipients.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::compose::{Located, Wanted, locate};

    fn located(directory: &Path) -> Located {
        let file = "docker-compose.prod.yml";
        std::fs::write(directory.join(file), "services: {}\n").unwrap();
        let wanted = Wanted {
            files: vec![file.into()],
            cwd: directory.to_owned(),
            ..Wanted::default()
        };
        locate(&wanted).unwrap()
    }

    fn shown(settings: &Settings) -> Vec<(String, String, String)> {
        let row = |s: Setting| (s.name, s.value.to_string(), s.from.to_string());
        settings.show().into_iter().map(row).collect()
    }

    fn row(name: &str, value: &str, from: &str) -> (String, String, String) {
        (name.to_owned(), value.to_owned(), from.to_owned())
    }

    #[test]
    fn each_setting_says_the_line_that_it_came_from() {
        let dir = tempfile::tempdir().unwrap();
        let text = "\
version: 1
block:
  root: /mnt/kms-data

  volumes:
    media_volume: { owner: 1000:1000 }
    postgres_data:
      path: pg
  exclude: [redis_data]
checks:
  - { service: api, http: 'http://localhost:8000/health/' }
";
        std::fs::write(dir.path().join("rehome.yml"), text).unwrap();
        let settings = Settings::load(None, &located(dir.path())).unwrap();
        let override_path = dir.path().join("docker-compose.prod.block.yml");
        let rows = shown(&settings);
        assert_eq!(
            rows[..8],
            [
                row("block.root", "\"/mnt/kms-data\"", "rehome.yml:3"),
                row(
                    "block.override",
                    &format!("{:?}", override_path.display().to_string()),
                    "default"
                ),
                row("block.volumes.media_volume.path", "\"media\"", "default"),
                row(
                    "block.volumes.media_volume.owner",
                    "\"1000:1000\"",
                    "rehome.yml:6"
                ),
                row("block.volumes.postgres_data.path", "\"pg\"", "rehome.yml:8"),
                row("block.exclude", "[\"redis_data\"]", "rehome.yml:9"),
                row("stop_timeout", "null", "default"),
                row("hooks.after_start", "null", "default"),
            ]
        );
        assert_eq!(
            (rows[8].0.as_str(), rows[8].2.as_str()),
            ("checks", "rehome.yml:11")
        );
    }

    #[test]
    fn another_file_is_called_by_its_own_name_and_none_is_all_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other.yml");
        std::fs::write(&other, "version: 1\n\nstop_timeout: 2m\n").unwrap();
        let settings = Settings::load(Some(&other), &located(dir.path())).unwrap();
        let rows = shown(&settings);
        assert!(
            rows.contains(&row("stop_timeout", "\"120s\"", "other.yml:3")),
            "{rows:?}"
        );

        let settings = Settings::load(None, &located(dir.path())).unwrap();
        assert!(shown(&settings).iter().all(|(_, _, from)| from == "default"));
        assert_eq!(settings.path, None);

        let missing = Settings::load(Some(&dir.path().join("gone.yml")), &located(dir.path())).unwrap_err();
        assert!(missing.what.contains("gone.yml"), "{missing}");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Settings::load(Some(Path::new("/dev/zero")), &located(dir.path())).unwrap_err();
        assert!(failure.to_string().contains("no file"), "{failure}");
    }
}

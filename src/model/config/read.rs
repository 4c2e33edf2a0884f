//! Reading rehome.yml, with errors that say where and what was probably meant.

use std::path::Path;

use serde_yaml::Value;

use super::{Block, Config, VERSION, absolute_dir, default_subdir, line_of};
use crate::model::{Failure, VolumeKey, nearest};

/// A rehome.yml that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ConfigError {
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// What was probably meant, or what to write instead.
    pub hint: Option<String>,
}

impl ConfigError {
    fn new(what: impl Into<String>) -> Self {
        Self {
            line: None,
            what: what.into(),
            hint: None,
        }
    }

    fn on(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As a failure that names the file.
    #[must_use]
    pub fn into_failure(self, file: &Path) -> Failure {
        let place = match self.line {
            Some(line) => format!("{}:{line}", file.display()),
            None => file.display().to_string(),
        };
        let failure = Failure::usage(format!("cannot read {place}")).cause(self.what);
        match self.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Reads another file of settings, with the same errors.
///
/// # Errors
/// When it is no YAML, when a key is unknown or twice there, or when a value cannot be meant.
pub fn read_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    serde_yaml::from_str::<Value>(text).map_err(|error| told(&error))?;
    serde_yaml::from_str(text).map_err(|error| told(&error))
}

/// Reads the text of a rehome.yml.
///
/// # Errors
/// When it is no YAML, when a key is unknown or twice there, or when a value cannot be meant.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    // Read as plain YAML first: this refuses duplicate keys, which maps of serde would take silently, and it finds
    // a file of a later format before its keys are called unknown.
    let value: Value = serde_yaml::from_str(text).map_err(|error| told(&error))?;
    version(&value, text)?;
    let config: Config = serde_yaml::from_str(text).map_err(|error| told(&error))?;
    sound(&config, text)?;
    Ok(config)
}

fn version(value: &Value, text: &str) -> Result<(), ConfigError> {
    let Value::Mapping(map) = value else {
        return Err(ConfigError::new("it must hold settings as `key: value`").hint("begin with `version: 1`"));
    };
    match map.get("version") {
        None => Err(ConfigError::new("`version` is missing").hint("begin with `version: 1`")),
        Some(found) if found.as_u64() == Some(u64::from(VERSION)) => Ok(()),
        Some(found) => {
            let found = serde_yaml::to_string(found).unwrap_or_default();
            let error = ConfigError::new(format!("version {} of the format is not known", found.trim()));
            Err(error.on(line_of(text, &["version"])).hint(format!(
                "this Rehome reads `version: {VERSION}`; a later one may read more"
            )))
        }
    }
}

/// The parser's error in our words.
fn told(error: &serde_yaml::Error) -> ConfigError {
    let message = error.to_string();
    // The parser ends with the place; we say it ourselves.
    let what = match message.rfind(" at line ") {
        Some(end) => message.get(..end).unwrap_or(&message).to_owned(),
        None => message.clone(),
    };
    let line = error.location().map(|place| place.line());
    let Some(start) = what.find("unknown field `") else {
        return ConfigError {
            line,
            what,
            hint: None,
        };
    };
    let (path, rest) = what.split_at(start);
    // unknown field `x`, expected one of `a`, `b`: every second piece between backticks is a name.
    let mut names = rest.split('`').skip(1).step_by(2);
    let key = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let within = path.trim_end_matches([':', ' ']);
    let hint = match nearest(key, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    ConfigError {
        line,
        what: match within {
            "" => format!("unknown key `{key}`"),
            within => format!("unknown key `{key}` in `{within}`"),
        },
        hint: Some(hint),
    }
}

/// What the types alone do not rule out. Each refusal is on the line of the value that it is about.
fn sound(config: &Config, text: &str) -> Result<(), ConfigError> {
    block(&config.block, text)?;
    data_root(config.data_root.as_deref(), text)?;
    let hooks = config.hooks.iter().flat_map(super::Hooks::by_phase);
    for (phase, place, hook) in hooks.flat_map(|(phase, of_it)| {
        let numbered = of_it.iter().enumerate();
        numbered.map(move |(place, hook)| (phase, place, hook))
    }) {
        if let Some((key, what)) = hook.mistake() {
            let error = ConfigError::new(format!("hooks.{phase}: {what}"));
            return Err(error.on(line_of(text, &["hooks", phase, &place.to_string(), key])));
        }
    }
    for (place, check) in config.checks.iter().enumerate() {
        if let Err((key, what)) = check.question() {
            let error = mistake(text, "checks", place, (key, what));
            return Err(match key {
                "http" => error.hint(match check.service {
                    Some(_) => "write it as http://localhost:8000/health/",
                    None => "write it as https://www.example.org/health/",
                }),
                _ => error,
            });
        }
    }
    for (place, variant) in config.variants.iter().enumerate() {
        if let Some(found) = variant.mistake() {
            return Err(mistake(text, "variants", place, found));
        }
    }
    for (section, found) in [("s3", config.s3.mistake()), ("backup", config.backup.mistake())] {
        if let Some((keys, what)) = found {
            let keys: Vec<&str> = std::iter::once(section)
                .chain(keys.iter().map(String::as_str))
                .collect();
            let within = keys.join(".");
            return Err(ConfigError::new(format!("{within}: {what}")).on(line_of(text, &keys)));
        }
    }
    if config.s3.metrics.is_some() && config.s3.metrics == config.backup.metrics {
        let error =
            ConfigError::new("s3.metrics: backups write that file, and each would end what the other wrote");
        return Err(error.on(line_of(text, &["s3", "metrics"])));
    }
    for (place, notify) in config.notify.iter().enumerate() {
        if let Some(found) = notify.mistake() {
            return Err(mistake(text, "notify", place, found));
        }
    }
    Ok(())
}

/// What is wrong with a key of an entry of a list, or with the entry.
fn mistake(text: &str, list: &str, place: usize, (key, what): (&str, String)) -> ConfigError {
    let place = place.to_string();
    let path = [list, place.as_str(), key];
    let path = if key.is_empty() { &path[..2] } else { &path[..] };
    ConfigError::new(format!("{list}: {what}")).on(line_of(text, path))
}

fn data_root(root: Option<&Path>, text: &str) -> Result<(), ConfigError> {
    match root.map(|root| absolute_dir(&root.to_string_lossy())) {
        Some(Err(error)) => Err(ConfigError::new(format!("data_root: {error}"))
            .on(line_of(text, &["data_root"]))
            .hint("give the directory that holds those of sites, as /mnt/data/sites")),
        _ => Ok(()),
    }
}

fn block(block: &Block, text: &str) -> Result<(), ConfigError> {
    if let Some(root) = &block.root
        && let Err(error) = absolute_dir(&root.to_string_lossy())
    {
        let error = ConfigError::new(format!("block.root: {error}")).on(line_of(text, &["block", "root"]));
        return Err(error.hint("give the directory where the block volume is mounted, as /mnt/data"));
    }
    if let Some(file) = &block.override_file {
        // `:` separates the files in COMPOSE_FILE, where this name is going to stand.
        let name = file.to_string_lossy();
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', ':']) {
            let error = ConfigError::new(format!("block.override: {name:?} is no file name"));
            let error = error.on(line_of(text, &["block", "override"]));
            return Err(error.hint("it stands beside the Compose file: give a name without `/` and `:`"));
        }
    }
    for (place, key) in block.exclude.iter().enumerate() {
        let line = line_of(text, &["block", "exclude", &place.to_string()]);
        if block.volumes.contains_key(key) {
            let error = ConfigError::new(format!("{key} is both in block.volumes and in block.exclude"));
            return Err(error.on(line));
        }
        if block.exclude.iter().take(place).any(|earlier| earlier == key) {
            return Err(ConfigError::new(format!("block.exclude: {key} stands there twice")).on(line));
        }
    }
    let mut taken: Vec<(&VolumeKey, String)> = Vec::new();
    for (key, volume) in &block.volumes {
        let path = volume
            .path
            .as_ref()
            .map_or_else(|| default_subdir(key), ToString::to_string);
        let meets = |other: &str| {
            let (a, b) = (format!("{path}/"), format!("{other}/"));
            a.starts_with(&b) || b.starts_with(&a)
        };
        if let Some((other, place)) = taken.iter().find(|(_, other)| meets(other)) {
            let inner = if path.len() > place.len() { &path } else { place };
            let error = ConfigError::new(format!(
                "block.volumes: {other} and {key} would live in the same directory {inner}"
            ));
            let line = line_of(text, &["block", "volumes", key.as_str(), "path"]);
            let line = line.or_else(|| line_of(text, &["block", "volumes", key.as_str()]));
            return Err(error.on(line).hint(format!("give {key} a `path` of its own")));
        }
        taken.push((key, path));
    }
    Ok(())
}

//! Reading rehome.yml, with errors that say where and what was probably meant.

use std::path::Path;

use serde_yaml::Value;

use super::{Config, VERSION};
use crate::model::{Failure, nearest};

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

/// Reads the text of a rehome.yml.
///
/// # Errors
/// When it is no YAML, when a key is unknown or twice there, or when a value cannot be meant.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    // Read as plain YAML first: this refuses duplicate keys, which maps of serde would take silently, and it finds
    // a file of a later format before its keys are called unknown.
    let value: Value = serde_yaml::from_str(text).map_err(|error| told(&error, text))?;
    version(&value)?;
    let config: Config = serde_yaml::from_str(text).map_err(|error| told(&error, text))?;
    sound(&config)?;
    Ok(config)
}

fn version(value: &Value) -> Result<(), ConfigError> {
    let Value::Mapping(map) = value else {
        return Err(ConfigError::new("it must hold settings as `key: value`").hint("begin with `version: 1`"));
    };
    match map.get("version") {
        None => Err(ConfigError::new("`version` is missing").hint("begin with `version: 1`")),
        Some(found) if found.as_u64() == Some(u64::from(VERSION)) => Ok(()),
        Some(found) => {
            let found = serde_yaml::to_string(found).unwrap_or_default();
            let error = ConfigError::new(format!("version {} of the format is not known", found.trim()));
            Err(error.hint(format!(
                "this Rehome reads `version: {VERSION}`; a later one may read more"
            )))
        }
    }
}

/// The parser's error in our words.
fn told(error: &serde_yaml::Error, text: &str) -> ConfigError {
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
        line: line_of(key, line.unwrap_or(1), text),
        what: match within {
            "" => format!("unknown key `{key}`"),
            within => format!("unknown key `{key}` in `{within}`"),
        },
        hint: Some(hint),
    }
}

/// The line of a key: the parser may point at the beginning of the mapping that holds it.
fn line_of(key: &str, from: usize, text: &str) -> Option<usize> {
    let has_key = |line: &str| {
        line.match_indices(key).any(|(at, _)| {
            let before = line.get(..at).unwrap_or_default();
            let after = line.get(at + key.len()..).unwrap_or_default();
            let starts = before.is_empty() || before.ends_with(|c: char| " {,-\"'".contains(c));
            starts && after.trim_start_matches(['"', '\'', ' ']).starts_with(':')
        })
    };
    let found = text
        .lines()
        .enumerate()
        .skip(from.saturating_sub(1))
        .find(|(_, line)| has_key(line))
        .map(|(number, _)| number + 1);
    Some(found.unwrap_or(from))
}

/// What the types alone do not rule out.
fn sound(config: &Config) -> Result<(), ConfigError> {
    if let Some(root) = &config.block.root
        && !root.is_absolute()
    {
        let error = ConfigError::new(format!("block.root: {} is no absolute path", root.display()));
        return Err(error.hint("give the directory of the engine's host, as /mnt/data"));
    }
    if let Some(both) = config
        .block
        .exclude
        .iter()
        .find(|key| config.block.volumes.contains_key(key))
    {
        return Err(ConfigError::new(format!(
            "{both} is both in block.volumes and in block.exclude"
        )));
    }
    let paths: Vec<_> = config
        .block
        .volumes
        .iter()
        .filter_map(|(key, volume)| volume.path.as_ref().map(|path| (key, path.as_str())))
        .collect();
    for (place, (key, path)) in paths.iter().enumerate() {
        let meets = |other: &str| {
            let (a, b) = (format!("{path}/"), format!("{other}/"));
            a.starts_with(&b) || b.starts_with(&a)
        };
        if let Some((other, _)) = paths.iter().take(place).find(|(_, other)| meets(other)) {
            return Err(ConfigError::new(format!(
                "block.volumes: {other} and {key} would live in the same directory {path}"
            )));
        }
    }
    for hook in config.hooks.iter().flat_map(|hooks| &hooks.after_start) {
        if hook.run.first().is_none_or(String::is_empty) {
            return Err(ConfigError::new(format!(
                "hooks.after_start: the hook of {} runs nothing",
                hook.service
            )));
        }
    }
    for check in &config.checks {
        if !check.http.starts_with("http://") && !check.http.starts_with("https://") {
            let error = ConfigError::new(format!("checks: {:?} is no URL", check.http));
            return Err(error.hint("write it as http://localhost:8000/health/"));
        }
        if !(100..=599).contains(&check.status) {
            return Err(ConfigError::new(format!(
                "checks: {} is no HTTP status",
                check.status
            )));
        }
    }
    Ok(())
}

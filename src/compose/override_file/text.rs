//! The override as text, and back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_yaml::Value;

use crate::model::{Failure, ProjectName, Result, ServiceName, VolumeKey, VolumeName};

use super::super::yaml::{quoted, quoted_value, scalar, value};
use super::{BindMount, Bound, Definition, Found, Override};

const BEFORE: &str = "# Written by rehome ";
const BETWEEN: &str = " for project ";
const AFTER: &str = ". Do not edit: rehome override --write";

impl Override {
    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = format!(
            "{BEFORE}{}{BETWEEN}{}{AFTER}\n",
            env!("CARGO_PKG_VERSION"),
            self.project
        );
        for line in self.lines() {
            out.push_str(&line);
            out.push('\n');
        }
        out
    }

    fn lines(&self) -> Vec<String> {
        if self.is_empty() {
            // Compose refuses a file with nothing in it.
            return vec!["services: {}".to_owned()];
        }
        let mut lines = Vec::new();
        if !self.volumes.is_empty() {
            lines.push("volumes:".to_owned());
        }
        for (key, definition) in &self.volumes {
            lines.push(format!("  {}: !override", scalar(key.as_str())));
            lines.push(format!("    name: {}", value(definition.name.as_str())));
            lines.push("    driver: local".to_owned());
            if let Some(device) = &definition.device {
                let device = value(&device.to_string_lossy());
                lines.push(format!(
                    "    driver_opts: {{ type: none, o: bind, device: {device} }}"
                ));
            }
            if !definition.labels.is_empty() {
                let pair =
                    |(key, text): (&String, &String)| format!("{}: {}", quoted(key), quoted_value(text));
                let labels: Vec<String> = definition.labels.iter().map(pair).collect();
                lines.push(format!("    labels: {{ {} }}", labels.join(", ")));
            }
        }
        if self.binds.is_empty() {
            return lines;
        }
        // Compose ignores `x-`; it says which directory stands for which volume.
        lines.push("x-rehome:".to_owned());
        for (key, bound) in &self.binds {
            lines.push(format!(
                "  {}: {}",
                scalar(key.as_str()),
                value(&bound.device.to_string_lossy())
            ));
        }
        let mut services: BTreeMap<&ServiceName, Vec<&BindMount>> = BTreeMap::new();
        for mount in self.binds.values().flat_map(|bound| &bound.mounts) {
            services.entry(&mount.service).or_default().push(mount);
        }
        lines.push("services:".to_owned());
        for (service, mounts) in services {
            lines.push(format!("  {}:", scalar(service.as_str())));
            lines.push("    volumes:".to_owned());
            for mount in mounts {
                lines.push("      - type: bind".to_owned());
                lines.push(format!(
                    "        source: {}",
                    value(&mount.source.to_string_lossy())
                ));
                lines.push(format!("        target: {}", value(&mount.target)));
                if mount.read_only {
                    lines.push("        read_only: true".to_owned());
                }
                let selinux = mount
                    .selinux
                    .as_ref()
                    .map(|label| format!(", selinux: {}", value(label)));
                lines.push(format!(
                    "        bind: {{ create_host_path: false{} }}",
                    selinux.unwrap_or_default()
                ));
            }
        }
        lines
    }

    /// Reads the text of an override that Rehome wrote.
    ///
    /// # Errors
    /// When the first line is not Rehome's, or the rest cannot be understood.
    pub fn parse(text: &str) -> Result<Found> {
        let (header, body) = text.split_once('\n').unwrap_or((text, ""));
        let project = header
            .trim_end()
            .strip_prefix(BEFORE)
            .and_then(|rest| rest.strip_suffix(AFTER))
            .and_then(|rest| rest.split_once(BETWEEN))
            .and_then(|(_, project)| ProjectName::new(project).ok())
            .ok_or_else(|| {
                Failure::refused("the file was not written by Rehome")
                    .cause("its first line does not say so")
                    .hint("move it away, or name another file with `block.override` in rehome.yml")
            })?;
        let not_understood = |error: &(dyn std::error::Error + 'static)| {
            Failure::refused("the file was written by Rehome, but cannot be understood any more")
                .because(error)
                .hint("write it again: rehome override --write")
        };
        let value: Value = serde_yaml::from_str(body).map_err(|error| not_understood(&error))?;
        let raw: RawOverride =
            serde_yaml::from_value(plain(value)).map_err(|error| not_understood(&error))?;
        let content = raw
            .into_override(project)
            .map_err(|error| not_understood(&error))?;
        let edited = content.render().split_once('\n').map(|(_, body)| body) != Some(body);
        Ok(Found { content, edited })
    }
}

/// Without tags, and with dollars undoubled in values.
fn plain(value: Value) -> Value {
    match value {
        Value::Tagged(tagged) => plain(tagged.value),
        Value::String(text) => Value::String(text.replace("$$", "$")),
        Value::Sequence(list) => Value::Sequence(list.into_iter().map(plain).collect()),
        Value::Mapping(map) => {
            Value::Mapping(map.into_iter().map(|(key, value)| (key, plain(value))).collect())
        }
        other => other,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOverride {
    #[serde(default)]
    volumes: BTreeMap<VolumeKey, RawDefinition>,
    #[serde(default, rename = "x-rehome")]
    homes: BTreeMap<VolumeKey, PathBuf>,
    #[serde(default)]
    services: BTreeMap<ServiceName, RawService>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDefinition {
    name: VolumeName,
    #[serde(rename = "driver")]
    _driver: Local,
    #[serde(default)]
    driver_opts: Option<RawOptions>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Local {
    Local,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOptions {
    #[serde(rename = "type")]
    _type: Nothing,
    #[serde(rename = "o")]
    _o: Bind,
    device: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Nothing {
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bind {
    Bind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawService {
    volumes: Vec<RawMount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMount {
    #[serde(rename = "type")]
    _type: Bind,
    source: PathBuf,
    target: String,
    #[serde(default)]
    read_only: bool,
    bind: RawBind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBind {
    #[serde(rename = "create_host_path")]
    _create_host_path: bool,
    #[serde(default)]
    selinux: Option<String>,
}

/// A mount that belongs to none of the volumes.
#[derive(Debug, thiserror::Error)]
#[error("service {0} mounts {1}, which is the home of no volume")]
struct Stray(ServiceName, String);

impl RawOverride {
    fn into_override(self, project: ProjectName) -> std::result::Result<Override, Stray> {
        let mut made = Override::empty(project);
        for (key, raw) in self.volumes {
            let device = raw.driver_opts.map(|options| options.device);
            made.volumes.insert(
                key,
                Definition {
                    name: raw.name,
                    device,
                    labels: raw.labels,
                },
            );
        }
        for (key, device) in self.homes {
            made.binds.insert(
                key,
                Bound {
                    device,
                    mounts: Vec::new(),
                },
            );
        }
        for (service, raw) in self.services {
            for mount in raw.volumes {
                // Homes do not lie in each other, so at most one fits.
                let home = made
                    .binds
                    .values_mut()
                    .find(|bound| mount.source.starts_with(&bound.device));
                let Some(home) = home else {
                    return Err(Stray(service, mount.source.display().to_string()));
                };
                home.mounts.push(BindMount {
                    service: service.clone(),
                    target: mount.target,
                    source: mount.source,
                    read_only: mount.read_only,
                    selinux: mount.bind.selinux,
                });
            }
        }
        Ok(made)
    }
}

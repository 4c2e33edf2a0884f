//! The override: the one file that points volumes at their new home.
//!
//! Style `volume` redefines the volume at the top level under a new name, so that every service that mounts it follows
//! with read-only, nocopy and subpath as they are, and Compose never finds the old volume under the new definition
//! (trap 2). Style `bind` replaces the mounts of each service. <https://docs.docker.com/reference/compose-file/merge/>

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Failure, ProjectName, Result, ServiceName, VolumeKey, VolumeName};

/// The first words of a file that Rehome wrote.
const MARK: &str = "# Written by rehome ";

/// A volume in the override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: VolumeKey,
    /// Its new full name.
    pub name: VolumeName,
    /// Where its data lives.
    pub place: Place,
}

/// Where the data of a volume in the override lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In a directory of the engine's host.
    Directory(PathBuf),
    /// In Docker's own directory, under the new name.
    Volume,
}

/// A mount in an override of style `bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// The service.
    pub service: ServiceName,
    /// The directory of the engine's host.
    pub source: PathBuf,
    /// The path in the container, in the spelling of the base file (trap 39).
    pub target: String,
    /// Not writable.
    pub read_only: bool,
}

fn header(project: &ProjectName) -> String {
    format!(
        "{MARK}{} for project {project}. Do not edit: rehome override --write\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Whether a text is an override that Rehome wrote.
#[must_use]
pub fn is_our_override(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The override in style `volume`.
#[must_use]
pub fn render_volumes(project: &ProjectName, entries: &[Entry]) -> String {
    let mut out = header(project);
    out.push_str("volumes:\n");
    for entry in entries {
        // Writing into a String cannot fail; the results say so to the compiler.
        let _: std::fmt::Result = match &entry.place {
            Place::Directory(dir) => writeln!(
                out,
                "  {}: !override\n    name: {}\n    driver: local\n    driver_opts: {{ type: none, o: bind, device: {} }}",
                entry.key,
                entry.name,
                quoted(&dir.to_string_lossy())
            ),
            Place::Volume => writeln!(
                out,
                "  {}: !override\n    name: {}\n    driver: local",
                entry.key, entry.name
            ),
        };
    }
    out
}

/// The override in style `bind`.
#[must_use]
pub fn render_binds(project: &ProjectName, mounts: &[BindMount]) -> String {
    let mut out = header(project);
    out.push_str("services:\n");
    let mut last = None;
    for mount in mounts {
        if last != Some(&mount.service) {
            let _: std::fmt::Result = writeln!(out, "  {}:\n    volumes:", mount.service);
            last = Some(&mount.service);
        }
        let _: std::fmt::Result = writeln!(
            out,
            "      - type: bind\n        source: {}\n        target: {}",
            quoted(&mount.source.to_string_lossy()),
            quoted(&mount.target)
        );
        if mount.read_only {
            out.push_str("        read_only: true\n");
        }
        out.push_str("        bind: { create_host_path: false }\n");
    }
    out
}

/// A YAML scalar: plain where that is safe, in double quotes otherwise, and every `$` doubled for Compose.
fn quoted(text: &str) -> String {
    let plain = text.starts_with('/')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if plain {
        return text.to_owned();
    }
    // A JSON string is a YAML double-quoted scalar. <https://yaml.org/spec/1.2.2/#13-terminology>
    serde_json::Value::String(text.replace('$', "$$")).to_string()
}

#[derive(Deserialize)]
struct RawOverride {
    #[serde(default)]
    volumes: std::collections::BTreeMap<String, serde_yaml::Value>,
}

#[derive(Deserialize)]
struct RawVolume {
    name: String,
    #[serde(default)]
    driver_opts: std::collections::BTreeMap<String, String>,
}

/// Reads an override of style `volume` back.
///
/// # Errors
/// When it was not written by Rehome or was changed beyond recognition.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Entry>> {
    let damaged = || {
        Failure::refused(format!("{} is not as Rehome wrote it", path.display()))
            .data("nothing was changed")
            .hint("put it back from your backup or version control, or write it anew with `rehome override --write`")
    };
    if !is_our_override(text) {
        return Err(damaged().cause("its first line is not Rehome's"));
    }
    let raw: RawOverride = serde_yaml::from_str(text).map_err(|e| damaged().because(&e))?;
    let mut entries = Vec::new();
    for (key, value) in raw.volumes {
        let value = match value {
            serde_yaml::Value::Tagged(tagged) => tagged.value,
            other => other,
        };
        let volume: RawVolume = serde_yaml::from_value(value).map_err(|e| damaged().because(&e))?;
        entries.push(Entry {
            key: VolumeKey::new(key).map_err(|e| damaged().because(&e))?,
            name: VolumeName::new(volume.name).map_err(|e| damaged().because(&e))?,
            place: match volume.driver_opts.get("device") {
                Some(device) => Place::Directory(device.replace("$$", "$").into()),
                None => Place::Volume,
            },
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, dir: Option<&str>) -> Entry {
        Entry {
            key: VolumeKey::new(key).unwrap(),
            name: VolumeName::new(format!("kms-connect_{key}_block_5f3a")).unwrap(),
            place: dir.map_or(Place::Volume, |d| Place::Directory(d.into())),
        }
    }

    fn project() -> ProjectName {
        ProjectName::new("kms-connect").unwrap()
    }

    #[test]
    fn the_override_is_short_and_reads_back() {
        let entries = [
            entry("media", Some("/mnt/a b/$x")),
            entry("postgres_data", Some("/mnt/kms-data/postgres")),
            entry("static", None),
        ];
        let text = render_volumes(&project(), &entries);
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r#"
        # Written by rehome VERSION for project kms-connect. Do not edit: rehome override --write
        volumes:
          media: !override
            name: kms-connect_media_block_5f3a
            driver: local
            driver_opts: { type: none, o: bind, device: "/mnt/a b/$$x" }
          postgres_data: !override
            name: kms-connect_postgres_data_block_5f3a
            driver: local
            driver_opts: { type: none, o: bind, device: /mnt/kms-data/postgres }
          static: !override
            name: kms-connect_static_block_5f3a
            driver: local
        "#);
        assert_eq!(parse(&text, Path::new("x.yml")).unwrap(), entries);
    }

    #[test]
    fn binds_restate_read_only_and_never_make_a_directory() {
        let bind = |service: &str, target: &str, read_only| BindMount {
            service: ServiceName::new(service).unwrap(),
            source: "/mnt/kms-data/media".into(),
            target: target.into(),
            read_only,
        };
        let text = render_binds(
            &project(),
            &[
                bind("api", "/app/media/", false),
                bind("nginx", "/srv/media", true),
            ],
        );
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"), @r"
        # Written by rehome VERSION for project kms-connect. Do not edit: rehome override --write
        services:
          api:
            volumes:
              - type: bind
                source: /mnt/kms-data/media
                target: /app/media/
                bind: { create_host_path: false }
          nginx:
            volumes:
              - type: bind
                source: /mnt/kms-data/media
                target: /srv/media
                read_only: true
                bind: { create_host_path: false }
        ");
    }

    #[test]
    fn a_foreign_file_is_not_read_as_ours() {
        let failure = parse("volumes:\n  a:\n    name: x\n", Path::new("block.yml")).unwrap_err();
        assert_eq!(failure.what, "block.yml is not as Rehome wrote it");
    }
}

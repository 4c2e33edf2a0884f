//! Volumes that no service uses, for a Compose that does not know `--all-resources` (2.26 does not).
//!
//! Their keys are read from the files; what they resolve to is still Compose's answer, given for a project with one
//! service more that mounts them. An `include` whose path is made of variables is not followed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_yaml::Value;

use crate::model::{Failure, Result};

use super::super::locate::absolute;
use super::super::replace::read_text;
use super::raw::json;

const LIMIT: u64 = 4 << 20;
const MOST_FILES: usize = 100;
/// A name that no project uses, and that Compose takes.
const PROBE: &str = "rehome.probe.for-unused-volumes";

/// The keys of all top-level volumes in these files and those that they include.
pub(super) fn declared(files: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut seen: BTreeSet<PathBuf> = files.iter().cloned().collect();
    let mut todo: Vec<PathBuf> = files.to_vec();
    while let Some(file) = todo.pop() {
        let Some(text) = read_text(&file, LIMIT)? else {
            continue;
        };
        for document in serde_yaml::Deserializer::from_str(&text) {
            // Compose has read the same text before; what only this reader does not understand has no volumes here.
            let Ok(value) = <Value as serde::Deserialize>::deserialize(document) else {
                break;
            };
            keys.extend(children(&value, "volumes").filter(|key| !key.starts_with("x-")));
            for include in includes(&value, &file) {
                if seen.len() < MOST_FILES && seen.insert(include.clone()) {
                    todo.push(include);
                }
            }
        }
    }
    Ok(keys)
}

fn children<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = String> + 'a {
    let volumes = value.get(key).map(untagged).and_then(Value::as_mapping);
    volumes
        .into_iter()
        .flat_map(|map| map.keys())
        .filter_map(Value::as_str)
        .map(str::to_owned)
}

fn untagged(value: &Value) -> &Value {
    match value {
        Value::Tagged(tagged) => &tagged.value,
        other => other,
    }
}

fn includes(value: &Value, file: &Path) -> Vec<PathBuf> {
    let base = file.parent().unwrap_or(Path::new("/"));
    let mut paths = Vec::new();
    for entry in value
        .get("include")
        .map(untagged)
        .and_then(Value::as_sequence)
        .into_iter()
        .flatten()
    {
        let path = if entry.is_mapping() {
            entry.get("path")
        } else {
            Some(entry)
        };
        match path {
            Some(Value::String(path)) => paths.push(path.as_str()),
            Some(Value::Sequence(list)) => paths.extend(list.iter().filter_map(Value::as_str)),
            _ => {}
        }
    }
    paths
        .into_iter()
        .filter(|path| !path.contains('$'))
        .map(|path| absolute(base, Path::new(path)))
        .collect()
}

/// A Compose file with a service that mounts these volumes.
pub(super) fn probe(keys: &[String]) -> String {
    let mut text = format!("services:\n  {PROBE}:\n    image: scratch\n    volumes:\n");
    for (number, key) in keys.iter().enumerate() {
        text.push_str(&format!(
            "      - {{ type: volume, source: \"{key}\", target: /{number} }}\n"
        ));
    }
    text
}

/// The model without that service. Dollars stay doubled.
pub(super) fn without_probe(model: &str) -> Result<String> {
    let mut value: serde_json::Value = json(model)?;
    if let Some(services) = value
        .get_mut("services")
        .and_then(serde_json::Value::as_object_mut)
    {
        services.remove(PROBE);
    }
    serde_json::to_string(&value).map_err(|error| Failure::bug("cannot write JSON").because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_38_keys_are_read_from_every_file_and_what_it_includes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        let base = write(
            "compose.yaml",
            "include: [sub/a.yaml, {path: [sub/b.yaml, sub/missing.yaml]}, '${X}/c.yaml']\nvolumes: {one: , x-not: }\n",
        );
        let over = write("over.yaml", "volumes: !override\n  two: !reset null\n");
        write(
            "sub/a.yaml",
            "include: [../compose.yaml]\nvolumes:\n  three: {name: t}\n",
        );
        write("sub/b.yaml", "volumes: {four: {}}\n---\nvolumes: {five: {}}\n");
        let keys = declared(&[base, over]).unwrap();
        assert_eq!(
            keys,
            ["five", "four", "one", "three", "two"].map(String::from).into()
        );
    }
}

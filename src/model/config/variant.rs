//! `variants:` in rehome.yml.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Compose file that belongs to the project only under a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The Compose file, relative to the first one. It comes after the others, and before Rehome's override.
    pub file: PathBuf,

    /// When it belongs to the project.
    pub when: When,
}

/// When a variant belongs to the project; if both are said, both must be so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// All of these files are there, relative to the Compose file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,

    /// This variable of the environment or of `.env` is set, and neither empty nor `0`, `false`, `no` or `off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

impl Variant {
    /// What is wrong with it, and with which key.
    pub(super) fn mistake(&self) -> Option<(&'static str, String)> {
        let file = self.file.to_string_lossy();
        if file.is_empty() || file.ends_with('/') {
            return Some(("file", format!("{file:?} is no file name")));
        }
        match &self.when {
            When { files, env: None } if files.is_empty() => {
                Some(("when", format!("{file} has no condition: say `files` or `env`")))
            }
            When { env: Some(name), .. } if !super::hook::is_variable(name) => {
                Some(("when", format!("{name:?} is no name of a variable")))
            }
            _ => None,
        }
    }
}

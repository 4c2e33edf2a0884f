//! Which of the conditional Compose files belong to the project now.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::Settings;
use crate::compose::Located;
use crate::model::config::When;
use crate::model::{Failure, Result};

/// A variable with one of these values is as good as none.
const OFF: [&str; 5] = ["", "0", "false", "no", "off"];

/// A variant, and whether it belongs to the project now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VariantSeen {
    /// The Compose file.
    pub file: PathBuf,
    /// Whether it belongs to the project.
    pub active: bool,
    /// Why, in words. Never a value.
    pub why: String,
}

impl Settings {
    /// The project with the files of the variants whose conditions hold, and without those of the others; remembers
    /// which they are.
    ///
    /// # Errors
    /// Refused when such a file is missing.
    pub fn with_variants(
        &mut self,
        mut located: Located,
        environment: &BTreeMap<String, String>,
    ) -> Result<Located> {
        if self.wanted_variants.is_empty() {
            return Ok(located);
        }
        let variables = located.variables(environment)?;
        for variant in &self.wanted_variants {
            let (active, why) = condition(&variant.when, &located, &variables);
            let file = located.directory.join(&variant.file);
            if active && !file.is_file() {
                return Err(
                    Failure::refused(format!("there is no Compose file {}", file.display()))
                        .cause(format!(
                            "it is a variant in rehome.yml, and belongs to the project: {why}"
                        ))
                        .data("nothing was changed")
                        .hint("write the file, or take the variant out of rehome.yml"),
                );
            }
            located = match active {
                true => located.with_file_before(&file, &self.override_path),
                false => located.without_file(&file),
            };
            self.variants.push(VariantSeen { file, active, why });
        }
        if located.files.is_empty() {
            return Err(Failure::refused("no Compose file is left")
                .cause("each that was found is a variant in rehome.yml whose condition does not hold")
                .data("nothing was changed"));
        }
        Ok(located)
    }
}

/// Whether a condition holds, and why.
fn condition(when: &When, located: &Located, variables: &BTreeMap<String, String>) -> (bool, String) {
    let there = |file: &&PathBuf| located.directory.join(file).exists();
    let names = |files: &[&PathBuf]| {
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        names.join(", ")
    };
    let (found, missing): (Vec<&PathBuf>, Vec<&PathBuf>) = when.files.iter().partition(there);
    let mut why = Vec::new();
    let mut active = true;
    match (found.as_slice(), missing.as_slice()) {
        ([], []) => {}
        ([_], []) => why.push(format!("{} is there", names(&found))),
        (_, []) => why.push(format!("{} are there", names(&found))),
        (_, missing) => {
            active = false;
            let are = if missing.len() == 1 { "is" } else { "are" };
            why.push(format!("{} {are} not there", names(missing)));
        }
    }
    if let Some(name) = &when.env {
        let value = variables.get(name).map(|value| value.trim().to_ascii_lowercase());
        let on = value.is_some_and(|value| !OFF.contains(&value.as_str()));
        active &= on;
        why.push(match on {
            true => format!("{name} is set"),
            false => format!("{name} is not set, or off"),
        });
    }
    (active, why.join("; "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::compose::{Wanted, locate};

    const VARIANTS: &str = "\
version: 1
variants:
  - { file: tls.yml, when: { files: [certs/a.pem, certs/b.pem] } }
  - { file: debug.yml, when: { env: DEBUG_STACK } }
";

    /// A project in a directory: its files, and what Rehome makes of them.
    fn names(dir: &Path, env: &[(&str, &str)]) -> (Vec<String>, Vec<VariantSeen>) {
        let wanted = Wanted {
            cwd: dir.to_owned(),
            env: env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..Wanted::default()
        };
        let located = locate(&wanted).unwrap();
        let mut settings = Settings::load(None, &located).unwrap();
        let located = settings.with_variants(located, &wanted.env).unwrap();
        assert_eq!(located.files.len(), located.written.len());
        let name = |file: &PathBuf| file.strip_prefix(dir).unwrap().display().to_string();
        (located.files.iter().map(name).collect(), settings.variants)
    }

    fn project() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("compose.yaml", "services: {}\n"),
            ("tls.yml", "services: {}\n"),
            ("debug.yml", "services: {}\n"),
            ("compose.block.yaml", "volumes: {}\n"),
            ("rehome.yml", VARIANTS),
            (".env", "COMPOSE_FILE=compose.yaml:compose.block.yaml\n"),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        std::fs::create_dir(dir.path().join("certs")).unwrap();
        dir
    }

    #[test]
    fn a_variant_comes_with_its_condition_before_the_override_and_goes_with_it() {
        let dir = project();
        let path = dir.path();
        let (files, seen) = names(path, &[]);
        assert_eq!(files, ["compose.yaml", "compose.block.yaml"]);
        assert_eq!(seen[0].why, "certs/a.pem, certs/b.pem are not there");
        assert_eq!(seen[1].why, "DEBUG_STACK is not set, or off");

        std::fs::write(path.join("certs/a.pem"), "").unwrap();
        assert_eq!(names(path, &[]).1[0].why, "certs/b.pem is not there");
        std::fs::write(path.join("certs/b.pem"), "").unwrap();
        let (files, seen) = names(path, &[("DEBUG_STACK", "1")]);
        assert_eq!(
            files,
            ["compose.yaml", "tls.yml", "debug.yml", "compose.block.yaml"]
        );
        assert_eq!(seen[0].why, "certs/a.pem, certs/b.pem are there");
        assert!(seen[1].active && seen[1].why == "DEBUG_STACK is set");

        // Somebody set COMPOSE_FILE with it, in a place of their own; and the condition went away again.
        let with = "COMPOSE_FILE=compose.yaml:tls.yml:compose.block.yaml\n";
        std::fs::write(path.join(".env"), with).unwrap();
        assert_eq!(
            names(path, &[]).0,
            ["compose.yaml", "tls.yml", "compose.block.yaml"]
        );
        std::fs::remove_file(path.join("certs/a.pem")).unwrap();
        assert_eq!(names(path, &[]).0, ["compose.yaml", "compose.block.yaml"]);
    }

    #[test]
    fn a_variable_counts_from_the_dotenv_too_and_off_is_off() {
        let dir = project();
        for (value, active) in [
            ("yes", true),
            ("0", false),
            ("False", false),
            ("", false),
            ("2", true),
        ] {
            let text = format!("DEBUG_STACK={value}\n");
            std::fs::write(dir.path().join(".env"), text).unwrap();
            assert_eq!(names(dir.path(), &[]).1[1].active, active, "{value:?}");
        }
        assert!(!names(dir.path(), &[("DEBUG_STACK", "off")]).1[1].active);
    }

    #[test]
    fn a_variant_whose_file_is_missing_is_refused_in_words() {
        let dir = project();
        std::fs::remove_file(dir.path().join("debug.yml")).unwrap();
        let wanted = Wanted {
            cwd: dir.path().to_owned(),
            env: [("DEBUG_STACK".to_owned(), "1".to_owned())].into(),
            ..Wanted::default()
        };
        let located = locate(&wanted).unwrap();
        let mut settings = Settings::load(None, &located).unwrap();
        let failure = settings.with_variants(located, &wanted.env).unwrap_err();
        assert_eq!(failure.kind, crate::model::Kind::Refused);
        assert!(failure.what.ends_with("debug.yml"), "{failure}");
        assert!(failure.causes[0].ends_with("DEBUG_STACK is set"), "{failure:?}");
    }
}

//! The effective settings of a project.

mod detect;
mod show;
mod variants;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compose::Located;
use crate::model::config::{self, Config};
use crate::model::{Failure, Owner, Result, VolumeKey};
use crate::observe::World;
use crate::plan::deploy::Hooks;
use crate::steps::{Check, Hook, HookPlace, OnFailure};

use detect::{For, detect};
pub use show::{Setting, Source};
pub use variants::VariantSeen;

/// A configuration above this is none.
const LIMIT: u64 = 1 << 20;
/// A hook without a limit of its own.
const HOOK_LIMIT: Duration = Duration::from_secs(1800);

/// The settings of a project.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The configuration's path, if there is one.
    pub path: Option<PathBuf>,
    /// Where the block volume is mounted.
    pub block_root: Option<PathBuf>,
    /// The directory that holds those of sites.
    pub data_root: Option<PathBuf>,
    /// Where the override is written.
    pub override_path: PathBuf,
    /// Where that of sites is.
    pub site_override_path: PathBuf,
    /// The volumes that the configuration names.
    pub volumes: BTreeMap<VolumeKey, config::Volume>,
    /// Volumes that stay.
    pub exclude: Vec<VolumeKey>,
    /// Limit for stopping.
    pub stop_timeout: Option<Duration>,
    /// What must answer after the start.
    pub checks: Vec<Check>,
    /// How the project is deployed.
    pub deploy: config::Deploy,
    /// The variants, and which of them belong to the project now.
    pub variants: Vec<VariantSeen>,
    /// Who is told of deployments and backups.
    pub notify: Vec<config::Notify>,
    /// Uploads in S3-compatible storage.
    pub s3: config::S3,
    /// Where backups are kept, what of, how long.
    pub backup: config::Backup,
    wanted_variants: Vec<config::Variant>,
    hooks: Option<Hooks>,
    /// The text of the configuration: knows on which line each value stands.
    text: String,
}

impl Settings {
    /// Reads `rehome.yml` beside the Compose file, or the file that was named; without one everything is defaulted.
    ///
    /// # Errors
    /// When a named file does not exist, or cannot be understood.
    pub fn load(named: Option<&Path>, located: &Located) -> Result<Self> {
        let path = named.map_or_else(|| located.directory.join("rehome.yml"), Path::to_owned);
        let text = match std::fs::metadata(&path) {
            Ok(meta) if !meta.is_file() => {
                return Err(Failure::usage(format!("{} is no file", path.display())));
            }
            Ok(meta) if meta.len() > LIMIT => {
                return Err(Failure::usage(format!("{} is larger than 1 MiB", path.display())));
            }
            Ok(_) => std::fs::read_to_string(&path),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => {
                let config = config::parse(&text).map_err(|error| error.into_failure(&path))?;
                Ok(Self::from_config(Some(path), text, config, located))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::from_config(None, String::new(), Config::default(), located))
            }
            Err(error) => Err(Failure::usage(format!("cannot read {}", path.display())).because(&error)),
        }
    }

    fn from_config(path: Option<PathBuf>, text: String, config: Config, located: &Located) -> Self {
        let block = config.block;
        let override_path = match block.override_file {
            Some(file) => located.directory.join(file),
            None => default_override(located, "block"),
        };
        Self {
            path,
            text,
            block_root: block.root,
            data_root: config.data_root,
            override_path,
            site_override_path: default_override(located, "site"),
            volumes: block.volumes,
            exclude: block.exclude,
            stop_timeout: config.stop_timeout,
            deploy: config.deploy,
            checks: config
                .checks
                .into_iter()
                .filter_map(|c| {
                    Some(Check {
                        // What asks nothing was refused when it was read.
                        question: c.question().ok()?,
                        within: c.limit(),
                        service: c.service,
                    })
                })
                .collect(),
            hooks: config.hooks.map(hooks),
            wanted_variants: config.variants,
            variants: Vec::new(),
            notify: config.notify,
            s3: config.s3,
            backup: config.backup,
        }
    }

    /// The sub-directories that the configuration names.
    #[must_use]
    pub fn maps(&self) -> BTreeMap<VolumeKey, PathBuf> {
        let named = self
            .volumes
            .iter()
            .filter_map(|(key, v)| Some((key.clone(), v.path.as_ref()?.as_str().into())));
        named.collect()
    }

    /// The owners that the configuration names.
    #[must_use]
    pub fn owners(&self) -> BTreeMap<VolumeKey, Owner> {
        self.volumes
            .iter()
            .filter_map(|(key, v)| Some((key.clone(), v.owner?)))
            .collect()
    }

    /// The file and the line on which a hook with this command is written; `None` for one that was detected.
    #[must_use]
    pub fn line_of_command(&self, run: &[String]) -> Option<(String, usize)> {
        let file = self.path.as_ref()?.file_name()?.to_string_lossy().into_owned();
        let config: serde_json::Value = serde_yaml::from_str(&self.text).ok()?;
        let points = config.get("hooks")?.as_object()?;
        points.iter().find_map(|(point, hooks)| {
            let same =
                |hook: &serde_json::Value| hook.get("run").is_some_and(|r| *r == serde_json::json!(run));
            let place = hooks.as_array()?.iter().position(same)?;
            let line = config::line_of(&self.text, &["hooks", point, &place.to_string(), "run"])?;
            Some((file.clone(), line))
        })
    }

    /// The hooks after a start: the configured ones, or those that were detected where none are configured.
    #[must_use]
    pub fn hooks(&self, world: &World) -> Vec<Hook> {
        match &self.hooks {
            Some(hooks) => hooks.after_start.clone(),
            None => detect(world, For::Move),
        }
    }

    /// The hooks of a deployment, likewise.
    #[must_use]
    pub fn deploy_hooks(&self, world: &World) -> Hooks {
        self.hooks.clone().unwrap_or_else(|| Hooks {
            after_start: detect(world, For::Deployment),
            ..Hooks::default()
        })
    }
}

fn hook(hook: config::Hook) -> Hook {
    Hook {
        place: match (hook.service, hook.how) {
            (Some(service), config::How::Exec) => HookPlace::exec(service),
            (Some(one_shot_of), config::How::Run) => HookPlace::Run { one_shot_of },
            (None, _) => HookPlace::Here {},
        },
        run: hook.run,
        user: hook.user,
        dir: hook.dir,
        env: hook.env,
        limit: hook.timeout.unwrap_or(HOOK_LIMIT),
        on_failure: match hook.on_failure {
            config::OnFailure::Stop => OnFailure::Stop,
            config::OnFailure::Warn => OnFailure::Warn,
            config::OnFailure::Ignore => OnFailure::Ignore,
        },
    }
}

fn hooks(hooks: config::Hooks) -> Hooks {
    let all = |of_it: Vec<config::Hook>| of_it.into_iter().map(hook).collect();
    Hooks {
        before_pull: all(hooks.before_pull),
        before_start: all(hooks.before_start),
        after_start: all(hooks.after_start),
        after_healthy: all(hooks.after_healthy),
        on_failure: all(hooks.on_failure),
        after_finish: all(hooks.after_finish),
    }
}

/// `docker-compose.prod.yml` -> `docker-compose.prod.block.yml`, beside it.
fn default_override(located: &Located, of: &str) -> PathBuf {
    let first = located
        .files
        .first()
        .cloned()
        .unwrap_or_else(|| located.directory.join("compose.yaml"));
    let stem = first
        .file_stem()
        .map_or_else(|| "compose".to_owned(), |s| s.to_string_lossy().into_owned());
    let extension = first
        .extension()
        .map_or_else(|| "yml".to_owned(), |e| e.to_string_lossy().into_owned());
    located.directory.join(format!("{stem}.{of}.{extension}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compose::FoundBy;
    use crate::model::config::Question;

    fn located(directory: &Path, file: &str) -> Located {
        Located {
            files: vec![directory.join(file)],
            written: vec![file.to_owned()],
            directory: directory.to_owned(),
            env_files: Vec::new(),
            profiles: Vec::new(),
            project_name: None,
            found_by: FoundBy::Default,
            dotenv: directory.join(".env"),
            separator: ":".to_owned(),
        }
    }

    pub(super) fn settings(yaml: &str) -> Settings {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("rehome.yml"), yaml).unwrap();
        Settings::load(None, &located(directory.path(), "compose.yaml")).unwrap()
    }

    /// A setting as `rehome config show` has it: its value, and where it came from.
    fn shown(settings: &Settings, name: &str) -> (serde_json::Value, String) {
        let setting = settings.show().into_iter().find(|s| s.name == name).unwrap();
        (setting.value, setting.from.to_string())
    }

    #[test]
    fn without_a_configuration_everything_is_defaulted() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::load(None, &located(directory.path(), "compose.yaml")).unwrap();
        assert_eq!((&settings.path, &settings.block_root), (&None, &None));
        assert_eq!(
            settings.override_path,
            directory.path().join("compose.block.yaml")
        );
        for name in ["block.root", "block.override", "block.exclude", "checks"] {
            assert_eq!(shown(&settings, name).1, "default", "{name}");
        }
    }

    #[test]
    fn the_override_is_named_after_the_first_compose_file() {
        for (file, name) in [
            ("docker-compose.prod.yml", "docker-compose.prod.block.yml"),
            ("compose.yaml", "compose.block.yaml"),
            ("stack", "stack.block.yml"),
            ("deploy/base.yml", "base.block.yml"),
        ] {
            let path = default_override(&located(Path::new("/srv/p"), file), "block");
            assert_eq!(path, Path::new("/srv/p").join(name), "{file}");
        }
    }

    #[test]
    fn what_the_configuration_says_is_taken_and_shown_as_such() {
        let settings = settings(
            "version: 1\nblock:\n  root: /mnt/data\n  override: block.yml\n  volumes:\n    a: { path: x/y, owner: '70:71' }\n    b: {}\n  exclude: [c]\nstop_timeout: 2m\nchecks:\n  - { service: web, http: 'http://localhost/', status: 204 }\n",
        );
        let key = |name: &str| VolumeKey::new(name).unwrap();
        assert_eq!(settings.block_root.as_deref(), Some(Path::new("/mnt/data")));
        assert!(settings.override_path.ends_with("block.yml"));
        assert_eq!(settings.maps(), BTreeMap::from([(key("a"), "x/y".into())]));
        assert_eq!(
            settings.owners(),
            BTreeMap::from([(key("a"), Owner { uid: 70, gid: 71 })])
        );
        assert_eq!(settings.exclude, [key("c")]);
        assert_eq!(settings.stop_timeout, Some(Duration::from_secs(120)));
        let check = &settings.checks[0];
        assert!(matches!(check.question, Question::Http { status: 204, .. }));
        assert_eq!(check.within, Duration::from_secs(60));
        for (name, value, from) in [
            ("block.root", json!("/mnt/data"), "rehome.yml:3"),
            ("block.exclude", json!(["c"]), "rehome.yml:8"),
            ("stop_timeout", json!("120s"), "rehome.yml:9"),
            ("hooks.after_start", json!(null), "default"),
        ] {
            assert_eq!(shown(&settings, name), (value, from.to_owned()), "{name}");
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there_and_be_no_monster() {
        let directory = tempfile::tempdir().unwrap();
        let located = located(directory.path(), "compose.yaml");
        let missing = directory.path().join("other.yml");
        let failure = Settings::load(Some(&missing), &located).unwrap_err();
        assert_eq!(failure.kind, crate::model::Kind::Usage);
        assert_eq!(failure.what, format!("cannot read {}", missing.display()));
        let large = directory.path().join("rehome.yml");
        std::fs::write(&large, "#".repeat(LIMIT as usize + 1)).unwrap();
        let failure = Settings::load(None, &located).unwrap_err();
        assert_eq!(failure.what, format!("{} is larger than 1 MiB", large.display()));
    }
}

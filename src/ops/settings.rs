//! The effective settings of a project.

mod show;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compose::Located;
use crate::model::config::{self, Config};
use crate::model::{Failure, Owner, Result, VolumeKey};
use crate::observe::{ServiceSeen, World};
use crate::steps::{Hook, HttpCheck, OnFailure};

pub use show::{Setting, Source};

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
    /// Where the override is written.
    pub override_path: PathBuf,
    /// The volumes that the configuration names.
    pub volumes: BTreeMap<VolumeKey, config::Volume>,
    /// Volumes that stay.
    pub exclude: Vec<VolumeKey>,
    /// Limit for stopping.
    pub stop_timeout: Option<Duration>,
    /// What must answer after the start.
    pub checks: Vec<HttpCheck>,
    hooks: Option<Vec<Hook>>,
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
            None => default_override(located),
        };
        Self {
            path,
            text,
            block_root: block.root,
            override_path,
            volumes: block.volumes,
            exclude: block.exclude,
            stop_timeout: config.stop_timeout,
            checks: config
                .checks
                .into_iter()
                .map(|c| HttpCheck {
                    service: c.service,
                    url: c.http,
                    status: c.status,
                    within: c.within,
                })
                .collect(),
            hooks: config
                .hooks
                .map(|hooks| hooks.after_start.into_iter().map(hook).collect()),
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

    /// The hooks: the configured ones, or those that were detected where none are configured.
    #[must_use]
    pub fn hooks(&self, world: &World) -> Vec<Hook> {
        self.hooks.clone().unwrap_or_else(|| detect(world))
    }
}

fn hook(hook: config::Hook) -> Hook {
    Hook {
        service: hook.service,
        run: hook.run,
        user: hook.user,
        limit: hook.timeout.unwrap_or(HOOK_LIMIT),
        on_failure: match hook.on_failure {
            config::OnFailure::Stop => OnFailure::Stop,
            config::OnFailure::Warn => OnFailure::Warn,
            config::OnFailure::Ignore => OnFailure::Ignore,
        },
    }
}

/// `docker-compose.prod.yml` -> `docker-compose.prod.block.yml`, beside it.
fn default_override(located: &Located) -> PathBuf {
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
    located.directory.join(format!("{stem}.block.{extension}"))
}

/// Hooks where none are configured: Django in a service whose working directory has a `manage.py`. Several services
/// may run the same image (a worker, a scheduler): the one that serves is taken.
fn detect(world: &World) -> Vec<Hook> {
    let django = |s: &&ServiceSeen| s.containers.iter().any(|c| c.manage_py.is_some());
    let serves = |s: &&ServiceSeen| {
        let words = s.containers.iter().flat_map(|c| &c.command);
        let text = words.map(String::as_str).collect::<Vec<_>>().join(" ");
        let server = [
            "gunicorn",
            "uvicorn",
            "daphne",
            "hypercorn",
            "runserver",
            "waitress",
            "uwsgi",
        ];
        let worker = ["celery", "rqworker", "huey", "dramatiq"];
        server.iter().any(|w| text.contains(w)) || !worker.iter().any(|w| text.contains(w))
    };
    let mut found: Vec<_> = world.services.iter().filter(django).filter(serves).collect();
    // One image is one code base: it migrates once.
    let mut images = std::collections::BTreeSet::new();
    found.retain(|s| images.insert(s.image_now.clone()));
    found
        .iter()
        .flat_map(|service| {
            let run = |words: &[&str], on_failure| Hook {
                service: service.name.clone(),
                run: words.iter().map(|w| (*w).to_owned()).collect(),
                user: None,
                limit: HOOK_LIMIT,
                on_failure,
            };
            [
                run(&["python3", "manage.py", "migrate", "--noinput"], OnFailure::Stop),
                run(
                    &["python3", "manage.py", "collectstatic", "--noinput"],
                    OnFailure::Warn,
                ),
            ]
        })
        .collect()
}

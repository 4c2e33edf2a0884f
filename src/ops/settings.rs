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
    /// How the project is deployed.
    pub deploy: config::Deploy,
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
            deploy: config.deploy,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compose::FoundBy;
    use crate::engine::{Health, State};
    use crate::model::{ContainerId, ImageId, ProjectName, ServiceName};
    use crate::observe::{ContainerSeen, OverrideSeen};

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

    fn settings(yaml: &str) -> Settings {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("rehome.yml"), yaml).unwrap();
        Settings::load(None, &located(directory.path(), "compose.yaml")).unwrap()
    }

    /// A running service with this image and command, and a `manage.py` or none.
    fn service(name: &str, image: &str, command: &str, django: bool) -> ServiceSeen {
        let image = ImageId::new(image).unwrap();
        ServiceSeen {
            name: ServiceName::new(name).unwrap(),
            depends_on: Vec::new(),
            attached_to: Vec::new(),
            image: String::new(),
            image_now: Some(image.clone()),
            definition: String::new(),
            stop_grace: None,
            server: None,
            server_version: None,
            mounts: Vec::new(),
            containers: vec![ContainerSeen {
                ports: Vec::new(),
                id: ContainerId::new(name).unwrap(),
                name: name.to_owned(),
                state: State::Running(Health::None),
                image,
                outdated: false,
                anonymous: Vec::new(),
                data_directory: None,
                manage_py: django.then(|| "/app/manage.py".to_owned()),
                command: command.split(' ').map(str::to_owned).collect(),
            }],
        }
    }

    fn world(services: Vec<ServiceSeen>) -> World {
        World {
            project: ProjectName::new("p").unwrap(),
            directory: "/srv/p".into(),
            services,
            volumes: Vec::new(),
            destination: None,
            docker_disk: None,
            override_file: OverrideSeen::Missing,
            dotenv_compose_file: None,
            shell_compose_file: None,
            engine_volumes: Vec::new(),
        }
    }

    /// A setting as `rehome config show` has it: its value, and where it came from.
    fn shown(settings: &Settings, name: &str) -> (serde_json::Value, String) {
        let setting = settings.show().into_iter().find(|s| s.name == name).unwrap();
        (setting.value, setting.from.to_string())
    }

    fn commands(hooks: &[Hook]) -> Vec<String> {
        hooks
            .iter()
            .map(|h| format!("{}: {} {:?}", h.service, h.run.join(" "), h.on_failure))
            .collect()
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
            let path = default_override(&located(Path::new("/srv/p"), file));
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
        assert_eq!((check.status, check.within), (204, Duration::from_secs(60)));
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

    #[test]
    fn hooks_that_are_configured_are_all_that_runs() {
        let django = world(vec![service("web", "i", "gunicorn app", true)]);
        let none = settings("version: 1\nhooks: { after_start: [] }\n");
        assert_eq!(none.hooks(&django), []);
        let one = settings(
            "version: 1\nhooks:\n  after_start:\n    - { service: db, run: [psql, -c, ANALYZE], timeout: 90s, on_failure: warn, user: postgres }\n",
        );
        let hooks = one.hooks(&django);
        assert_eq!(commands(&hooks), ["db: psql -c ANALYZE Warn"]);
        assert_eq!(hooks[0].limit, Duration::from_secs(90));
        assert_eq!(hooks[0].user.as_deref(), Some("postgres"));
        let place = one.line_of_command(&hooks[0].run);
        assert_eq!(place, Some(("rehome.yml".to_owned(), 4)));
        assert_eq!(one.line_of_command(&["psql".to_owned()]), None);
    }

    #[test]
    fn django_is_migrated_once_in_the_service_that_serves() {
        let stack = world(vec![
            service("beat", "app", "celery -A kms beat", true),
            service("api", "app", "gunicorn kms.wsgi", true),
            service("admin", "app", "uvicorn kms.asgi", true),
            service("nginx", "nginx", "nginx -g daemon", false),
        ]);
        assert_eq!(
            commands(&settings("version: 1\n").hooks(&stack)),
            [
                "api: python3 manage.py migrate --noinput Stop",
                "api: python3 manage.py collectstatic --noinput Warn",
            ]
        );
    }

    #[test]
    fn two_code_bases_are_migrated_each() {
        let stack = world(vec![
            service("shop", "shop", "python3 manage.py runserver", true),
            service("blog", "blog", "/entrypoint.sh", true),
        ]);
        let hooks = detect(&stack);
        let services: Vec<_> = hooks.iter().map(|h| h.service.as_str()).collect();
        assert_eq!(services, ["shop", "shop", "blog", "blog"]);
    }

    #[test]
    fn without_a_server_nothing_is_guessed() {
        let stack = world(vec![
            service("worker", "app", "celery worker", true),
            service("node", "web", "gunicorn", false),
        ]);
        assert_eq!(detect(&stack), []);
    }
}

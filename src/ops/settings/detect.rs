//! Hooks where none are configured: by what lies in the working directories of running services.

use std::collections::BTreeSet;

use super::HOOK_LIMIT;
use crate::observe::{Framework, ServiceSeen, World};
use crate::steps::{Hook, HookPlace, OnFailure};

/// What the hooks are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A move: the code is what it was.
    Move,
    /// A deployment.
    Deployment,
}

/// The hooks of a framework, in their order.
fn hooks_of(framework: Framework, what_for: For) -> Vec<(&'static str, OnFailure)> {
    let pending = "python3 manage.py makemigrations --check --dry-run";
    match framework {
        Framework::Django => {
            let mut hooks = vec![
                ("python3 manage.py migrate --noinput", OnFailure::Stop),
                ("python3 manage.py collectstatic --noinput", OnFailure::Warn),
            ];
            if what_for == For::Deployment {
                hooks.insert(0, (pending, OnFailure::Warn));
            }
            hooks
        }
        Framework::Prisma => vec![("npx prisma migrate deploy", OnFailure::Stop)],
        Framework::Rails => vec![("bin/rails db:migrate", OnFailure::Stop)],
        Framework::Laravel => vec![("php artisan migrate --force", OnFailure::Stop)],
        Framework::Alembic => vec![("alembic upgrade head", OnFailure::Stop)],
    }
}

/// Several services may run the same image (a worker, a scheduler): the one that serves is taken.
pub(super) fn detect(world: &World, what_for: For) -> Vec<Hook> {
    // One image is one code base: it migrates once.
    let mut done = BTreeSet::new();
    let mut found = Vec::new();
    for service in world.services.iter().filter(|s| serves(s)) {
        let frameworks: BTreeSet<_> = service.containers.iter().flat_map(|c| &c.frameworks).collect();
        for framework in frameworks {
            if !done.insert((service.image_now.clone(), *framework)) {
                continue;
            }
            let hooks = hooks_of(*framework, what_for).into_iter();
            found.extend(hooks.map(|(words, on_failure)| Hook {
                place: HookPlace::exec(service.name.clone()),
                run: words.split(' ').map(str::to_owned).collect(),
                user: None,
                dir: None,
                env: Vec::new(),
                limit: HOOK_LIMIT,
                on_failure,
            }));
        }
    }
    found
}

fn serves(service: &ServiceSeen) -> bool {
    let words = service.containers.iter().flat_map(|c| &c.command);
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
    let worker = [
        "celery",
        "rqworker",
        "huey",
        "dramatiq",
        "sidekiq",
        "queue:work",
        "schedule:work",
        "horizon",
    ];
    server.iter().any(|w| text.contains(w)) || !worker.iter().any(|w| text.contains(w))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::settings;
    use super::*;
    use crate::engine::{Health, State};
    use crate::model::{ContainerId, ImageId, ProjectName, ServiceName};
    use crate::observe::{ContainerSeen, OverrideSeen};

    /// A running service with this image and command, written with these frameworks.
    fn service(name: &str, image: &str, command: &str, frameworks: &[Framework]) -> ServiceSeen {
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
                frameworks: frameworks.to_vec(),
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

    fn commands(hooks: &[Hook]) -> Vec<String> {
        hooks
            .iter()
            .map(|h| {
                let service = h.place.service().map_or("", ServiceName::as_str);
                format!("{service}: {} {:?}", h.run.join(" "), h.on_failure)
            })
            .collect()
    }

    #[test]
    fn hooks_that_are_configured_are_all_that_runs() {
        let django = world(vec![service("web", "i", "gunicorn app", &[Framework::Django])]);
        let none = settings("version: 1\nhooks: { after_start: [] }\n");
        assert_eq!(none.hooks(&django), []);
        let one = settings(
            "version: 1\nhooks:\n  after_start:\n    - { service: db, run: [psql, -c, ANALYZE], timeout: 90s, on_failure: warn, user: postgres }\n",
        );
        let hooks = one.hooks(&django);
        assert_eq!(commands(&hooks), ["db: psql -c ANALYZE Warn"]);
        assert_eq!(hooks[0].limit, Duration::from_secs(90));
        assert_eq!(hooks[0].user.as_deref(), Some("postgres"));
    }

    #[test]
    fn django_is_migrated_once_in_the_service_that_serves() {
        let stack = world(vec![
            service("beat", "app", "celery -A kms beat", &[Framework::Django]),
            service("api", "app", "gunicorn kms.wsgi", &[Framework::Django]),
            service("admin", "app", "uvicorn kms.asgi", &[Framework::Django]),
            service("nginx", "nginx", "nginx -g daemon", &[]),
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
            service(
                "shop",
                "shop",
                "python3 manage.py runserver",
                &[Framework::Django],
            ),
            service("blog", "blog", "/entrypoint.sh", &[Framework::Django]),
        ]);
        let hooks = detect(&stack, For::Move);
        let services: Vec<_> = hooks.iter().filter_map(|h| h.place.service()).collect();
        assert_eq!(
            services.iter().map(|s| s.as_str()).collect::<Vec<_>>(),
            ["shop", "shop", "blog", "blog"]
        );
    }

    #[test]
    fn without_a_server_nothing_is_guessed() {
        let stack = world(vec![
            service("worker", "app", "celery worker", &[Framework::Django]),
            service("node", "web", "gunicorn", &[]),
        ]);
        assert_eq!(detect(&stack, For::Move), []);
    }

    #[test]
    fn a_deployment_also_says_which_changes_of_models_have_no_migration() {
        let stack = world(vec![service(
            "api",
            "app",
            "gunicorn kms.wsgi",
            &[Framework::Django],
        )]);
        let hooks = settings("version: 1\n").deploy_hooks(&stack);
        assert_eq!(
            commands(&hooks.after_start),
            [
                "api: python3 manage.py makemigrations --check --dry-run Warn",
                "api: python3 manage.py migrate --noinput Stop",
                "api: python3 manage.py collectstatic --noinput Warn",
            ]
        );
        assert_eq!(hooks.all().count(), 3);
    }

    #[test]
    fn other_frameworks_are_migrated_in_their_own_words() {
        for (framework, command, words) in [
            (Framework::Prisma, "node server.js", "npx prisma migrate deploy"),
            (Framework::Rails, "bin/rails server", "bin/rails db:migrate"),
            (Framework::Laravel, "php-fpm", "php artisan migrate --force"),
            (Framework::Alembic, "uvicorn app:app", "alembic upgrade head"),
        ] {
            let stack = world(vec![
                service("app", "app", command, &[framework]),
                service("jobs", "app", "bundle exec sidekiq", &[framework]),
            ]);
            let found = detect(&stack, For::Deployment);
            assert_eq!(commands(&found), [format!("app: {words} Stop")]);
        }
    }
}

//! The override, the files that containers were made with, and bind mounts.

use insta::assert_snapshot;

use super::*;

#[test]
fn containers_on_another_volume_than_the_files_say() {
    assert_eq!(
        ids(|seen| {
            container(seen, "db").mounts[0].kind =
                MountKind::Volume(volume_name("kms-connect_postgres_data"));
            container(seen, "db").table = None;
        }),
        ["error other-volume"]
    );
    assert_eq!(
        ids(|seen| container(seen, "redis").mounts.clear()),
        ["error other-volume"]
    );
}

#[test]
fn an_override_that_nothing_reads_or_that_has_no_effect() {
    assert_eq!(
        ids(|seen| {
            seen.known.files.pop();
            for container in &mut seen.containers {
                container.config_files.pop();
            }
        }),
        ["error override-inactive"]
    );
    assert_eq!(
        ids(|seen| {
            let written = seen.known.written.as_mut().unwrap();
            written
                .deviations
                .push("volume media_volume does not lead to its home".to_owned());
            written.gone.push(key("old_data"));
            written.edited = true;
        }),
        [
            "error override-without-effect",
            "note override-outdated",
            "note override-edited"
        ]
    );
}

#[test]
fn trap_29_containers_made_with_other_files_are_found() {
    assert_snapshot!(text(|seen| { container(seen, "db").config_files.pop(); }), @r"
    warning [other-files] containers were made with other Compose files than those that are read here
      read here: /srv/kms/docker-compose.prod.yml, /srv/kms/docker-compose.prod.block.yml
      container kms-connect-db-1 was made with /srv/kms/docker-compose.prod.yml
      $ rehome compose -- up -d db
    ");
    // Whoever has no volume of the override was left alone by the move.
    assert!(
        ids(|seen| {
            seen.known
                .written
                .as_mut()
                .unwrap()
                .keys
                .remove(&key("redis_data"));
            container(seen, "redis").config_files.pop();
        })
        .is_empty()
    );
}

#[test]
fn a_bind_that_docker_would_make() {
    let bind = |source: &str, create| BindSeen {
        service: service_name("api"),
        source: source.into(),
        target: "/data".to_owned(),
        create,
    };
    assert_eq!(
        ids(|seen| seen.binds.push(bind("/mnt/kms-data/sites/a", Some(true)))),
        ["error bind-is-created"]
    );
    for harmless in [
        bind("/mnt/kms-data/sites/a", Some(false)),
        bind("/mnt/kms-data/sites/a", None),
        bind("/srv/kms/nginx.conf", Some(true)),
    ] {
        assert!(ids(|seen| seen.binds.push(harmless)).is_empty());
    }
    assert_eq!(
        ids(|seen| {
            seen.compose = Version::parse("5.0.0").unwrap();
            seen.binds.push(bind("/mnt/kms-data/sites/a", None));
        }),
        ["unknown bind-is-created"]
    );
}

//! Whole plans as people read them before they say yes.

use insta::assert_snapshot;
use rehome::engine::State;
use rehome::model::Owner;
use rehome::model::config::Question;
use rehome::observe::ForeignUse;
use rehome::steps::{Check, OnFailure};

use crate::support::*;

#[test]
fn the_whole_of_kms_connect() {
    assert_snapshot!(text(&kms(), &wanted()), @r"
        Move 4 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          media_volume   kms-connect_media_volume   →  /mnt/kms-data/media     12 GB, 14212 files
          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          redis_data     kms-connect_redis_data     →  /mnt/kms-data/redis     2 MB, 3 files, Redis
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static    9 MB, 163 files

        What happens
           1  make /mnt/kms-data/media, /mnt/kms-data/postgres, /mnt/kms-data/redis, /mnt/kms-data/static
           2  copy 16.1 GB while the stack runs
           3  stop nginx, celery-beat, celery, api, redis, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, redis, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 16 s: nginx, celery-beat, celery, api, redis, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn one_volume_only() {
    assert_snapshot!(text(&kms(), &only(&["static_volume"])), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static  9 MB, 163 files
          media_volume   stays: not asked for
          postgres_data  stays: not asked for
          redis_data     stays: not asked for

        What happens
           1  make /mnt/kms-data/static
           2  copy 9 MB while the stack runs
           3  stop nginx, api   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start api, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 7.0 s: nginx, api
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: db, redis, celery, celery-beat
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn a_volume_that_is_excluded_says_by_whom() {
    let mut wanted = wanted();
    wanted.exclude.insert(key("redis_data"), "rehome.yml".to_owned());
    wanted.exclude.insert(key("media_volume"), "--exclude".to_owned());
    assert_snapshot!(text(&kms(), &wanted), @r"
        Move 2 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static    9 MB, 163 files
          media_volume   stays: excluded by --exclude
          redis_data     stays: excluded by rehome.yml

        What happens
           1  make /mnt/kms-data/postgres, /mnt/kms-data/static
           2  copy 4.1 GB while the stack runs
           3  stop nginx, celery-beat, celery, api, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 13 s: nginx, celery-beat, celery, api, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: redis
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn offline() {
    let mut wanted = only(&["postgres_data"]);
    wanted.offline = true;
    assert_snapshot!(text(&kms(), &wanted), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          media_volume   stays: not asked for
          redis_data     stays: not asked for
          static_volume  stays: not asked for

        What happens
           1  make /mnt/kms-data/postgres
           2  stop nginx, celery-beat, celery, api, db   ← down from here
           3  copy 4.1 GB
           4  compare every entry of both homes
           5  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           6  start db, api, celery, celery-beat, nginx   ← up from here
           7  prove that the stack works there
           8  remove the helpers

        Down for about 54 s: nginx, celery-beat, celery, api, db
          the data is copied while they stand still (--offline)
        Running on: redis
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn one_volume_without_its_data() {
    let mut wanted = only(&["postgres_data", "static_volume"]);
    wanted.without_data = vec![key("postgres_data")];
    assert_snapshot!(text(&kms(), &wanted), @r"
        Move 2 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  STARTS EMPTY, nothing is copied
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static    9 MB, 163 files
          media_volume   stays: not asked for
          redis_data     stays: not asked for

        What happens
           1  make /mnt/kms-data/postgres, /mnt/kms-data/static
           2  copy 9 MB while the stack runs
           3  stop nginx, celery-beat, celery, api, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 13 s: nginx, celery-beat, celery, api, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: redis
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.

        ! volume `postgres_data` starts EMPTY on its new home: its data is not copied, and stays whole in kms-connect_postgres_data
    ");
}

#[test]
fn nothing_is_copied_at_all() {
    let mut wanted = only(&["static_volume"]);
    wanted.without_data = wanted.only.clone();
    assert_snapshot!(text(&kms(), &wanted), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static  STARTS EMPTY, nothing is copied
          media_volume   stays: not asked for
          postgres_data  stays: not asked for
          redis_data     stays: not asked for

        What happens
           1  make /mnt/kms-data/static
           2  stop nginx, api   ← down from here
           3  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           4  start api, nginx   ← up from here
           5  prove that the stack works there
           6  remove the helpers

        Down for about 7.0 s: nginx, api
          nothing is copied
        Running on: db, redis, celery, celery-beat
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.

        ! volume `static_volume` starts EMPTY on its new home: its data is not copied, and stays whole in kms-connect_static_volume
    ");
}

#[test]
fn nothing_runs() {
    let mut world = kms();
    for service in &mut world.services {
        service.containers[0].state = State::Exited(0);
    }
    assert_snapshot!(text(&world, &wanted()), @r"
        Move 4 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          media_volume   kms-connect_media_volume   →  /mnt/kms-data/media     12 GB, 14212 files
          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          redis_data     kms-connect_redis_data     →  /mnt/kms-data/redis     2 MB, 3 files, Redis
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static    9 MB, 163 files

        What happens
           1  make /mnt/kms-data/media, /mnt/kms-data/postgres, /mnt/kms-data/redis, /mnt/kms-data/static
           2  stop nothing: no service runs
           3  copy 16.1 GB
           4  compare every entry of both homes
           5  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           6  make the containers anew
           7  prove that the stack works there
           8  remove the helpers

        Nothing runs, so nothing is stopped; what is stopped stays stopped.
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn nothing_was_ever_started() {
    let mut world = kms();
    for service in &mut world.services {
        service.containers.clear();
    }
    assert_snapshot!(text(&world, &only(&["media_volume"])), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          media_volume   kms-connect_media_volume  →  /mnt/kms-data/media  12 GB, 14212 files
          postgres_data  stays: not asked for
          redis_data     stays: not asked for
          static_volume  stays: not asked for

        What happens
           1  make /mnt/kms-data/media
           2  stop nothing: no service runs
           3  copy 12 GB
           4  compare every entry of both homes
           5  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           6  make the containers anew
           7  prove that the stack works there
           8  remove the helpers

        Nothing runs, so nothing is stopped; what is stopped stays stopped.
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn what_is_stopped_stays_stopped() {
    let mut world = kms();
    service_mut(&mut world, "celery-beat").containers[0].state = State::Exited(0);
    service_mut(&mut world, "nginx").containers.clear();
    assert_snapshot!(text(&world, &wanted()), @r"
        Move 4 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          media_volume   kms-connect_media_volume   →  /mnt/kms-data/media     12 GB, 14212 files
          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          redis_data     kms-connect_redis_data     →  /mnt/kms-data/redis     2 MB, 3 files, Redis
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/static    9 MB, 163 files

        What happens
           1  make /mnt/kms-data/media, /mnt/kms-data/postgres, /mnt/kms-data/redis, /mnt/kms-data/static
           2  copy 16.1 GB while the stack runs
           3  stop celery, api, redis, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, redis, api, celery   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 12 s: celery, api, redis, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn back_to_volumes_beside_the_old_ones() {
    assert_snapshot!(text(&kms_on_block(), &back()), @r"
        Move 4 volumes of kms-connect back to Docker volumes

          media_volume   /mnt/kms-data/media     →  volume kms-connect_media_volume_5f3a   12 GB, 14212 files
          postgres_data  /mnt/kms-data/postgres  →  volume kms-connect_postgres_data_5f3a  4.1 GB, 1310 files, PostgreSQL 15
          redis_data     /mnt/kms-data/redis     →  volume kms-connect_redis_data_5f3a     2 MB, 3 files, Redis
          static_volume  /mnt/kms-data/static    →  volume kms-connect_static_volume_5f3a  9 MB, 163 files

        What happens
           1  make volume kms-connect_media_volume_5f3a, volume kms-connect_postgres_data_5f3a, volume kms-connect_redis_data_5f3a, volume kms-connect_static_volume_5f3a
           2  copy 16.1 GB while the stack runs
           3  stop nginx, celery-beat, celery, api, redis, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, redis, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 16 s: nginx, celery-beat, celery, api, redis, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn back_to_volumes_under_the_original_names_once_the_old_ones_are_gone() {
    let mut world = kms_on_block();
    world
        .engine_volumes
        .retain(|name| name.as_str().contains("_block_"));
    assert_snapshot!(text(&world, &back()), @r"
        Move 4 volumes of kms-connect back to Docker volumes

          media_volume   /mnt/kms-data/media     →  volume kms-connect_media_volume   12 GB, 14212 files
          postgres_data  /mnt/kms-data/postgres  →  volume kms-connect_postgres_data  4.1 GB, 1310 files, PostgreSQL 15
          redis_data     /mnt/kms-data/redis     →  volume kms-connect_redis_data     2 MB, 3 files, Redis
          static_volume  /mnt/kms-data/static    →  volume kms-connect_static_volume  9 MB, 163 files

        What happens
           1  make volume kms-connect_media_volume, volume kms-connect_postgres_data, volume kms-connect_redis_data, volume kms-connect_static_volume
           2  copy 16.1 GB while the stack runs
           3  stop nginx, celery-beat, celery, api, redis, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  remove docker-compose.prod.block.yml, remove COMPOSE_FILE from .env
           7  start db, redis, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 16 s: nginx, celery-beat, celery, api, redis, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn another_owner_and_another_directory() {
    let mut wanted = only(&["media_volume", "static_volume"]);
    wanted
        .owners
        .insert(key("media_volume"), Owner { uid: 1000, gid: 70 });
    wanted.map.insert(key("static_volume"), "web/static files".into());
    assert_snapshot!(text(&kms(), &wanted), @r"
        Move 2 volumes of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          media_volume   kms-connect_media_volume   →  /mnt/kms-data/media             12 GB, 14212 files, owner becomes 1000:70
          static_volume  kms-connect_static_volume  →  /mnt/kms-data/web/static files  9 MB, 163 files
          postgres_data  stays: not asked for
          redis_data     stays: not asked for

        What happens
           1  make /mnt/kms-data/media, /mnt/kms-data/web/static files
           2  copy 12 GB while the stack runs
           3  stop nginx, celery-beat, celery, api   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 12 s: nginx, celery-beat, celery, api
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: db, redis
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn hooks_and_checks() {
    let mut wanted = only(&["redis_data"]);
    wanted.hooks = vec![
        hook(
            "api",
            &["python3", "manage.py", "migrate", "--noinput"],
            OnFailure::Stop,
        ),
        hook(
            "api",
            &["python3", "manage.py", "collectstatic", "--noinput"],
            OnFailure::Warn,
        ),
        hook("redis", &["redis-cli", "ping"], OnFailure::Ignore),
    ];
    wanted.checks = vec![Check {
        service: Some(service_name("nginx")),
        question: Question::Http {
            url: "http://localhost/health/".to_owned(),
            status: 200,
            body: None,
        },
        within: std::time::Duration::from_secs(90),
    }];
    assert_snapshot!(text(&kms(), &wanted), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          redis_data     kms-connect_redis_data  →  /mnt/kms-data/redis  2 MB, 3 files, Redis
          media_volume   stays: not asked for
          postgres_data  stays: not asked for
          static_volume  stays: not asked for

        What happens
           1  make /mnt/kms-data/redis
           2  copy 2 MB while the stack runs
           3  stop nginx, celery-beat, celery, api, redis   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start redis, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  run in api: python3 manage.py migrate --noinput
          10  run in api: python3 manage.py collectstatic --noinput (a failure does not stop the move)
          11  run in redis: redis-cli ping (a failure does not stop the move)
          12  check that http://localhost/health/ in nginx answers 200 within 1 min 30 s
          13  remove the helpers

        Down for about 13 s: nginx, celery-beat, celery, api, redis
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: db
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn trap_04_what_a_careful_person_should_know() {
    let mut world = kms();
    world.engine_volumes.push(volume_name("backend_postgres_data"));
    world.engine_volumes.push(volume_name("old_postgres_data"));
    world.shell_compose_file = Some("docker-compose.yml".to_owned());
    let reader = |container: &str, running, writable| ForeignUse {
        container: container.to_owned(),
        running,
        writable,
    };
    let postgres = volume_mut(&mut world, "postgres_data");
    postgres.foreign = vec![reader("backup", true, false), reader("pgadmin", false, true)];
    postgres.scan.as_mut().unwrap().sockets = 2;
    assert_snapshot!(text(&world, &only(&["postgres_data"])), @r#"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          postgres_data  kms-connect_postgres_data  →  /mnt/kms-data/postgres  4.1 GB, 1310 files, PostgreSQL 15
          media_volume   stays: not asked for
          redis_data     stays: not asked for
          static_volume  stays: not asked for

        What happens
           1  make /mnt/kms-data/postgres
           2  copy 4.1 GB while the stack runs
           3  stop nginx, celery-beat, celery, api, db   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start db, api, celery, celery-beat, nginx   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 13 s: nginx, celery-beat, celery, api, db
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: redis
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.

        ! volume `postgres_data` is kms-connect_postgres_data; there is also backend_postgres_data, old_postgres_data, which is not touched: make sure that this is the one you mean

        ! container backup reads volume `postgres_data` and will go on reading the old home

        ! container pgadmin (not running) has volume `postgres_data` and will still have the old home if it is started

        ! 2 sockets in volume `postgres_data` are not copied: they belong to running programs

        ! COMPOSE_FILE=docker-compose.yml is set in your shell and goes before the one in .env: afterwards run `eval "$(rehome env)"`, and change it where it is set
    "#);
}

#[test]
fn a_service_in_the_network_of_another_is_made_anew_with_it() {
    let world = world_of(vec![
        service("db"),
        service("vpn").mounting("keys", "/keys"),
        service("web").attached("vpn").after("db", Condition::Started),
        service("log").after("web", Condition::Started),
    ]);
    assert_snapshot!(text(&world, &wanted()), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          keys  kms-connect_keys  →  /mnt/kms-data/keys  10 MB, 10 files

        What happens
           1  make /mnt/kms-data/keys
           2  copy 10 MB while the stack runs
           3  stop log, web, vpn   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start vpn, web, log   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 9.0 s: log, web, vpn
          the data is copied while they run; they stand still for what changed since, and to be compared
        Running on: db
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

#[test]
fn one_shot_services_that_have_ended_are_made_anew_and_not_started() {
    let world = world_of(vec![
        service("init")
            .mounting("files", "/files")
            .in_state(State::Exited(0)),
        service("web")
            .mounting("files", "/files")
            .after("init", Condition::CompletedSuccessfully),
    ]);
    assert_snapshot!(text(&world, &wanted()), @r"
        Move 1 volume of kms-connect to /mnt/kms-data
          /mnt/kms-data is ext4 on /dev/sdb, 49 GB free of 50 GB

          files  kms-connect_files  →  /mnt/kms-data/files  10 MB, 10 files

        What happens
           1  make /mnt/kms-data/files
           2  copy 10 MB while the stack runs
           3  stop web   ← down from here
           4  copy what changed since
           5  compare every entry of both homes
           6  write docker-compose.prod.block.yml, set COMPOSE_FILE in .env
           7  start web   ← up from here
           8  prove that the stack works there
           9  remove the helpers

        Down for about 5.0 s: web
          the data is copied while they run; they stand still for what changed since, and to be compared
        If anything fails, every step is taken back in reverse and the stack runs on its old homes as before.
        The old homes are only read. They are neither changed nor deleted, now or later.
    ");
}

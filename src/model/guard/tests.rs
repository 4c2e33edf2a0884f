//! Spellings of what destroys data, and of what only looks like it.

use super::*;

/// Words as a shell would split them.
fn words(line: &str) -> Vec<String> {
    let script = shell::parse(line);
    assert!(script.pipelines.len() <= 1, "{line}");
    script
        .pipelines
        .into_iter()
        .flatten()
        .flat_map(|simple| simple.words)
        .collect()
}

fn data() -> Vec<String> {
    [
        "/data",
        "/app/media",
        "/var/lib/postgresql/data",
        "/srv/kms/uploads",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn of(line: &str) -> Option<String> {
    Guard::new(&data()).command(&words(line)).map(|d| d.words)
}

/// The same line, as a script that a shell is given.
fn in_script(text: &str) -> Option<String> {
    let argv = ["sh", "-c", text].map(str::to_owned);
    Guard::new(&data()).command(&argv).map(|d| d.words)
}

fn compose(line: &str) -> Option<String> {
    Guard::new(&data()).compose(&words(line)).map(|d| d.words)
}

#[test]
fn what_compose_would_destroy_is_seen_in_every_spelling() {
    for (line, hit) in [
        ("down -v", "down -v"),
        ("down --volumes", "down --volumes"),
        ("down -t 5 -v", "down -v"),
        ("down -t5 -v", "down -v"),
        ("down --remove-orphans -v --rmi local", "down -v"),
        ("--profile x -p name down --volumes=true", "down --volumes=true"),
        ("-f a.yml --file=b.yml down -v", "down -v"),
        ("rm -sfv web", "rm -sfv"),
        ("rm --volumes", "rm --volumes"),
        ("up -d -V", "up -V"),
        ("up -dV", "up -dV"),
        ("up --renew-anon-volumes", "up --renew-anon-volumes"),
        ("create -V", "create -V"),
        ("run --rm -V web sh", "run -V"),
        ("up -d -y", "up -y"),
        ("up --yes", "up --yes"),
        ("exec api python manage.py flush --noinput", "manage.py flush"),
        ("exec -T -u app api ./manage.py flush", "manage.py flush"),
        ("exec -itu app api ./manage.py flush", "manage.py flush"),
        ("exec -e A=b --index 2 db dropdb kms", "dropdb"),
        (
            "run --rm -e X=1 api npx prisma migrate reset --force",
            "prisma migrate reset",
        ),
        ("run --rm --entrypoint rails api db:reset", "rails db:reset"),
        (
            "exec db sh -c 'psql -U kms -c \"DROP DATABASE kms\"'",
            "psql: DROP DATABASE",
        ),
        (
            "exec db rm -rf /var/lib/postgresql/data",
            "rm -r /var/lib/postgresql/data",
        ),
    ] {
        assert_eq!(compose(line).as_deref(), Some(hit), "{line}");
    }
}

#[test]
fn the_command_is_found_behind_the_options() {
    for (line, command) in [
        ("up -d", Some("up")),
        ("--profile up -f up create", Some("create")),
        ("--ansi=never exec api up", Some("exec")),
        ("--version", None),
        ("", None),
    ] {
        assert_eq!(compose_command(&words(line)), command, "{line}");
    }
}

#[test]
fn what_compose_does_every_day_is_left_alone() {
    for line in [
        "up -d",
        "down",
        "down --volumes=false",
        "down -t 10 --remove-orphans",
        "run -v /x:/y web sh",
        "exec db rm -v file",
        "run web rm -v x",
        "logs -f",
        "logs -f --volumes",
        "exec api python manage.py createsuperuser",
        "exec -T db pg_dump -U kms kms",
        "-f down -v ps",
        "ps --format '{{.Name}} down -v'",
        "config --volumes",
        "volumes",
        "",
    ] {
        assert_eq!(compose(line), None, "{line}");
    }
}

#[test]
fn what_docker_would_destroy_is_seen() {
    for (line, hit) in [
        ("docker volume rm kms_postgres_data", "volume rm"),
        ("docker volume prune -f", "volume prune"),
        ("docker --context prod volume remove x", "volume remove"),
        ("docker system prune -af --volumes", "system prune --volumes"),
        ("docker rm -fv kms-db", "rm -fv"),
        ("docker container rm --volumes kms-db", "rm --volumes"),
        ("docker compose -p kms down -v", "down -v"),
        ("docker-compose down -v", "down -v"),
        ("sudo -n docker compose down --volumes", "down --volumes"),
        ("/usr/bin/docker exec -i kms-db dropdb -U kms kms", "dropdb"),
        ("docker run --rm -v kms_data:/x alpine rm -rf /x/.", "rm -r /x/."),
        (
            "docker run --rm --mount type=volume,src=v,dst=/x alpine sh -c 'rm -rf /x/*'",
            "rm -r /x/*",
        ),
        ("podman volume prune", "volume prune"),
    ] {
        assert_eq!(of(line).as_deref(), Some(hit), "{line}");
    }
    for line in [
        "docker system prune -af",
        "docker image prune -a",
        "docker rm -f kms-db",
        "docker volume ls",
        "docker volume inspect prune",
        "docker run --rm -v ./build:/x alpine rm -rf /x/*",
        "docker logs volume",
        "docker ps --filter volume=rm",
    ] {
        assert_eq!(of(line), None, "{line}");
    }
}

#[test]
fn what_migration_tools_would_destroy_is_seen() {
    for (line, hit) in [
        ("python manage.py flush", "manage.py flush"),
        ("python3 -u ./manage.py flush --noinput", "manage.py flush"),
        (
            "python3.12 /app/manage.py --settings kms.prod flush",
            "manage.py flush",
        ),
        ("python -m django flush", "django flush"),
        ("django-admin flush --settings=kms", "django-admin flush"),
        ("poetry run python manage.py reset_db", "manage.py reset_db"),
        (
            "uv run --directory /app manage.py reset_db -c",
            "manage.py reset_db",
        ),
        (
            "python manage.py migrate library zero",
            "manage.py migrate … zero",
        ),
        ("prisma migrate reset", "prisma migrate reset"),
        (
            "npx prisma migrate reset --force --skip-seed",
            "prisma migrate reset",
        ),
        (
            "npx --yes prisma@5 db push --accept-data-loss",
            "prisma@5 --accept-data-loss",
        ),
        ("npx prisma db push --force-reset", "prisma --force-reset"),
        (
            "pnpm --filter api exec prisma db push --accept-data-loss",
            "prisma --accept-data-loss",
        ),
        (
            "yarn prisma db push --accept-data-loss=true",
            "prisma --accept-data-loss",
        ),
        (
            "node node_modules/.bin/prisma migrate reset",
            "prisma migrate reset",
        ),
        (
            "npm run db:push -- --accept-data-loss",
            "db:push --accept-data-loss",
        ),
        ("rails db:drop", "rails db:drop"),
        ("bin/rails db:drop:all", "rails db:drop:all"),
        ("bundle exec rake db:migrate db:reset", "rake db:reset"),
        (
            "RAILS_ENV=production DISABLE_DATABASE_ENVIRONMENT_CHECK=1 bundle exec rails db:schema:load",
            "rails db:schema:load",
        ),
        ("php artisan migrate:fresh --force", "artisan migrate:fresh"),
        (
            "php -d memory_limit=-1 artisan migrate:refresh",
            "artisan migrate:refresh",
        ),
        ("./vendor/bin/sail artisan migrate:reset", "sail migrate:reset"),
        ("/usr/bin/env php artisan db:wipe", "artisan db:wipe"),
        ("alembic downgrade base", "alembic downgrade base"),
        ("alembic -c prod.ini downgrade base", "alembic downgrade base"),
        ("python -m alembic downgrade base", "alembic downgrade base"),
        ("flask db downgrade base", "flask db downgrade base"),
        (
            "bin/console doctrine:schema:drop --force",
            "console doctrine:schema:drop",
        ),
        ("npx sequelize-cli db:drop", "sequelize-cli db:drop"),
        ("mix ecto.reset", "mix ecto.reset"),
        ("wp db reset --yes", "wp db reset"),
        ("timeout 60 dropdb --if-exists kms", "dropdb"),
        ("gosu postgres dropdb kms", "dropdb"),
        ("su - postgres -c 'dropdb kms'", "dropdb"),
        (
            "su postgres -s /bin/sh -c 'psql -c \"drop schema public cascade\"'",
            "psql: DROP SCHEMA",
        ),
        ("mysqladmin -u root -f drop kms", "mysqladmin drop"),
        ("redis-cli -h redis FLUSHALL", "redis-cli FLUSHALL"),
        ("mongosh kms --eval 'db.dropDatabase()'", "mongosh dropDatabase()"),
    ] {
        assert_eq!(of(line).as_deref(), Some(hit), "{line}");
    }
}

#[test]
fn what_migration_tools_do_every_day_is_left_alone() {
    for line in [
        "python manage.py migrate --noinput",
        "python manage.py collectstatic --noinput --clear",
        "python manage.py sqlflush",
        "python manage.py loaddata flush.json",
        "python manage.py migrate library 0003_zero",
        "python manage.py createsuperuser --username flush",
        "npx prisma migrate deploy",
        "npx prisma db push",
        "npx prisma db push --accept-data-loss=false",
        "prisma migrate status",
        "rails db:migrate",
        "rails db:prepare",
        "rails db:rollback",
        "rake db:dropbox_sync",
        "php artisan migrate --force",
        "php artisan migrate:rollback",
        "php artisan config:clear",
        "alembic upgrade head",
        "alembic downgrade -1",
        "dropdb --help",
        "redis-cli ping",
        "redis-cli FLUSHDB",
        "node-pg-migrate up",
        "wp db export",
        "git commit -m 'prisma migrate reset --force-reset'",
        "grep -r -- --accept-data-loss .",
        "logger dropdb",
        "echo rails db:drop",
        "tar -C /backups/dropdb -xf flush.tar",
    ] {
        assert_eq!(of(line), None, "{line}");
    }
}

#[test]
fn sql_is_read_and_not_searched() {
    for (line, hit) in [
        ("psql -c 'DROP DATABASE kms'", "psql: DROP DATABASE"),
        (
            "psql -U kms -tAc 'drop   database if exists kms;'",
            "psql: DROP DATABASE",
        ),
        (
            "psql --command='begin; drop schema public cascade; commit'",
            "psql: DROP SCHEMA",
        ),
        (
            "psql -c 'select 1; -- nothing\n drop schema public cascade'",
            "psql: DROP SCHEMA",
        ),
        ("psql -c '/* clean */ DROP OWNED BY kms'", "psql: DROP OWNED"),
        ("mysql -u root -e 'DROP DATABASE kms'", "mysql: DROP DATABASE"),
        ("mariadb -e'DROP SCHEMA kms'", "mariadb: DROP SCHEMA"),
    ] {
        assert_eq!(of(line).as_deref(), Some(hit), "{line}");
    }
    for line in [
        "psql -c 'SELECT 1'",
        "psql -c \"insert into log values ('DROP DATABASE kms; DROP SCHEMA public')\"",
        "psql -c \"comment on table t is 'it''s; DROP DATABASE x'\"",
        "psql -c '-- DROP DATABASE kms'",
        "psql -c 'select $q$; drop database x; $q$'",
        "psql -d drop_database -c 'vacuum'",
        "psql -c 'TRUNCATE sessions'",
        "psql -c 'DROP TABLE old_import'",
        "psql -f drop_database.sql",
        "psql -c 'alter table t drop column schema'",
    ] {
        assert_eq!(of(line), None, "{line}");
    }
}

#[test]
fn scripts_are_taken_apart() {
    for (text, hit) in [
        ("cd /app && python manage.py flush --noinput", "manage.py flush"),
        ("set -e; npx prisma migrate reset", "prisma migrate reset"),
        (
            "python manage.py sqlflush | python manage.py dbshell",
            "sqlflush |",
        ),
        ("./manage.py sqlflush --database=x | psql", "sqlflush |"),
        ("echo 'DROP DATABASE kms;' | psql -U kms", "psql: DROP DATABASE"),
        (
            "printf 'select 1;\\ndrop schema public cascade;' | psql",
            "psql: DROP SCHEMA",
        ),
        (
            "psql <<EOF\nselect 1;\nDROP DATABASE kms;\nEOF\necho done",
            "psql: DROP DATABASE",
        ),
        (
            "psql <<-'EOF'\n\tDROP SCHEMA public CASCADE;\n\tEOF",
            "psql: DROP SCHEMA",
        ),
        ("psql <<< 'drop database kms'", "psql: DROP DATABASE"),
        ("cat <<EOF | psql\ndrop database kms;\nEOF", "psql: DROP DATABASE"),
        ("if true; then dropdb kms; fi", "dropdb"),
        ("for d in a b; do dropdb $d; done", "dropdb"),
        ("! dropdb kms || true", "dropdb"),
        ("(dropdb kms)", "dropdb"),
        ("{ dropdb kms; }", "dropdb"),
        ("x=$(dropdb kms)", "dropdb"),
        ("echo `dropdb kms`", "dropdb"),
        ("echo \"now $(dropdb kms)\"", "dropdb"),
        ("dropdb kms > /dev/null 2>&1 &", "dropdb"),
        ("drop\\\ndb kms", "dropdb"),
        ("\"dropdb\" kms", "dropdb"),
        ("exec bash -lec 'exec sh -c \"dropdb kms\"'", "dropdb"),
        ("ssh -p 22 root@db 'docker compose down -v'", "down -v"),
        ("ssh db docker volume prune -f", "volume prune"),
        ("eval \"dropdb kms\"", "dropdb"),
        ("echo dropdb kms | sh", "dropdb"),
        ("echo y | docker compose down -v", "down -v"),
        ("psql -lqt | cut -d' ' -f1 | xargs -n1 dropdb", "dropdb"),
        ("rm -rf /data", "rm -r /data"),
        ("rm -fr /data/", "rm -r /data/"),
        ("rm --recursive --force /app/media/*", "rm -r /app/media/*"),
        ("rm -r -f -- /app/media", "rm -r /app/media"),
        ("rm -Rf /app", "rm -r /app"),
        ("rm -rf /", "rm -r /"),
        ("cd /data && rm -rf ./*", "rm -r ./*"),
        ("cd /app; rm -rf media", "rm -r media"),
        (
            "rm -rf /var/lib/docker/volumes/kms_data/_data/x",
            "rm -r /var/lib/docker/volumes/kms_data/_data/x",
        ),
        ("find /data -mindepth 1 -delete", "find /data -delete"),
        ("find /data -type f -exec rm -f {} +", "find /data -delete"),
    ] {
        assert_eq!(in_script(text).as_deref(), Some(hit), "{text}");
    }
}

#[test]
fn scripts_that_only_speak_of_it_are_left_alone() {
    for text in [
        "echo 'DROP DATABASE kms'",
        "echo dropdb kms",
        "echo dropdb kms > /tmp/note",
        "# dropdb kms",
        "echo x # dropdb kms",
        "cat <<EOF\ndropdb kms\nEOF",
        "grep -q 'DROP DATABASE' /var/log/postgres.log",
        "test -f dropdb && echo dropdb",
        "echo \"a; dropdb kms\"",
        "ls /data/dropdb",
        "python manage.py sqlflush > flush.sql",
        "rm -f /data",
        "rm -rf /data/cache/tmp",
        "rm -rf /tmp/data",
        "rm -rf /database",
        "rm -rf /app/node_modules",
        "rm -rf media",
        "find /data -name '*.tmp' -delete",
        "find /data -type f",
        "find /data -mtime +30 -exec rm {} +",
        "echo $((2 - 1)) ; ls",
        "cp dropdb.sh /usr/local/bin/flush",
        "",
        "'",
        "\"$(",
        "<<",
        "|||",
    ] {
        assert_eq!(in_script(text), None, "{text}");
    }
}

#[test]
fn a_command_within_a_command_without_end_is_given_up() {
    let argv: Vec<String> = std::iter::repeat_n("sudo".to_owned(), 5000)
        .chain(["dropdb".to_owned()])
        .collect();
    assert_eq!(Guard::new(&[]).command(&argv), None);
    let script = "$(".repeat(5000);
    assert_eq!(in_script(&script), None);
}

proptest::proptest! {
    #[test]
    fn no_words_break_it(words in proptest::collection::vec("\\PC{0,12}", 0..8), text in "[ -~\n]{0,60}") {
        let mut argv = words.clone();
        let guard = Guard::new(&[]);
        drop(guard.compose(&argv));
        drop(guard.command(&argv));
        argv.splice(0..0, ["sh", "-c"].map(str::to_owned));
        argv.insert(2, text);
        drop(guard.command(&argv));
    }
}

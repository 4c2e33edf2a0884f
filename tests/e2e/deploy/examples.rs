//! The example stacks: deployed, deployed again, and brought back from failures, with the data that they had.

use serde_json::Value;

use super::site::{Client, Images, assert_same, finished, id_of, made_of};
use crate::stacks::copy_of;
use crate::support::{Stack, sh, wait_for};

/// An example stack with versions of its application's image.
struct Example {
    stack: Stack,
    port: u16,
    settings: String,
    /// The first version, and the setting that names another one.
    image: (&'static str, &'static str),
    /// Asks its database.
    psql: &'static str,
    _images: Images,
}

impl Example {
    fn up(
        name: &str,
        settings: &str,
        config: impl Fn(String) -> String,
        image: (&'static str, &'static str),
        psql: &'static str,
    ) -> Self {
        let (stack, port) = copy_of(name, settings);
        stack.file("rehome.yml", &config(stack.read("rehome.yml")));
        stack.compose("up -d --wait");
        Self {
            _images: Images(stack.name.clone()),
            settings: stack.read(".env"),
            stack,
            port,
            image,
            psql,
        }
    }

    /// Makes a version out of the first: a script of the host changes the files of the application, and more of the
    /// image may be another. The files name it.
    fn next(&self, tag: &str, script: &str, change: &str) {
        let dir = self.stack.dir.join(format!("version-{tag}"));
        let (d, name, first) = (dir.display(), &self.stack.name, self.image.0);
        sh(&format!(
            "id=$(docker create {first}); docker cp -q $id:/app {d} 2>/dev/null || docker cp $id:/app {d} >/dev/null; cd {d}
             {script}
             docker cp . $id:/app >/dev/null; docker commit {change} $id {name}/app:{tag} >/dev/null
             docker rm $id >/dev/null; rm -rf {d}"
        ));
        self.wants(tag);
    }

    /// The files name this version.
    fn wants(&self, tag: &str) {
        let (settings, variable) = (&self.settings, self.image.1);
        let line = format!("{settings}{variable}={}/app:{tag}\n", self.stack.name);
        self.stack.file(".env", &line);
    }

    fn ask(&self, sql: &str) -> String {
        self.stack.exec("db", &format!("{} -c \"{sql}\"", self.psql))
    }

    /// Who the database is, where its data is, and which container serves it.
    fn database(&self) -> [String; 3] {
        [
            self.ask("select system_identifier from pg_control_system()"),
            self.stack.mounted("db", "/var/lib/postgresql/data"),
            id_of(&self.stack, "db"),
        ]
    }

    /// The version that was made last fails, and everything is what it was: the containers, the database and the data.
    #[track_caller]
    fn comes_back(&self, says: &str, data: &dyn Fn() -> String) {
        let stack = &self.stack;
        let (containers, database, before) = (made_of(stack), self.database(), data());
        let run = stack.rehome("deploy -y --json");
        assert_eq!(run.code, 10, "{says}: {}", run.err);
        let last = finished(&run, "rolled_back");
        assert!(last["failure"].to_string().contains(says), "{says}: {last}");
        assert_same(&made_of(stack), &containers);
        assert_eq!(self.database(), database, "{says}");
        assert_eq!(data(), before, "{says}");
    }

    /// An image that is not there is refused, and nothing is touched.
    #[track_caller]
    fn wants_what_is_not_there(&self) {
        let stack = &self.stack;
        let (containers, database) = (made_of(stack), self.database());
        self.wants("none");
        stack
            .rehome("deploy -y")
            .exits(3)
            .says("which the engine does not have");
        assert_same(&made_of(stack), &containers);
        assert_eq!(self.database(), database);
    }
}

#[test]
fn the_register_is_deployed_and_comes_back_from_four_kinds_of_failure() {
    // As the file is, only less patient.
    let config = |config: String| {
        config
            .replace("within: 30s", "within: 2s")
            .replace("pull: false", "pull: false\n  stable: 1s")
    };
    let image = ("crs-trial/app:1", "APP_IMAGE");
    let register = Example::up("crs-trial", "", config, image, "psql -tAX -U crs -d crs");
    let stack = &register.stack;
    let database = register.database();
    let enrol = || sh(&format!("curl -fsS -X POST http://127.0.0.1:{}/", register.port));
    // What the application counts, and what the database does: without the version.
    let counted = || {
        let said = sh(&format!("curl -fsS http://127.0.0.1:{}/", register.port));
        let mut said: Value = serde_json::from_str(&said).unwrap();
        said.as_object_mut().unwrap().remove("version");
        let rows = "select (select count(*) from participants), (select count(*) from visits)";
        format!("{said} {}", register.ask(rows))
    };
    let migrations = || {
        let names = register.ask("select name from pgmigrations order by id");
        names.lines().map(str::to_owned).collect::<Vec<_>>()
    };

    // The first deployment replaces nothing and makes the tables.
    stack.rehome("deploy -y").exits(0);
    assert_eq!(migrations().len(), 2);
    enrol();
    enrol();
    assert!(counted().ends_with(" 2|2"));

    let version =
        |tag: &str| format!("sed -i 's/\"version\": \"1.0.0\"/\"version\": \"{tag}\"/' package.json");
    let table = |name: &str| {
        format!(
            "echo 'exports.up = (pgm) => pgm.createTable(\"{name}\", {{ id: \"id\" }});' > migrations/{name}.js"
        )
    };
    let labs = table("1700000200000_labs");
    register.next("2.0.0", &format!("{}; {labs}", version("2.0.0")), "");
    let client = Client::of(register.port, "/health");
    stack.rehome("deploy -y").exits(0).says("Verified:");
    let heard = client.end();
    assert_eq!(heard.answers.len(), 2, "{heard:?}");
    assert!(
        heard.answers[1].contains("2.0.0") && heard.gaps.len() <= 1,
        "{heard:?}"
    );
    assert_eq!(migrations().len(), 3);

    // A number of the user is enough: nobody of that name is in the image.
    assert_eq!(stack.exec("app", "id -u"), "1001");

    // Two are due: the first works and, as large ones do, keeps to no transaction; the second does not work.
    let half = format!(
        "{labs}; {}; sed -i 's/=> \\(.*\\);$/=> {{ pgm.noTransaction(); \\1; }};/' migrations/1700000300000_extra.js
         echo 'exports.up = (pgm) => pgm.sql(\"SELECT 1 / 0\");' > migrations/1700000400000_broken.js",
        table("1700000300000_extra")
    );
    let throws = r#"--change 'CMD ["node", "-e", "throw new Error(`no setting`)"]'"#;
    let nobody = "sed -i 's/FROM participants)/FROM nobody)/' server.js";
    for (tag, script, change, says) in [
        ("3.0.0", "true", throws, "service `app`"),
        ("4.0.0", nobody, "", "it answered 500"),
        ("5.0.0", half.as_str(), "", "node-pg-migrate up"),
    ] {
        register.next(tag, script, change);
        enrol();
        register.comes_back(says, &counted);
    }
    let logs = format!("{}/projects/*/runs/*/hooks.log", stack.state.display());
    sh(&format!("grep -q 'division by zero' {logs}"));
    // Half of the migration stays, as was said; what is there from before it is the dump of its run.
    assert_eq!(migrations().last().unwrap(), "1700000300000_extra");

    register.wants_what_is_not_there();
    assert_eq!(register.database(), database);
}

#[test]
fn the_back_end_is_deployed_and_comes_back_from_four_kinds_of_failure() {
    // Besides what its own healthcheck asks, and less patient.
    let config = |config: String| {
        config.replace("pull: false", "pull: false, stable: 1s").replace(
            "checks:",
            "checks:\n  - { service: api, http: 'http://localhost:8000/applicants/', within: 5s }",
        )
    };
    let image = ("kms-connect/api:1", "API_IMAGE");
    let settings = "STACK=NAME\nCOMPOSE_FILE=docker-compose.prod.yml\n";
    let psql = "psql -tAX -U postgres -d kmsconnect";
    let site = Example::up("kms-connect", settings, config, image, psql);
    let stack = &site.stack;
    let database = site.database();
    stack.exec("api", "python manage.py seed 20 --size-kb 16");
    // Every row, and every upload against its own checksum; where the uploads are, too.
    let data = || {
        let sum = stack.exec("api", "python manage.py checksum");
        format!("{sum} {}", stack.mounted("api", "/app/media"))
    };
    let before = data();
    assert!(before.contains("files_ok=20"), "{before}");

    let migration = |number: u8, after: &str, operations: &str| {
        format!(
            "printf '%s\\n' 'from django.db import migrations' 'class Migration(migrations.Migration):' ' atomic = False' \
             ' dependencies = [(\"records\", \"{after}\")]' ' operations = [{operations}]' > records/migrations/000{number}_next.py"
        )
    };
    let labs = migration(
        2,
        "0001_initial",
        "migrations.RunSQL(\"CREATE TABLE labs (id int)\")",
    );
    site.next("2", &labs, "");
    let client = Client::of(site.port, "/health/");
    let run = stack.rehome("deploy -y").exits(0);
    let heard = client.end();
    assert!(heard.gaps.len() <= 1, "{heard:?}");
    run.says("Verified:");
    assert_eq!(site.ask("select count(*) from labs"), "0");
    assert_eq!((data(), site.database()), (before, database.clone()));

    let half = format!(
        "{labs}; {}",
        migration(
            3,
            "0002_next",
            "migrations.RunSQL(\"CREATE TABLE half (id int)\"), migrations.RunSQL(\"SELECT 1 / 0\")"
        )
    );
    let crashes = format!("{labs}; echo 'raise RuntimeError(\"a setting is missing\")' > backend/wsgi.py");
    let nobody =
        format!("{labs}; sed -i 's/Applicant.objects.count()/Applicant.objects.nobody()/' records/views.py");
    for (tag, script, says) in [
        ("3", &crashes, "a setting is missing"),
        ("4", &nobody, "it answered 500"),
        ("5", &half, "division by zero"),
    ] {
        site.next(tag, script, "");
        site.comes_back(says, &data);
    }
    // Half of the migration stays.
    assert_eq!(site.ask("select count(*) from half"), "0");
    site.wants_what_is_not_there();
    assert_eq!(site.database(), database);
}

#[test]
fn the_example_with_tls_serves_https_and_sends_everybody_there() {
    let (stack, _) = copy_of("kms-connect", "STACK=NAME\nHTTPS_PORT=0\n");
    // The certificate is made by the image's own openssl.
    sh(&format!(
        "mkdir {d}/certs && docker run --rm -v {d}/certs:/c kms-connect/nginx:1 sh -c 'openssl req -x509 -newkey rsa:2048 -nodes \
         -days 2 -subj /CN=localhost -keyout /c/privkey.pem -out /c/fullchain.pem 2>/dev/null && \
         openssl dhparam -dsaparam -out /c/dhparam.pem 2048 2>/dev/null'",
        d = stack.dir.display()
    ));
    stack.file(
        ".env",
        &(stack.read(".env") + "COMPOSE_FILE=docker-compose.prod.yml:docker-compose.tls.yml\n"),
    );
    stack.compose("up -d --no-deps nginx");
    let asked = |url: &str| {
        stack.exec(
            "nginx",
            &format!("curl -sS -k -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {url}"),
        )
    };
    wait_for("nginx", || {
        let state = sh(&format!(
            "docker inspect -f '{{{{.State.Health.Status}}}}' {}-nginx",
            stack.name
        ));
        state == "healthy"
    });
    assert_eq!(
        asked("http://localhost/records/"),
        "301 https://localhost/records/"
    );
    // Nobody is behind it here, and it is it that says so.
    assert_eq!(asked("https://localhost/records/"), "502");
    assert_eq!(asked("https://localhost/static/none"), "404");
    let old = stack.exec(
        "nginx",
        "sh -c 'curl -sS -k --tls-max 1.1 https://localhost/ 2>&1 || true'",
    );
    assert!(old.contains("alert") || old.contains("protocol"), "{old}");
}

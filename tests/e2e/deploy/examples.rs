//! The example stacks: deployed, deployed again, and brought back from failures, with the data that they had.

use serde_json::Value;

use super::site::{Client, Images, assert_same, finished, id_of, made_of};
use crate::stacks::copy_of;
use crate::support::{Stack, sh, wait_for};

/// The register of `compose/crs-trial`, with versions of its image.
struct Register {
    stack: Stack,
    port: u16,
    settings: String,
    _images: Images,
}

impl Register {
    fn up() -> Self {
        let (stack, port) = copy_of("crs-trial", "");
        // As the file is, only less patient.
        let config = stack.read("rehome.yml").replace("within: 30s", "within: 2s");
        stack.file(
            "rehome.yml",
            &config.replace("pull: false", "pull: false\n  stable: 1s"),
        );
        stack.compose("up -d --wait");
        let settings = stack.read(".env");
        Self {
            _images: Images(stack.name.clone()),
            stack,
            port,
            settings,
        }
    }

    /// Makes a version out of the first: a script of the host changes the files of the application, and another
    /// command may run. The files name it.
    fn next(&self, tag: &str, script: &str, command: &str) {
        let dir = self.stack.dir.join(format!("version-{tag}"));
        let (d, name) = (dir.display(), &self.stack.name);
        sh(&format!(
            "id=$(docker create crs-trial/app:1); docker cp -q $id:/app {d} 2>/dev/null || docker cp $id:/app {d} >/dev/null; cd {d}
             sed -i 's/\"version\": \"1.0.0\"/\"version\": \"{tag}\"/' package.json
             {script}
             docker cp . $id:/app >/dev/null; docker commit --change 'CMD {command}' $id {name}/app:{tag} >/dev/null
             docker rm $id >/dev/null; rm -rf {d}"
        ));
        self.stack
            .file(".env", &format!("{}APP_IMAGE={name}/app:{tag}\n", self.settings));
    }

    /// Somebody enrols, and it is committed.
    fn enrol(&self) {
        sh(&format!("curl -fsS -X POST http://127.0.0.1:{}/", self.port));
    }

    /// What the application counts, and what the database does: without the version.
    fn counted(&self) -> (Value, String) {
        let said = sh(&format!("curl -fsS http://127.0.0.1:{}/", self.port));
        let mut said: Value = serde_json::from_str(&said).unwrap();
        said.as_object_mut().unwrap().remove("version");
        let rows = "select (select count(*) from participants), (select count(*) from visits)";
        (said, self.ask(rows))
    }

    fn ask(&self, sql: &str) -> String {
        self.stack
            .exec("db", &format!("psql -tAX -U crs -d crs -c \"{sql}\""))
    }

    /// Who the database is, where its data is, and which container serves it.
    fn database(&self) -> [String; 3] {
        [
            self.ask("select system_identifier from pg_control_system()"),
            self.stack.mounted("db", "/var/lib/postgresql/data"),
            id_of(&self.stack, "db"),
        ]
    }

    fn migrations(&self) -> Vec<String> {
        let names = self.ask("select name from pgmigrations order by id");
        names.lines().map(str::to_owned).collect()
    }
}

const SERVE: &str = r#"["node", "server.js"]"#;

#[test]
fn the_register_is_deployed_and_comes_back_from_four_kinds_of_failure() {
    let register = Register::up();
    let stack = &register.stack;
    let database = register.database();

    // The first deployment replaces nothing and makes the tables.
    stack.rehome("deploy -y").exits(0);
    assert_eq!(register.migrations().len(), 2);
    register.enrol();
    register.enrol();
    let counted = register.counted();
    assert_eq!(counted.1, "2|2");

    let table = |name: &str| {
        format!(
            "echo 'exports.up = (pgm) => pgm.createTable(\"{name}\", {{ id: \"id\" }});' > migrations/{name}.js"
        )
    };
    let labs = table("1700000200000_labs");
    register.next("2.0.0", &labs, SERVE);
    let client = Client::of(register.port, "/health");
    stack.rehome("deploy -y").exits(0).says("Verified:");
    let heard = client.end();
    assert_eq!(heard.answers.len(), 2, "{heard:?}");
    assert!(
        heard.answers[1].contains("2.0.0") && heard.gaps.len() <= 1,
        "{heard:?}"
    );
    assert_eq!(register.migrations().len(), 3);
    let good = made_of(stack);

    // A number of the user is enough: nobody of that name is in the image.
    assert_eq!(stack.exec("app", "id -u"), "1001");

    // Two are due: the first works and, as large ones do, keeps to no transaction; the second does not work.
    let half = format!(
        "{labs}; {}; sed -i 's/=> \\(.*\\);$/=> {{ pgm.noTransaction(); \\1; }};/' migrations/1700000300000_extra.js
         echo 'exports.up = (pgm) => pgm.sql(\"SELECT 1 / 0\");' > migrations/1700000400000_broken.js",
        table("1700000300000_extra")
    );
    let failures = [
        (
            "3.0.0",
            "true",
            r#"["node", "-e", "throw new Error(`no setting`)"]"#,
            "service `app`",
        ),
        (
            "4.0.0",
            "sed -i 's/FROM participants)/FROM nobody)/' server.js",
            SERVE,
            "it answered 500",
        ),
        ("5.0.0", half.as_str(), SERVE, "node-pg-migrate up"),
    ];
    for (tag, script, command, says) in failures {
        register.next(tag, script, command);
        register.enrol();
        let counted = register.counted();
        let run = stack.rehome("deploy -y --json");
        assert_eq!(run.code, 10, "{tag}: {}", run.err);
        let last = finished(&run, "rolled_back");
        assert!(last["failure"].to_string().contains(says), "{tag}: {last}");
        assert_same(&made_of(stack), &good);
        assert_eq!(register.database(), database, "{tag}");
        assert_eq!(register.counted(), counted, "{tag}");
    }
    let logs = format!("{}/projects/*/runs/*/hooks.log", stack.state.display());
    sh(&format!("grep -q 'division by zero' {logs}"));
    // Half of the migration stays, as was said; what is there from before it is the dump of its run.
    assert_eq!(register.migrations().last().unwrap(), "1700000300000_extra");

    // An image that is not there.
    stack.file(
        ".env",
        &format!("{}APP_IMAGE={}/app:none\n", register.settings, stack.name),
    );
    stack
        .rehome("deploy -y")
        .exits(3)
        .says("which the engine does not have");
    assert_same(&made_of(stack), &good);
    assert_eq!(register.database(), database);
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

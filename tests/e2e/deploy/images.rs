//! Where images come from: a registry that is there or not, a build that fails, a disk that is full. As long as the
//! new image is not there, nobody notices anything.

use std::process::{Child, Command, Stdio};

use super::site::{Client, Site, Version, assert_same, id_of, kept, made_of};
use crate::own_engine::OwnEngine;
use crate::stacks::free_port;
use crate::support::{BUSYBOX, Block, sh, try_sh, unique, wait_for};

/// Debian's registry, on a port of the loopback interface: the engine takes that without TLS.
struct Registry {
    process: Child,
    dir: std::path::PathBuf,
    port: u16,
}

impl Registry {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("rehome-e2e-registry-{}", unique()));
        let port = free_port();
        let d = dir.display();
        sh(&format!(
            "mkdir {d} && printf '%s\\n' 'version: 0.1' 'storage: {{ filesystem: {{ rootdirectory: {d}/data }} }}' \
             'http: {{ addr: 127.0.0.1:{port} }}' > {d}/config.yml"
        ));
        let process = Command::new("docker-registry")
            .args(["serve", &format!("{d}/config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .expect("docker-registry starts");
        let registry = Self { process, dir, port };
        wait_for("the registry", || {
            try_sh(&format!("curl -fsS http://127.0.0.1:{port}/v2/"))
                .status
                .success()
        });
        registry
    }

    fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        sh(&format!("rm -rf {}", self.dir.display()));
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// A deployment that fails before anything is replaced: nobody loses a request.
#[track_caller]
fn fails_unnoticed(site: &Site, says: &str) {
    let (before, app) = (made_of(&site.stack), id_of(&site.stack, "app"));
    let client = Client::of(site.port, "/version");
    let run = site.deploy();
    let heard = client.end();
    run.exits(10).says("no service was replaced").says(says);
    assert_eq!((heard.lost, heard.answers.len()), (0, 1), "{heard:?}");
    assert_same(&made_of(&site.stack), &before);
    assert_eq!(id_of(&site.stack, "app"), app);
    assert_eq!(kept(&site.stack), (0, 0));
}

#[test]
fn images_of_a_registry_and_a_registry_that_does_not_have_them_or_is_away() {
    let mut registry = Registry::start();
    let repository = format!("127.0.0.1:{}/NAME/app", registry.port);
    let site = Site::up_from(&repository);
    let stack = &site.stack;
    let repository = repository.replace("NAME", &stack.name);
    let config = stack.read("rehome.yml").replace("pull: false, ", "");
    stack.file("rehome.yml", &config);
    let id = |image: &str| {
        sh(&format!(
            "docker image inspect -f '{{{{.Id}}}}' {repository}:{image}"
        ))
    };
    sh(&format!("docker push -q {repository}:1"));
    let first = id("1");

    // A tag that the registry does not have: and there is another try, because nothing is left open.
    site.wants("2");
    fails_unnoticed(&site, "2");

    // It was pushed meanwhile: the plan cannot know the image, and takes it all the same.
    site.make(&format!("{repository}:2"), Version::default());
    let second = id("2");
    sh(&format!(
        "docker push -q {repository}:2 && docker rmi {repository}:2"
    ));
    let client = Client::of(site.port, "/version");
    site.deploy().exits(0).says("pull the images of app");
    assert_eq!(client.end().answers, ["1", "2"]);
    assert_eq!(id("2"), second);

    // Somebody pushes another image under the same tag, on another machine.
    site.make(
        &format!("{repository}:2"),
        Version {
            starts: "true",
            migrates: "echo third >> /data/migrated",
            ..Version::default()
        },
    );
    let third = id("2");
    assert!(third != second && third != first);
    sh(&format!(
        "docker push -q {repository}:2 && docker tag {second} {repository}:2"
    ));
    let plan = stack.rehome("deploy --dry-run").exits(0);
    assert!(
        plan.out.contains("app    is replaced if there is a new image"),
        "{}",
        plan.out
    );
    site.deploy().exits(0);
    assert_eq!(
        sh(&format!(
            "docker inspect -f '{{{{.Image}}}}' {}",
            id_of(stack, "app")
        )),
        third
    );
    assert_eq!(site.written("migrated"), ["whole 2", "third"]);

    // The registry is away. Whoever has the image can do without.
    registry.stop();
    stack.file(".env", "TAG=2\nCOLOUR=red\n");
    let before = kept(stack);
    let client = Client::of(site.port, "/version");
    let app = id_of(stack, "app");
    site.deploy()
        .exits(10)
        .says("no service was replaced")
        .says("connection refused");
    let heard = client.end();
    assert_eq!(
        (heard.lost, id_of(stack, "app"), kept(stack)),
        (0, app, before),
        "{heard:?}"
    );
    stack.rehome("deploy -y --no-pull").exits(0);
    assert_eq!(stack.exec("app", "sh -c 'echo $COLOUR'"), "red");
}

/// The next version is built, by these lines.
fn builds(site: &Site, lines: &str) {
    let stack = &site.stack;
    let text = stack.read("docker-compose.yml");
    let text = text.replace(
        "  app:\n",
        "  app:\n    build: { context: ., dockerfile: Dockerfile }\n",
    );
    stack.file("docker-compose.yml", &text);
    stack.file("Dockerfile", &format!("FROM {BUSYBOX}\n{lines}\n"));
    stack.file(".dockerignore", "*\n");
    site.wants("2");
}

#[test]
fn a_build_that_fails_is_no_reason_to_go_down_and_one_that_works_is_deployed() {
    let site = Site::up();
    builds(&site, "RUN echo the compiler is unhappy && exit 9");
    fails_unnoticed(&site, "the compiler is unhappy");
    let command = "mkdir -p /www && echo built > /www/version && touch /www/health /tmp/up && exec httpd -f -p 8000 -h /www";
    site.stack.file(
        "Dockerfile",
        &format!("FROM {BUSYBOX}\nENV MIGRATE=true\nCMD [\"sh\", \"-c\", \"{command}\"]\n"),
    );
    let client = Client::of(site.port, "/version");
    site.deploy().exits(0).says("build app");
    assert_eq!(client.end().answers, ["1", "built"]);
}

#[test]
fn a_disk_that_is_full_during_a_build() {
    let block = Block::ext4(700);
    let _engine = OwnEngine::within(&block.root, &[BUSYBOX]);
    let site = Site::up();
    let (before, app) = (made_of(&site.stack), id_of(&site.stack, "app"));
    builds(&site, "RUN dd if=/dev/zero of=/large bs=1M");
    site.deploy()
        .exits(10)
        .says("No space left on device")
        .says("no service was replaced");
    assert_same(&made_of(&site.stack), &before);
    assert_eq!(id_of(&site.stack, "app"), app);
    assert_eq!(site.stack.running(), ["app", "store"]);
}

//! The server keeps to its OpenAPI document, as Schemathesis sees it: requests that fit and requests that do not, one by one
//! and in sequences, and every check that it has. On the engine that all share: no project of it is touched.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::listening::address_of;
use crate::sites::site::full;

const DOCUMENT: &str = include_str!("../../../templates/openapi.json");

/// Where Schemathesis is.
fn installed() -> &'static str {
    static INSTALLED: OnceLock<String> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let told = crate::support::sh(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/schemathesis up"));
        let path = told.strip_prefix("export REHOME_SCHEMATHESIS=");
        path.expect("it says where").to_owned()
    })
}

/// A server with nothing in its state.
struct Bare {
    dir: tempfile::TempDir,
    url: String,
    token: String,
    child: Child,
}

impl Bare {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rehome = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
            command
                .env("DEPLOY_DATA_PATH", dir.path().join("data"))
                .arg("--state-dir")
                .arg(dir.path().join("state"))
                .stdin(Stdio::null());
            command
        };
        let made = rehome()
            .args(["serve", "token", "create", "all", "--scope", "operate"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut child = rehome()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let url = address_of(&mut child);
        Self {
            url,
            token: String::from_utf8(made.stdout).unwrap().trim().to_owned(),
            child,
            dir,
        }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Schemathesis with a document; its last lines say what it found.
    fn judged(&self, document: &Path, arguments: &[&str]) -> Output {
        // No test may take longer than it is worth: after that it counts as failed.
        Command::new("timeout")
            .args(["--kill-after=10", if full() { "3000" } else { "300" }])
            .arg(installed())
            .arg("run")
            .arg(document)
            .args(["--url", &self.url, "--checks", "all", "--no-color"])
            .args(["-H", &format!("Authorization: Bearer {}", self.token)])
            // Longer than the server takes for anything.
            .args(["--request-timeout", "60", "--generation-database", "none"])
            .args(arguments)
            .env("SCHEMATHESIS_HOOKS", "harmless")
            .env(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/schemathesis.d"),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1")
            // It looks for settings in the directory that it is called from, and writes its reports there.
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }

    fn audit(&self) -> Vec<Value> {
        let asked = Command::new("curl")
            .args([
                "-sS",
                "--fail",
                "-H",
                &format!("Authorization: Bearer {}", self.token),
            ])
            .arg(format!("{}/api/audit?limit=1000", self.url))
            .output()
            .unwrap();
        serde_json::from_slice(&asked.stdout).unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The number in front of a word, as in `812 generated`.
fn counted(text: &str, word: &str) -> u32 {
    let words: Vec<&str> = text.split([' ', ',', '\n']).collect();
    let at = words.iter().position(|one| *one == word);
    let at = at.unwrap_or_else(|| panic!("no {word}: {text}"));
    words[at - 1].parse().unwrap()
}

#[test]
fn every_answer_is_one_of_the_document() {
    let server = Bare::start();
    let document = server.file("openapi.json", DOCUMENT);
    // Every day the same requests, so that a failure is one of this change; in a campaign others each time.
    let (seed, examples) = if full() {
        (std::process::id().to_string(), "400")
    } else {
        ("1".to_owned(), "12")
    };
    let judged = server.judged(&document, &["--seed", &seed, "--max-examples", examples]);
    let told = String::from_utf8_lossy(&judged.stdout).into_owned();
    assert!(
        judged.status.success(),
        "seed {seed}\n{told}\n{}",
        String::from_utf8_lossy(&judged.stderr)
    );
    let paths: Value = serde_json::from_str(DOCUMENT).unwrap();
    let operations = paths["paths"].as_object().unwrap().values();
    let operations: usize = operations.map(|path| path.as_object().unwrap().len()).sum();
    assert!(told.contains(&format!("Tested: {operations}\n")), "{told}");
    assert!(counted(&told, "generated") > 500, "{told}");

    // It came as far as the sites themselves, and nothing was run with what it made up.
    let audit = server.audit();
    let outcomes = |method: &str, path: &str, outcome: &str| {
        let is = |line: &&Value| {
            line["what"] == method
                && line["on"].as_str().unwrap().starts_with(path)
                && line["outcome"].as_str().unwrap().starts_with(outcome)
        };
        audit.iter().filter(is).count()
    };
    assert!(outcomes("POST", "/api/sites", "201") > 0, "{told}");
    assert!(outcomes("PATCH", "/api/sites/", "refused") > 0, "{told}");
    assert!(outcomes("DELETE", "/api/sites/", "200") > 0, "{told}");
    assert!(audit.iter().all(|line| line["run"].is_null()));
    assert!(!server.dir.path().join("data").exists());
}

/// What makes a document say something else.
type Lie = dyn Fn(&mut Value);

#[test]
fn what_is_not_as_documented_is_found() {
    let server = Bare::start();
    let plain: Value = serde_json::from_str(DOCUMENT).unwrap();
    let lies: [(&str, &Lie); 3] = [
        ("ST202", &|document| {
            // The server takes at most 1000.
            let schema = "/paths/~1api~1runs/get/parameters/0/schema";
            document.pointer_mut(schema).unwrap()["maximum"] = 100_000.into();
        }),
        ("ST108", &|document| {
            let schema = "/paths/~1api~1runs/get/responses/200/content/application~1json/schema";
            document.pointer_mut(schema).unwrap()["type"] = "string".into();
        }),
        ("ST103", &|document| {
            let responses = "/paths/~1api~1runs/get/responses";
            let responses = document.pointer_mut(responses).unwrap().as_object_mut().unwrap();
            responses.remove("400");
            responses.remove("default");
        }),
    ];
    for (n, (found, lie)) in lies.into_iter().enumerate() {
        let mut document = plain.clone();
        lie(&mut document);
        let document = server.file(&format!("lie-{n}.json"), &document.to_string());
        let judged = server.judged(
            &document,
            &[
                "--seed",
                "1",
                "--max-examples",
                "25",
                "--phases",
                "coverage,fuzzing",
                "--include-path",
                "/api/runs",
            ],
        );
        let told = String::from_utf8_lossy(&judged.stdout).into_owned();
        assert_eq!(judged.status.code(), Some(1), "{n}: {told}");
        assert!(told.contains(found), "{n}: {told}");
    }
}

//! `rehome site` as far as it goes without an engine.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::support::{Said, anywhere, rehome, said};

/// A call with a state directory of its own below `directory`.
fn site(directory: &Path, arguments: &[&str]) -> Said {
    let mut command = rehome(directory);
    command.arg("--state-dir").arg(directory.join("state"));
    said(command.arg("site").args(arguments))
}

fn json_of(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {} {}", said.out, said.err))
}

/// What another program reads in the database of sites.
fn sql(directory: &Path, query: &str) -> String {
    let script = "import sqlite3, sys\nfor row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print(*row, sep='|')";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(directory.join("state/sites.db"))
        .arg(query)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn an_image_is_added_as_a_project_and_known_from_then_on() {
    let dir = tempfile::tempdir().unwrap();
    let add = [
        "add",
        "wiki",
        "--image",
        "wiki:2",
        "--port",
        "8080:3000",
        "--health",
        "/ok",
    ];
    let dry = site(dir.path(), &[&add[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 0, "{}", dry.err);
    assert!(dry.out.contains("\"127.0.0.1:8080:3000\""), "{}", dry.out);
    assert!(!dir.path().join("state").exists(), "a dry run writes nothing");

    assert_eq!(site(dir.path(), &add).code, 0);
    let project = dir.path().join("state/sites/wiki");
    for file in ["docker-compose.yml", "rehome.yml"] {
        let text = std::fs::read_to_string(project.join(file)).unwrap();
        assert!(text.starts_with("# Written by rehome "), "{text}");
    }
    assert_eq!(
        sql(
            dir.path(),
            "SELECT name, kind, image, host_port, port, health, service, storage FROM sites"
        ),
        "wiki|image|wiki:2|8080|3000|/ok|web|off"
    );
    let shown = json_of(&site(dir.path(), &["show", "wiki", "--json"]));
    assert_eq!(
        (
            &shown["kind"],
            &shown["port"],
            &shown["persistent_storage"],
            &shown["data"]
        ),
        (
            &json!("image"),
            &json!({ "host": 8080, "container": 3000 }),
            &json!("off"),
            &Value::Null
        )
    );

    let again = site(dir.path(), &add);
    assert_eq!(again.code, 3);
    assert!(
        again.err.starts_with("error: there is a site wiki already"),
        "{}",
        again.err
    );
    let port = site(
        dir.path(),
        &["add", "chat", "--image", "chat:1", "--port", "8080"],
    );
    assert_eq!(port.code, 3);
    assert!(port.err.contains("site wiki has port 8080"), "{}", port.err);
    let missing = site(dir.path(), &["show", "wikki"]);
    assert_eq!(missing.code, 3);
    assert!(missing.err.contains("did you mean wiki?"), "{}", missing.err);
}

#[test]
fn names_that_would_lead_elsewhere_are_refused_as_usage() {
    let long = "a".repeat(64);
    let very_long = "a".repeat(100_000);
    for name in [
        "../x", "a/b", ".", "..", "", "-x", "Blog", "a.b", "a\nb", "%2e%2e", &long, &very_long,
    ] {
        let said = anywhere(&["site", "add", name, "--image", "x", "--port", "80"]);
        assert_eq!(
            (said.code, said.out.as_str()),
            (2, ""),
            "{name:.80}: {}",
            said.err
        );
    }
}

#[test]
fn a_directory_without_a_project_and_flags_of_another_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("p/inner")).unwrap();
    std::fs::write(
        dir.path().join("p/compose.yaml"),
        "services: { web: { image: x } }\n",
    )
    .unwrap();
    let below = site(dir.path(), &["add", "a", "--project", "p/inner"]);
    assert_eq!(below.code, 3, "{}", below.err);
    assert!(
        below.err.contains("is not the directory of a project"),
        "{}",
        below.err
    );
    let missing = site(dir.path(), &["add", "a", "--project", "nowhere"]);
    assert_eq!(missing.code, 2, "{}", missing.err);
    let flagged = site(dir.path(), &["list", "-f", "p/compose.yaml"]);
    assert_eq!(flagged.code, 2);
    assert!(
        flagged.err.contains("--file says nothing about a site"),
        "{}",
        flagged.err
    );
    assert_eq!(site(dir.path(), &["list"]).out, "no sites\n");
    assert!(!dir.path().join("state").exists(), "to look writes nothing");
}

/// The database of a panel, made by another program.
fn panel(directory: &Path) {
    let script = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE sites (id INTEGER PRIMARY KEY, name TEXT, domain TEXT, persistent_storage BOOLEAN, secret BLOB)")
rows = [("blog", 1), ("shop", 0), ("../etc", 1), ("Upper", 1), ("nul\x00l", 0), ("a" * 64, 0), (None, 1), ("blog", 0)]
db.executemany("INSERT INTO sites (name, domain, persistent_storage, secret) VALUES (?, 'x', ?, x'00')", rows)
db.commit()
"#;
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(directory.join("panel.db"))
        .status()
        .unwrap();
    assert!(made.success());
}

#[test]
fn a_panel_is_taken_over_but_for_names_that_are_not_allowed() {
    let dir = tempfile::tempdir().unwrap();
    panel(dir.path());
    std::fs::create_dir_all(dir.path().join("projects/shop")).unwrap();
    std::fs::write(dir.path().join("projects/shop/compose.yaml"), "services: {}\n").unwrap();
    let before = std::fs::read(dir.path().join("panel.db")).unwrap();

    let import = ["import", "panel.db", "--projects", "projects"];
    let dry = site(dir.path(), &[&import[..], &["--dry-run", "--json"]].concat());
    assert_eq!(dry.code, 3, "{}", dry.err);
    let planned = json_of(&dry);
    assert_eq!(planned["sites"].as_array().unwrap().len(), 2);
    assert_eq!(planned["skipped"].as_array().unwrap().len(), 6);
    assert!(!dir.path().join("state").exists());

    let asked = site(dir.path(), &import);
    assert_eq!(asked.code, 3);
    assert!(
        asked.err.contains("there is no terminal to ask on"),
        "{}",
        asked.err
    );
    assert!(!dir.path().join("state").exists());

    let done = site(dir.path(), &[&import[..], &["-y"]].concat());
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(
        done.err.contains("! \"../etc\" is left out: site name"),
        "{}",
        done.err
    );
    let project = dir.path().canonicalize().unwrap().join("projects/shop");
    assert_eq!(
        sql(
            dir.path(),
            "SELECT name, kind, storage, data, directory FROM sites ORDER BY name"
        ),
        format!(
            "blog|imported|panel|/var/deploy/data/blog|None\nshop|project|off|None|{}",
            project.display()
        )
    );
    assert_eq!(std::fs::read(dir.path().join("panel.db")).unwrap(), before);

    // Once more there is nothing to add, and nothing twice.
    let again = json_of(&site(dir.path(), &[&import[..], &["-y", "--json"]].concat()));
    assert_eq!(again["added"], json!([]));

    // What is forgotten is only forgotten.
    let dry = site(dir.path(), &["remove", "blog", "--dry-run", "--json"]);
    assert_eq!(json_of(&dry)["deletes"], Value::Null);
    assert_eq!(site(dir.path(), &["remove", "blog"]).code, 3, "nobody said yes");
    let gone = site(dir.path(), &["remove", "blog", "-y"]);
    assert_eq!(
        (gone.code, gone.out.as_str()),
        (
            0,
            "site blog is forgotten; its data stays in /var/deploy/data/blog\n"
        )
    );
    assert_eq!(sql(dir.path(), "SELECT name FROM sites"), "shop");
}

#[test]
fn a_file_that_is_no_panel_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("panel.db"),
        "name,persistent_storage\n".repeat(400),
    )
    .unwrap();
    let said = site(dir.path(), &["import", "panel.db", "-y"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("file is not a database"), "{}", said.err);
    assert_eq!(site(dir.path(), &["import", "missing.db", "-y"]).code, 1);
    assert!(!dir.path().join("missing.db").exists());
}

//! Five hundred sites: the list waits for no directory, and says of when its sizes are.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Server, command};

const SITES: usize = 500;

/// A panel's database with so many sites, and a directory of each with three files.
fn panel(root: &Path, file: &Path) {
    for n in 0..SITES {
        let directory = root.join(format!("s{n}")).join("below");
        std::fs::create_dir_all(&directory).unwrap();
        for (at, bytes) in [("../a", n), ("b", 5000), ("c", 0)] {
            std::fs::write(directory.join(at), vec![b'x'; bytes]).unwrap();
        }
    }
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute('CREATE TABLE sites (name TEXT, persistent_storage BOOLEAN)')\ndb.executemany('INSERT INTO sites VALUES (?, 1)', [(f's{n}',) for n in range(int(sys.argv[2]))])\ndb.commit()";
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .arg(SITES.to_string())
        .status();
    assert!(made.unwrap().success());
}

fn list(server: &Server) -> Vec<Value> {
    let list = server.with(&server.read, &[], "/api/sites").is(200).json();
    let list = list.as_array().unwrap().clone();
    assert_eq!(list.len(), SITES);
    list
}

/// Asks until every site was measured.
fn measured(server: &Server) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let list = list(server);
        if list.iter().all(|site| !site["measured_at"].is_null()) {
            return list;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
    }
}

/// What other programs say of a directory: bytes on the disk without its own, and files.
fn by_others(directory: &Path) -> (u64, u64) {
    let text = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .arg(directory)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let all = text("du", &["-s", "-B1"]);
    let all: u64 = all.split_whitespace().next().unwrap().parse().unwrap();
    let found = Command::new("find")
        .arg(directory)
        .args(["!", "-type", "d"])
        .output()
        .unwrap();
    let files = found.stdout.iter().filter(|byte| **byte == b'\n').count();
    (all - directory.metadata().unwrap().blocks() * 512, files as u64)
}

#[test]
fn five_hundred_sites_are_listed_as_they_were_measured() {
    let server = Server::start();
    let root = server.dir.path().join("data");
    let file = server.dir.path().join("panel.db");
    panel(&root, &file);
    let imported = command(&server.state())
        .env("DEPLOY_DATA_PATH", &root)
        .args(["site", "import", "-y"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");

    let first = list(&server);
    assert!(
        first
            .iter()
            .all(|site| site["measured_at"].is_null() && site["measured"].is_null()),
        "nobody waited for a directory"
    );
    let known = measured(&server);
    for site in known.iter().step_by(50) {
        let directory = Path::new(site["data"].as_str().unwrap());
        let found = &site["measured"];
        assert_eq!(
            (found["bytes"].as_u64().unwrap(), found["files"].as_u64().unwrap()),
            by_others(directory),
            "{site}"
        );
    }

    // It is told again, with its time, and nothing is measured for it: a new file is not in it.
    std::fs::write(root.join("s7/new"), "x").unwrap();
    assert_eq!(list(&server), known);
    // By itself a site is measured now, and the list knows it from then on.
    let live = server.with(&server.read, &[], "/api/sites/s7").is(200).json();
    assert_eq!(live["measured"]["files"], 4);
    let now = list(&server);
    for (before, now) in known.iter().zip(&now) {
        let expected = if before["name"] == "s7" { &live } else { before };
        assert_eq!(now, expected);
    }
    assert_ne!(live["measured_at"], known[0]["measured_at"]);

    // The command line measures each time, and finds the same.
    let listed = server.rehome(&["site", "list", "--json"], "");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let without_time = now.into_iter().map(|mut site| {
        site.as_object_mut().unwrap().remove("measured_at");
        site
    });
    assert_eq!(listed, Value::Array(without_time.collect()));
}

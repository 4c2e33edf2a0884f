//! The disk of the state directory is full: a switch says so, and the site is as it was.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Server, added};
use crate::support::sh;

/// Becomes a server whose state directory is a small disk of its own, with what was in it before.
fn on_a_small_disk(state: &Path) -> Vec<String> {
    let script = "small=$(mktemp -d); mount -t tmpfs -o size=8m none $small; cp -a \"$0\"/. $small/; mount --bind $small \"$0\"; exec \"$@\"";
    let words = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "bash",
        "-euc",
        script,
    ];
    let state = state.to_str().expect("ASCII").to_owned();
    words.into_iter().map(str::to_owned).chain([state]).collect()
}

#[test]
fn a_full_disk_is_said_and_nothing_is_half_done() {
    let site = added();
    let server = Server::start_under(&on_a_small_disk(&site.stack.state), &site, &[]);
    // As the server sees it.
    let state = PathBuf::from(format!(
        "/proc/{}/root{}",
        server.child.id(),
        site.stack.state.display()
    ));
    let filler = state.join("filler");
    let fill = |left: u32| {
        sh(&format!(
            "free() {{ stat -f -c '%a %S' {s} | awk '{{ print int($1 * $2 / 1024) }}'; }}; rm -f {f}; \
             head -c $(( ($(free) - {left}) * 1024 )) /dev/zero >{f} 2>/dev/null || true; \
             [ $(free) -le {left} ]",
            f = filler.display(),
            s = state.display()
        ));
    };
    let looks = || {
        let there = site.stack.dir.join("docker-compose.site.yml").exists();
        (site.container(), site.dotenv(), there, site.data().exists())
    };
    let mut refused = 0;
    // A journal has its room before the run begins: a megabyte.
    for left in [0, 8, 16, 64, 512, 1020, 1040, 1100, 1300, 2000] {
        fill(left);
        let before = looks();
        let (status, answer) = server.switch(&site, true);
        if status == 202 {
            // It had begun: then it says by itself how it ended.
            let run = answer["run"].as_str().expect("an id");
            let end = server.events(run).pop().expect("an end");
            if end["outcome"] == "done" {
                std::fs::remove_file(&filler).unwrap();
                let (status, began) = server.switch(&site, false);
                assert_eq!(status, 202, "{left}: {began}");
                server.to_its_end(began["run"].as_str().expect("an id"), "done");
                break;
            }
            assert_eq!(end["event"], "finished", "{left}: {end}");
            std::fs::remove_file(&filler).unwrap();
            if end["outcome"] != "rolled_back" {
                let (status, text) = server.ask("POST", &format!("/api/runs/{run}/rollback"), "");
                assert_eq!(status, 202, "{left}: {end} {text}");
                server.events(run);
            }
        } else {
            refused += 1;
            assert!([500, 503].contains(&status), "{left}: {status} {answer}");
            assert!(
                answer["title"].is_string() && answer["type"].is_string(),
                "{answer}"
            );
            assert_eq!(looks(), before, "{left}: {answer}");
        }
        let now = looks();
        assert_eq!((&now.1, now.2), (&before.1, before.2), "{left}: {answer}");
        // A container that was up for a moment wrote there: that is kept.
        assert_eq!(now.3, site.data().join("notes.db").exists(), "{left}: {answer}");
    }
    assert!(refused > 0);
    // With room again all of it works, and the audit has what happened since.
    if filler.exists() {
        std::fs::remove_file(&filler).unwrap();
    }
    let (status, began) = server.switch(&site, true);
    assert_eq!(status, 202, "{began}");
    server.to_its_end(began["run"].as_str().expect("an id"), "done");
    assert!(site.data().join("notes.db").exists());
    let audit: Value = serde_json::from_str(&server.ask("GET", "/api/audit", "").1).expect("JSON");
    assert_eq!(audit[0]["outcome"], "done", "{audit}");
}

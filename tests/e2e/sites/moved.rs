//! The data of a site moves to another root, under a writer, and back; a failure and a crash leave it where it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::crash::points;
use super::site::{Site, Writer};
use crate::support::{Block, sh, wait_for};

fn enabled() -> Site {
    let site = Site::up();
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    site.enable().exits(0);
    site
}

/// Its container has this directory, and the database of sites says so.
#[track_caller]
fn lives(site: &Site, data: &Path, after: &str) {
    let mounted = sh(&format!(
        "docker inspect -f '{{{{range .Mounts}}}}{{{{.Source}}}} {{{{.Destination}}}};{{{{end}}}}' {}",
        site.container()
    ));
    assert_eq!(mounted, format!("{} /data;", data.display()), "{after}");
    let shown = site.rehome(&format!("site show {} --json", site.name())).exits(0);
    assert_eq!(shown.json()["data"], data.to_str().unwrap(), "{after}");
    wait_for("the site", || site.note(after).is_some());
}

fn command(site: &Site, root: &Path) -> String {
    format!("site move {} --to {}", site.name(), root.display())
}

#[test]
fn it_moves_onto_a_block_volume_under_a_writer_and_back() {
    let block = Block::by_rehome(300);
    let root = block.root.join("sites");
    let site = enabled();
    let writer = Writer::start(&site);
    writer.goes_on(50);
    site.rehome(&format!("{} -y", command(&site, &root)))
        .exits(3)
        .says("there is no directory");
    std::fs::create_dir(&root).unwrap();
    let (old, new) = (site.data(), root.join(site.name()));
    let owner = |dir: &Path| sh(&format!("stat -c '%u:%g %a' {}", dir.display()));
    let before = owner(&old);
    site.rehome(&format!("{} -y", command(&site, &root)))
        .exits(0)
        .says(&format!("The data of {} is in {}", site.name(), new.display()))
        .says(&format!("data_root: {} ", root.display()))
        .says("web was down for ")
        .says("content (BLAKE3)");
    lives(&site, &new, "moved");
    assert_eq!(owner(&new), before);
    assert!(old.join("notes.db").exists(), "what it was moved from stays");
    writer.goes_on(50);
    // A snapshot of the volume has it.
    site.rehome("backup freeze --limit 20s -- true")
        .exits(0)
        .says(&format!("with the data of site.{}", site.name()));
    // A deployment and a plain `up` keep it.
    site.stack.file(".env", &format!("{}VERSION=2\n", site.dotenv()));
    site.rehome("deploy -y").exits(0);
    lives(&site, &new, "deployed");
    site.stack.compose("up -d --wait");
    lives(&site, &new, "up again");
    // Back: what is there is never written over.
    site.rehome(&format!("{} -y", command(&site, &site.root())))
        .exits(3)
        .says("is there, and not empty");
    std::fs::rename(&old, old.with_extension("old")).unwrap();
    let back = site
        .rehome(&format!("{} -y", command(&site, &site.root())))
        .exits(0);
    assert!(
        !back.err.contains("data_root"),
        "it says so already: {}",
        back.err
    );
    lives(&site, &old, "back");
    writer.goes_on(50);
    let acknowledged = writer.end();
    assert_eq!(site.integrity(), "ok");
    let notes = site.notes();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|note| !notes.contains(*note))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    // What is left is the spare of the deployment, which would bring back what that replaced.
    let left = |more: &str| {
        let project = format!("--filter label=rehome.project={}", site.name());
        sh(&format!("docker ps -aq {project} {more}"))
    };
    assert_eq!(left(""), left("--filter label=rehome.spare"));
}

#[test]
fn a_failure_leaves_it_where_it_was_and_keeps_what_was_written_meanwhile() {
    let site = enabled();
    let root = site.root().with_file_name("other");
    std::fs::create_dir(&root).unwrap();
    site.stack.file(
        "rehome.yml",
        "version: 1\nchecks: [ { service: web, http: 'http://localhost:3000/health', status: 404, within: 5s } ]\n",
    );
    let writer = Writer::start(&site);
    writer.goes_on(50);
    site.rehome(&format!("{} -y", command(&site, &root)))
        .exits(10)
        .says("was rolled back");
    writer.goes_on(20);
    let acknowledged = writer.end();
    lives(&site, &site.data(), "after the way back");
    // What was written while it ran on the copy is beside it, and nothing is lost.
    let kept: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].display().to_string().contains(".kept-"), "{kept:?}");
    let all: BTreeSet<String> = &site.notes() | &site.notes_in(&kept[0]);
    let lost: Vec<_> = acknowledged.iter().filter(|note| !all.contains(*note)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(site.integrity(), "ok");
    site.stack.assert_tidy();
}

#[test]
fn killed_on_the_way() {
    let site = enabled();
    let note = site.note("from before").expect("acknowledged");
    let (mut here, mut there) = (site.root(), site.root().with_file_name("other"));
    std::fs::create_dir(&there).unwrap();
    let plan = site.rehome(&format!("{} --dry-run --json", command(&site, &there)));
    let steps = plan.exits(0).json()["steps"].as_array().expect("steps").len();
    for (n, (step, point)) in points(steps).into_iter().enumerate() {
        let line = command(&site, &there);
        let died = site.rehome_env(&format!("{line} -y"), &[("REHOME_CRASH_AT", &point)]);
        assert_eq!(died.code, -1, "{point}: {}", died.err);
        site.rehome(&format!("{line} -y"))
            .exits(3)
            .says("is not finished");
        let back = n % 2 == 0;
        let (recovery, dies_at) = match back {
            true => ("rollback -y", format!("after-undo:{}", n % (step + 1))),
            false => ("resume", format!("after-apply:{}", step + 1)),
        };
        let told = format!("killed at {point}, {recovery} at {dies_at}");
        let died = site.rehome_env(recovery, &[("REHOME_CRASH_AT", &dies_at)]);
        match died.code {
            0 => {}
            -1 => drop(site.rehome(recovery).exits(0)),
            code => panic!("{told}: {code}\n{}", died.err),
        }
        let (now, other) = if back { (&here, &there) } else { (&there, &here) };
        let data = now.join(site.name());
        lives(&site, &data, &told);
        assert!(site.notes_in(&data).contains(&note), "{told}");
        site.stack.assert_tidy();
        // What it left in the other place is for a person to look at.
        sh(&format!("rm -rf {o} && mkdir {o}", o = other.display()));
        if !back {
            std::mem::swap(&mut here, &mut there);
        }
    }
}

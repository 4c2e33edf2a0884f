//! `rehome deploy` on the real engine, with a client that asks all the time and counts what it lost.

mod crash;
mod examples;
mod images;
mod rolling;
pub mod site;

use std::time::Duration;

use self::site::{Client, Site, Version, assert_same, finished, id_of, kept, made_of};
use crate::stacks::postgres_up;
use crate::support::sh;
use crate::watched::Watched;

/// What a client may wait beyond the downtime that is reported: until the web server listens, and on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn trap_31_a_good_deployment_replaces_what_changed_and_nothing_else() {
    let site = Site::up();
    let (stack, before) = (&site.stack, made_of(&site.stack));
    let (store, app) = (id_of(stack, "store"), id_of(stack, "app"));
    let log = site.written("log");
    site.next("2", Version::default());

    let plan = stack.rehome("deploy --dry-run").exits(0);
    for line in [
        format!(
            "app    is replaced: image ({0}/app:1 → {0}/app:2), environment.COLOUR",
            stack.name
        ),
        "once   is replaced: environment.COLOUR".to_owned(),
        "side   was stopped, and stays stopped".to_owned(),
        "store  does not change".to_owned(),
        "Going back does not undo: run in app".to_owned(),
    ] {
        assert!(plan.out.contains(&line), "{line:?} is not in\n{}", plan.out);
    }
    assert_same(&made_of(stack), &before);

    let client = Client::of(site.port, "/version");
    let run = stack.rehome("deploy -y --json").exits(0);
    let heard = client.end();
    let last = finished(&run, "done");
    assert_eq!(heard.answers, ["1", "2"], "{heard:?}");
    assert!(heard.gaps.len() <= 1, "{heard:?}");
    let down = Duration::from_millis(last["report"]["downtime_millis"].as_u64().unwrap());
    let longest = heard.gaps.iter().max().copied().unwrap_or_default();
    assert!(longest <= down + SLACK, "{heard:?} and {down:?}");

    // The service that ends ran once more, the one that somebody stopped did not, the store went on.
    assert_eq!(site.written("once"), ["ran", "ran"]);
    assert_eq!(site.written("migrated"), ["whole 2"]);
    assert_eq!(stack.running(), ["app", "store"]);
    assert_eq!(id_of(stack, "store"), store);
    assert!(site.written("log").starts_with(&log));
    assert_ne!(id_of(stack, "app"), app);
    // What it replaced is kept: two containers, and the image of each has a tag that no prune takes.
    assert_eq!(kept(stack), (2, 2));

    // Once more: nothing has changed, so nothing is replaced and nobody loses anything.
    let app = id_of(stack, "app");
    let client = Client::of(site.port, "/version");
    site.deploy().exits(0);
    let heard = client.end();
    assert_eq!((heard.lost, id_of(stack, "app")), (0, app), "{heard:?}");
}

#[test]
fn trap_35_a_finished_deployment_is_taken_back_by_hand_and_that_again() {
    let site = Site::up();
    let (stack, first) = (&site.stack, made_of(&site.stack));
    site.next("2", Version::default());
    let run = stack.rehome("deploy -y --json").exits(0);
    let run = finished(&run, "done")["run"].as_str().unwrap().to_owned();
    let second = made_of(stack);
    assert_ne!(first, second);
    // As a nightly job does, though only to the images of this test: the tag of the old version goes.
    sh(&format!("docker rmi {}/app:1", stack.name));

    let client = Client::of(site.port, "/version");
    let back = stack.rehome(&format!("rollback {run} -y --json")).exits(0);
    let heard = client.end();
    let back = finished(&back, "done")["run"].as_str().unwrap().to_owned();
    assert_same(&made_of(stack), &first);
    assert_eq!(heard.answers, ["2", "1"], "{heard:?}");
    assert!(heard.gaps.len() <= 1, "{heard:?}");

    stack.rehome(&format!("rollback {back} -y")).exits(0);
    assert_same(&made_of(stack), &second);
    // A rollback migrates nothing, and does not wake what was stopped.
    assert_eq!(site.written("migrated"), ["whole 2"]);
    assert_eq!(stack.running(), ["app", "store"]);
}

/// A deployment that fails: everything is as before, and nobody calls it a success (trap 36).
#[track_caller]
fn goes_back(site: &Site, heard: &[&str], says: &[&str]) {
    let stack = &site.stack;
    let (before, log) = (made_of(stack), site.written("log"));
    let store = id_of(stack, "store");
    let client = Client::of(site.port, "/version");
    let mut run = site.deploy().exits(10);
    let listened = client.end();
    for words in says {
        run = run.says(words);
    }
    run = run.says("was rolled back");
    assert!(!run.err.contains("is deployed"), "{}", run.err);
    assert_eq!(listened.answers, heard, "{listened:?}");
    assert_same(&made_of(stack), &before);
    assert_eq!(id_of(stack, "store"), store);
    assert!(site.written("log").starts_with(&log));
    assert_eq!(
        kept(stack),
        (0, 0),
        "of a run that was taken back nothing is kept"
    );
    let history = stack.rehome("history --json").exits(0);
    assert!(history.out.contains("rolled_back"), "{}", history.out);
    assert!(!history.out.contains("\"done\""), "{}", history.out);
}

#[test]
fn trap_30_an_image_that_crash_loops_goes_back() {
    let site = Site::up();
    let starts = "echo the setting is missing >&2; exit 3";
    site.next(
        "2",
        Version {
            starts,
            ..Version::default()
        },
    );
    goes_back(&site, &["1"], &["service `app`", "the setting is missing"]);
    // The same files again fail again; with a version that works it goes through.
    site.next("3", Version::default());
    site.deploy().exits(0);
    assert_eq!(site.written("migrated"), ["whole 3"]);
}

#[test]
fn trap_30_an_image_that_ends_after_it_was_healthy_goes_back() {
    let site = Site::up();
    // Healthy for a moment each time, and again and again.
    let starts = "touch /tmp/up; sleep 2; echo out of luck >&2; exit 4";
    site.next(
        "2",
        Version {
            starts,
            ..Version::default()
        },
    );
    let config = site.stack.read("rehome.yml").replace("stable: 1s", "stable: 4s");
    // Neither hook nor check, which would find it by themselves.
    let config: String = config
        .lines()
        .filter(|line| !line.starts_with("hooks") && !line.starts_with("checks"))
        .map(|line| format!("{line}\n"))
        .collect();
    site.stack.file("rehome.yml", &config);
    goes_back(&site, &["1"], &["service `app`", "out of luck"]);
}

#[test]
fn trap_36_an_image_that_is_healthy_and_then_fails_the_check_goes_back() {
    let site = Site::up();
    site.next(
        "2",
        Version {
            unwell: true,
            ..Version::default()
        },
    );
    goes_back(
        &site,
        &["1", "2", "1"],
        &[
            "did not answer 200",
            "it answered 404",
            "Going back did not undo: run in app",
        ],
    );
}

#[test]
fn trap_36_a_migration_that_fails_half_way_goes_back_and_says_what_stays() {
    let site = Site::up();
    // As long as it takes, the new version is served.
    let migrates = "echo half >> /data/migrated; sleep 1; echo no such table >&2; exit 7";
    site.next(
        "2",
        Version {
            migrates,
            ..Version::default()
        },
    );
    goes_back(
        &site,
        &["1", "2", "1"],
        &[
            "exit code 7",
            "no such table",
            "Going back did not undo: run in app",
        ],
    );
    assert_eq!(site.written("migrated"), ["half"]);
}

#[test]
fn an_image_that_is_not_there_is_no_reason_to_go_down() {
    let site = Site::up();
    let before = made_of(&site.stack);
    site.wants("never-made");
    let client = Client::of(site.port, "/version");
    let run = site.deploy();
    let heard = client.end();
    run.exits(3)
        .says("service `app` needs image")
        .says(":never-made, which the engine does not have")
        .says("this deployment does not pull it");
    assert_eq!((heard.lost, heard.answers.len()), (0, 1), "{heard:?}");
    assert_same(&made_of(&site.stack), &before);
}

#[test]
fn two_deployments_at_once() {
    let site = Site::up();
    site.next(
        "2",
        Version {
            migrates: "sleep 3",
            ..Version::default()
        },
    );
    let mut first = Watched::start(&site.stack, "deploy -y");
    first.until("step_started");
    let second = site.deploy();
    assert_eq!(second.code, 3, "{}", second.err);
    second.says("another process is working on this project");
    let first = first.end();
    assert_eq!(first.code, 0, "{}", first.err);
    finished(&first, "done");
}

#[test]
fn trap_02_a_volume_that_would_come_up_elsewhere_is_refused() {
    let site = Site::up();
    let before = made_of(&site.stack);
    let text = site.stack.read("docker-compose.yml");
    let other = "volumes:\n  data:\n    driver_opts: { type: none, o: bind, device: /srv }\n";
    site.stack
        .file("docker-compose.yml", &text.replace("volumes:\n  data:\n", other));
    site.deploy()
        .exits(3)
        .says("would come up with other data than it has now")
        .says("nothing was changed");
    // The same under another name.
    let other = "volumes:\n  data: { name: NAME_other }\n";
    site.stack
        .file("docker-compose.yml", &text.replace("volumes:\n  data:\n", other));
    site.deploy().exits(3).says("would come up with other data");
    assert_same(&made_of(&site.stack), &before);
}

#[test]
fn trap_24_the_dump_is_made_by_the_servers_own_pg_dump() {
    let stack = postgres_up();
    // A client of another age on this machine, first in the search path: whoever takes it fails.
    let bin = stack.dir.join("bin");
    sh(&format!(
        "mkdir {b} && for p in pg_dump pg_dumpall pg_restore psql; do \
         printf '#!/bin/sh\\necho $0 >> {b}/called\\nexit 1\\n' > {b}/$p; chmod 755 {b}/$p; done",
        b = bin.display()
    ));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let text = stack.read("docker-compose.yml");
    stack.file(
        "docker-compose.yml",
        &text.replace("[\"sleep\", \"1000000\"]", "[\"sleep\", \"2000000\"]"),
    );
    stack.file("rehome.yml", "version: 1\ndeploy: { pull: false, stable: 1s }\n");
    let identity = "psql -tAX -U app -d app -c 'select system_identifier from pg_control_system()'";
    let before = (stack.exec("db", identity), id_of(&stack, "db"));
    stack
        .rehome_env("deploy -y", &[("PATH", path.as_str())])
        .exits(0)
        .says("read back");
    assert!(!bin.join("called").exists(), "{}", stack.read("bin/called"));
    assert_eq!((stack.exec("db", identity), id_of(&stack, "db")), before);

    // Read by the server's own program, inside of it; restored, it is the same table.
    let dump = sh(&format!(
        "ls {}/projects/*/runs/*/dumps/db/*app*",
        stack.state.display()
    ));
    let db = &before.1;
    sh(&format!("docker cp {dump} {db}:/tmp/app.dump"));
    let list = stack.exec("db", "pg_restore -l /tmp/app.dump");
    let version = stack.exec("db", "psql -tAX -U app -d app -c 'show server_version'");
    let short = version.split_whitespace().next().unwrap();
    assert!(
        list.contains(&format!("Dumped by pg_dump version: {short}")),
        "{list}"
    );
    let sum = "select count(*), md5(string_agg(id || v, ',' order by id)) from t";
    let ask = |database: &str| stack.exec("db", &format!("psql -tAX -U app -d {database} -c \"{sum}\""));
    stack.exec("db", "createdb -U app restored");
    stack.exec(
        "db",
        "pg_restore -U app -d restored --exit-on-error /tmp/app.dump",
    );
    assert_eq!(ask("restored"), ask("app"));
    let mode = sh(&format!("stat -c %a {dump}"));
    assert_eq!(mode, "600", "a dump is for nobody else");
}

/// Crashes after the new containers are up, before anything else was looked at.
fn dies_after_the_swap(site: &Site) {
    let died = site
        .stack
        .rehome_env("deploy -y", &[("REHOME_CRASH_AT", "after-apply:0")]);
    assert_eq!(died.code, -1, "{}", died.err);
}

#[test]
fn trap_35_the_old_image_that_somebody_removed_meanwhile() {
    let site = Site::up();
    let (stack, before) = (&site.stack, made_of(&site.stack));
    let old = sh(&format!(
        "docker image inspect -f '{{{{.Id}}}}' {}/app:1",
        stack.name
    ));
    let tar = stack.dir.join("old.tar");
    sh(&format!("docker save -o {} {}/app:1", tar.display(), stack.name));
    site.next("2", Version::default());

    // Only its name: the way back needs none.
    dies_after_the_swap(&site);
    sh(&format!("docker rmi {}/app:1", stack.name));
    stack.rehome("rollback").exits(0);
    assert_same(&made_of(stack), &before);

    // All of it, by force: no way back, and that is said before anything is taken away.
    dies_after_the_swap(&site);
    let new = made_of(stack);
    sh(&format!("docker rmi -f {old}"));
    stack
        .rehome("rollback")
        .exits(12)
        .says("service `app` cannot go back")
        .says("somebody removed it meanwhile")
        .says("its new container was left as it is");
    assert_same(&made_of(stack), &new);
    // With the image back, so is the way.
    sh(&format!("docker load -q -i {}", tar.display()));
    stack.rehome("rollback").exits(0);
    assert_same(&made_of(stack), &before);
}

#[test]
fn trap_35_the_spare_that_somebody_removed_meanwhile() {
    let site = Site::up();
    let (stack, shape) = (&site.stack, site.stack.shape());
    site.next("2", Version::default());
    dies_after_the_swap(&site);
    let new = made_of(stack);
    sh(&format!(
        "docker rm $(docker ps -aq --filter label=rehome.spare --filter label=rehome.project={})",
        stack.name
    ));
    stack
        .rehome("rollback")
        .exits(12)
        .says("cannot go back")
        .says("the spare of container")
        .says("somebody removed it meanwhile")
        .says("up -d --force-recreate once");
    // What runs is left alone, and the run stays open.
    assert_same(&made_of(stack), &new);
    site.deploy().exits(3).says("is not finished");
    // By hand, as the hint says: then the run is over.
    stack.file(".env", "TAG=1\n");
    stack.compose("up -d --force-recreate app once");
    stack.rehome("rollback").exits(0);
    assert_eq!(stack.shape(), shape);
}

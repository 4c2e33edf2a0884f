//! The directory of a site in a backup, as a volume is: taken while the site writes, proven, and given back. Judged by the
//! `sqlite3` of Debian, by GNU tar, and by what the site had acknowledged.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::site::{Site, Writer};
use crate::support::{sh, tree, try_sh};

fn enabled() -> (Site, PathBuf) {
    let site = Site::up();
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    site.enable().exits(0);
    let to = site.stack.state.with_file_name("backups");
    (site, to)
}

/// The only backup in a place: its directory.
fn the_backup(to: &Path) -> PathBuf {
    let found = sh(&format!("ls -d {}/*/2*", to.display()));
    assert_eq!(found.lines().count(), 1, "{found}");
    found.into()
}

/// What the `sqlite3` of the system reads in a database.
fn sqlite(file: &Path, query: &str) -> String {
    sh(&format!("sqlite3 -readonly {} '{query}'", file.display()))
}

fn has_all(file: &Path, before: &[String]) {
    assert_eq!(sqlite(file, "PRAGMA integrity_check"), "ok");
    let there = sqlite(file, "SELECT text FROM notes");
    let there: BTreeSet<&str> = there.lines().collect();
    let lost: Vec<_> = before
        .iter()
        .filter(|note| !there.contains(note.as_str()))
        .collect();
    assert!(lost.is_empty(), "of {} notes are lost: {lost:?}", before.len());
}

/// How a directory is, but for what the site has in it.
fn root_of(dir: &Path) -> String {
    sh(&format!("stat -c '%u:%g %a' {}", dir.display()))
}

#[test]
fn a_site_that_writes_is_backed_up_and_every_row_acknowledged_before_comes_back() {
    let (site, to) = enabled();
    let (data, name) = (site.data(), site.name().to_owned());
    // Not SQLite's, and with more to lose than bytes.
    sh(&format!(
        "cd {d} && mkdir -m 2770 uploads && echo photo >uploads/a.jpg && chown -R 10001:33 uploads && chmod 640 uploads/a.jpg \
         && ln uploads/a.jpg uploads/b.jpg && ln -s /etc/passwd uploads/link && setfattr -n user.who -v me uploads/a.jpg",
        d = data.display()
    ));
    let uploads = tree(&data.join("uploads"));
    let neighbour = site.root().join("neighbour");
    std::fs::create_dir(&neighbour).unwrap();
    std::fs::write(neighbour.join("file"), "theirs").unwrap();

    let writer = Writer::start(&site);
    writer.goes_on(50);
    let container = (
        site.container(),
        sh(&format!(
            "docker inspect -f '{{{{.State.StartedAt}}}}' {}",
            site.container()
        )),
    );
    let plan = site
        .rehome(&format!("backup create --to {} --dry-run", to.display()))
        .exits(0)
        .out;
    assert!(plan.contains(&format!("notes.db in site.{name}")), "{plan}");
    assert!(plan.contains(&format!("\n  site.{name} ")), "{plan}");
    let before = writer.acknowledged();
    assert!(before.len() >= 50);
    site.rehome(&format!("backup create --to {}", to.display()))
        .exits(0);
    writer.goes_on(20);
    let after = sh(&format!(
        "docker inspect -f '{{{{.State.StartedAt}}}}' {}",
        site.container()
    ));
    assert_eq!((site.container(), after), container, "it went on meanwhile");
    // A volume of that name would be empty, and nobody's.
    assert!(!sh("docker volume ls -q").contains(&format!("site.{name}")));

    // What is in it, without Rehome.
    let backup = the_backup(&to);
    let copy = site.stack.state.with_file_name("copy.db");
    sh(&format!(
        "zstd -qdfo {} {}/databases/site.{name}/notes%2edb.sqlite.zst",
        copy.display(),
        backup.display()
    ));
    has_all(&copy, &before);
    let listed = sh(&format!(
        "zstd -dc {}/volumes/site.{name}.tar.zst | tar -tv --numeric-owner",
        backup.display()
    ));
    assert!(listed.contains("drwxr-x--- 10001/10001"), "{listed}");
    assert!(!listed.contains("neighbour"), "{listed}");

    site.rehome(&format!("backup verify --drill --from {}", to.display()))
        .exits(0)
        .says(&format!("site {name}"));
    let list = site
        .rehome(&format!("backup list --from {}", to.display()))
        .exits(0);
    assert!(list.out.contains(&format!("site.{name}")), "{}", list.out);

    // The site says where its data is, and in which backup.
    let told = site.rehome(&format!("site show {name} --json")).exits(0).json();
    let id = backup.file_name().unwrap().to_str().unwrap();
    assert_eq!(told["backups"][0]["id"], id, "{told}");
    assert_eq!(told["backups"][0]["places"][0], to.to_str().unwrap());
    assert!(told["backups"][0]["verified"].is_string(), "{told}");
    let told = site.rehome(&format!("site show {name}")).exits(0).out;
    assert!(told.contains(&format!("backup: {id}, ")), "{told}");
    let status = site.rehome("status").exits(0).out;
    let said = format!("Site {name}: storage on, {}, ", data.display());
    assert!(status.contains(&said) && status.contains(" min ago"), "{status}");
    let findings = || {
        let found = site.rehome("doctor --json").json();
        let found = found["findings"].as_array().unwrap().iter();
        let ids = found.map(|finding| finding["id"].as_str().unwrap().to_owned());
        ids.filter(|id| id.starts_with("site-")).collect::<Vec<_>>()
    };
    assert_eq!(findings(), [""; 0]);

    let acknowledged = writer.end();
    assert!(acknowledged.len() > before.len());
    sh(&format!("rm -rf {}", data.display()));
    assert_eq!(findings(), ["site-data-missing"]);
    site.rehome(&format!("backup create --to {}", to.display()))
        .exits(3)
        .says("is not there");
    // As the doctor says it.
    site.rehome(&format!(
        "backup restore --only site.{name} --from {} -y",
        to.display()
    ))
    .exits(0);
    site.is(true);
    has_all(&data.join("notes.db"), &before);
    assert_eq!(root_of(&data), "10001:10001 750");
    assert_eq!(tree(&data.join("uploads")), uploads);
    assert_eq!(std::fs::read_to_string(neighbour.join("file")).unwrap(), "theirs");
    assert_eq!(
        std::fs::read_dir(site.root()).unwrap().count(),
        2,
        "nothing else is left"
    );
    // The site goes on with what it got back.
    let note = site.note("after all of it").unwrap();
    assert!(site.notes().contains(&note));
    site.stack.assert_tidy();
}

#[test]
fn what_a_restore_replaces_stays_beside_it_and_a_failed_one_goes_back() {
    let (site, to) = enabled();
    let name = site.name().to_owned();
    let old = site.note("before the backup").unwrap();
    let create = format!("backup create --to {}", to.display());
    site.rehome(&create).exits(0);
    let new = site.note("after the backup").unwrap();
    let restore = format!("backup restore --from {} -y", to.display());

    // It comes up with the data of the backup, and what must answer does not: all of it goes back.
    site.stack.file(
        "rehome.yml",
        "version: 1\nchecks:\n  - { service: web, http: 'http://localhost:3000/', body: 'nobody wrote this', within: 5s }\n",
    );
    site.rehome(&format!("{restore} --no-safety-backup")).exits(10);
    site.is(true);
    assert!(site.notes().contains(&new) && site.notes().contains(&old));
    assert_eq!(
        std::fs::read_dir(site.root()).unwrap().count(),
        1,
        "what was restored is gone"
    );
    site.stack.file("rehome.yml", "version: 1\n");

    let id = the_backup(&to);
    let id = id.file_name().unwrap().to_str().unwrap();
    site.rehome(&format!("backup restore {id} --from {} -y", to.display()))
        .exits(0)
        .says("replaces");
    site.is(true);
    assert!(site.notes().contains(&old) && !site.notes().contains(&new));
    let kept = sh(&format!("ls -d {}/{name}.before-*", site.root().display()));
    assert!(sqlite(Path::new(&format!("{kept}/notes.db")), "SELECT text FROM notes").contains(&new));
    assert_eq!(root_of(Path::new(&kept)), "10001:10001 750");
    // And the backup of the present state that was made first has it as well.
    let backups = sh(&format!("ls -d {}/*/2* | wc -l", to.display()));
    assert_eq!(backups, "2");

    // Nothing is replaced by what goes into a volume of its own.
    let into = format!("{name}_beside");
    site.rehome(&format!(
        "backup restore {id} --from {} --only site.{name} --into {into} -y",
        to.display()
    ))
    .exits(0);
    let file = sh(&format!("docker volume inspect -f '{{{{.Mountpoint}}}}' {into}"));
    let there = sqlite(Path::new(&format!("{file}/notes.db")), "SELECT text FROM notes");
    sh(&format!("docker volume rm {into}"));
    assert!(there.contains(&old) && !there.contains(&new), "{there}");
}

#[test]
fn what_stands_where_a_site_was_is_no_directory_of_it() {
    let (site, to) = enabled();
    let (data, name) = (site.data(), site.name().to_owned());
    site.note("before the backup").unwrap();
    let create = format!("backup create --to {}", to.display());
    let out = site.rehome(&format!("{create} --exclude site.{name}"));
    out.exits(3).says("there is nothing to save").says("--exclude");
    site.rehome(&format!("{create} --exclude site.{name}x"))
        .exits(3)
        .says(&format!("did you mean `site.{name}`?"));
    // Off, its data stays, and is saved like before.
    site.disable().exits(0);
    site.rehome(&format!("{create} --only site.{name}")).exits(0);

    let elsewhere = site.stack.state.with_file_name("elsewhere");
    std::fs::rename(&data, &elsewhere).unwrap();
    symlink(&elsewhere, &data).unwrap();
    let before = tree(&elsewhere);
    site.rehome(&create).exits(3).says("a symlink or a file");
    site.rehome(&format!(
        "backup restore --from {} --no-safety-backup -y",
        to.display()
    ))
    .exits(3)
    .says("a symlink or a file");
    assert_eq!(tree(&elsewhere), before);
    assert!(data.is_symlink());
    std::fs::remove_file(&data).unwrap();
    std::fs::rename(&elsewhere, &data).unwrap();
    site.enable().exits(0);
    site.is(true);

    // A container of somebody else's that writes there would go on with what is replaced.
    let holder = format!("{name}-holder");
    sh(&format!(
        "docker run -d --name {holder} -v {}:/x rehome-test/busybox:1 sleep 600",
        data.display()
    ));
    let refused = site.rehome(&format!(
        "backup restore --from {} --no-safety-backup -y",
        to.display()
    ));
    try_sh(&format!("docker rm -f {holder}"));
    refused.exits(3).says(&holder);
}

#[test]
fn a_server_that_has_nothing_yet_gets_the_directory_before_the_container() {
    let (site, to) = enabled();
    let data = site.data();
    let note = site.note("on the old server").unwrap();
    site.rehome(&format!("backup create --to {}", to.display()))
        .exits(0);
    site.stack.compose("down");
    std::fs::remove_dir_all(site.root()).unwrap();
    // The files of the project came along; what Rehome knew of it did not.
    std::fs::remove_file(site.stack.state.join("sites.db")).unwrap();
    let restore = format!("backup restore --from {} -y", to.display());
    site.rehome(&restore).exits(3).says("install -d -m 755");
    std::fs::create_dir(site.root()).unwrap();
    site.rehome(&restore).exits(0);
    assert!(site.notes().contains(&note));
    assert_eq!(root_of(&data), "10001:10001 750");
    let mounts = sh(&format!(
        "docker inspect -f '{{{{range .Mounts}}}}{{{{.Source}}}}{{{{end}}}}' {}",
        site.container()
    ));
    assert_eq!(mounts, data.display().to_string());
}

#[test]
fn a_place_of_snapshots_has_the_directory_as_restic_reads_it() {
    let (site, to) = enabled();
    let (data, name) = (site.data(), site.name().to_owned());
    let note = site.note("in a snapshot").unwrap();
    std::fs::write(data.join("file"), "a file").unwrap();
    site.stack.file(
        "rehome.yml",
        &format!(
            "version: 1\nbackup:\n  to: [ {{ dir: {}, volumes: restic }} ]\n  restic_password_from: RESTIC_PW\n",
            to.display()
        ),
    );
    site.stack
        .file(".env", &format!("{}RESTIC_PW=restic-pw-31\n", site.dotenv()));
    site.rehome("backup create").exits(0);
    site.rehome("backup verify --drill")
        .exits(0)
        .says(&format!("site {name}"));
    let target = site.stack.state.with_file_name("restored");
    sh(&format!(
        "RESTIC_PASSWORD=restic-pw-31 restic --no-cache -q -r {}/{name}/restic restore latest --target {}",
        to.display(),
        target.display()
    ));
    let file = target.join(format!("site.{name}/file"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "a file");

    let after = site.note("after the snapshot").unwrap();
    std::fs::write(data.join("file"), "another").unwrap();
    site.rehome("backup restore --latest --no-safety-backup -y")
        .exits(0);
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "a file");
    assert!(site.notes().contains(&note) && !site.notes().contains(&after));
    assert_eq!(root_of(&data), "10001:10001 750");
}

#[test]
fn killed_while_a_directory_that_is_gone_comes_back_it_is_there_or_gone_as_before() {
    let (site, to) = enabled();
    let data = site.data();
    let note = site.note("before the backup").unwrap();
    site.rehome(&format!("backup create --to {}", to.display()))
        .exits(0);
    sh(&format!("rm -rf {}", data.display()));
    let restore = format!("backup restore --from {} --no-safety-backup -y", to.display());
    let plan = site
        .rehome(&format!("{restore} --dry-run --json"))
        .exits(0)
        .json();
    let steps = plan["steps"].as_array().unwrap();
    let exchange = steps.iter().position(|step| step.get("exchange").is_some());
    let exchange = exchange.unwrap_or_else(|| panic!("{plan}"));
    for moment in ["after-prepare", "before-apply", "after-apply", "after-verify"] {
        let point = format!("{moment}:{exchange}");
        let died = site.rehome_env(&restore, &[("REHOME_CRASH_AT", &point)]);
        assert_eq!(died.code, -1, "{point}: {}", died.err);
        site.rehome("rollback").exits(0);
        assert_eq!(std::fs::read_dir(site.root()).unwrap().count(), 0, "{point}");
    }
    let died = site.rehome_env(
        &restore,
        &[("REHOME_CRASH_AT", &format!("after-apply:{exchange}"))],
    );
    assert_eq!(died.code, -1, "{}", died.err);
    site.rehome("resume").exits(0);
    // It was stopped by the first of them, and could not be started again without its directory.
    site.stack.compose("up -d");
    site.is(true);
    assert!(site.notes().contains(&note));
    assert_eq!(root_of(&data), "10001:10001 750");
    assert_eq!(std::fs::read_dir(site.root()).unwrap().count(), 1);
    site.stack.assert_tidy();
}

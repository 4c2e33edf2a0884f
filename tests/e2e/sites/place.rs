//! The directory of a site is never one that somebody else made it to be: a symlink, another owner's, another disk's.

use std::os::unix::fs::symlink;

use super::site::Site;
use crate::support::{Block, sh};

fn added() -> Site {
    let site = Site::up();
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    std::fs::create_dir_all(site.root()).unwrap();
    site
}

#[test]
fn a_symlink_in_the_root_is_not_followed() {
    let site = added();
    let elsewhere = site.stack.state.with_file_name("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, site.data()).unwrap();
    let before = (site.container(), site.dotenv());
    site.enable().exits(3).says("a symlink or a file");
    assert_eq!((site.container(), site.dotenv()), before, "nothing was touched");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    site.is(false);
    std::fs::remove_file(site.data()).unwrap();
    // One that comes after the plan is found too: before the directory is made, and after it.
    let command = format!("site enable {} -y", site.name());
    for point in ["before-apply:0", "after-apply:0"] {
        let died = site.rehome_env(&command, &[("REHOME_CRASH_AT", point)]);
        assert_eq!(died.code, -1, "{point}: {}", died.err);
        if site.data().exists() {
            std::fs::remove_dir(site.data()).unwrap();
        }
        symlink(&elsewhere, site.data()).unwrap();
        site.rehome("resume").exits(10).says("a symlink or a file");
        assert_eq!(site.dotenv(), before.1, "{point}");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0, "{point}");
        site.is(false);
        std::fs::remove_file(site.data()).unwrap();
    }
    site.enable().exits(0);
    site.is(true);
}

#[test]
fn a_directory_of_another_owner_is_left_as_it_is() {
    let site = added();
    let data = site.data();
    sh(&format!(
        "install -d -o 33 -g 33 -m 700 {d} && echo theirs >{d}/file && chown 33:33 {d}/file",
        d = data.display()
    ));
    let before = (
        site.container(),
        sh(&format!(
            "cd {} && find . -printf '%p %U:%G %m %T@\\n' | sort",
            data.display()
        )),
    );
    let now = || {
        (
            site.container(),
            sh(&format!(
                "cd {} && find . -printf '%p %U:%G %m %T@\\n' | sort",
                data.display()
            )),
        )
    };
    site.enable()
        .exits(3)
        .says("belongs to 33:33")
        .says("chown -R 10001:10001");
    assert_eq!(now(), before);
    // Whoever says that this is right is believed, and the program, which cannot write there, is not well.
    site.rehome(&format!("site enable {} -y --owner 33:33", site.name()))
        .exits(10);
    assert_eq!(now().1, before.1);
    site.is(false);
    sh(&format!("chown -R 10001:10001 {}", data.display()));
    site.enable().exits(0);
    site.is(true);
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "theirs\n");
}

#[test]
fn data_in_the_place_is_not_hidden_and_a_second_container_is_refused() {
    let site = added();
    let with = |text: &str| {
        let all = include_str!("../../../compose/sites/python/docker-compose.yml");
        site.stack.file(
            "docker-compose.yml",
            &all.replace("    restart: unless-stopped\n", text),
        );
        site.stack.compose("up -d --wait");
    };
    with("    restart: unless-stopped\n    volumes: ['/data']\n");
    site.enable()
        .exits(3)
        .says("has a volume without a name at /data already");
    with("    restart: unless-stopped\n    tmpfs: ['/data:size=1m']\n");
    site.enable().exits(3).says("has memory at /data already");
    with("    restart: unless-stopped\n");
    site.stack.file(
        "docker-compose.yml",
        &site
            .stack
            .read("docker-compose.yml")
            .replace("restart: unless-stopped", "restart: always"),
    );
    site.enable().exits(3).says("runs with another definition");
}

#[test]
fn a_root_on_a_block_volume_is_only_used_while_that_is_there() {
    let block = Block::by_rehome(256);
    let site = added();
    let root = block.root.join("sites");
    site.stack.file(
        "rehome.yml",
        &format!("version: 1\ndata_root: {}\n", root.display()),
    );
    site.rehome(&format!("site enable {} -y", site.name())).exits(0);
    let mounted = sh(&format!(
        "docker inspect -f '{{{{range .Mounts}}}}{{{{.Source}}}}{{{{end}}}}' {}",
        site.container()
    ));
    assert_eq!(mounted, root.join(site.name()).display().to_string());
    let note = site.note("on the volume").unwrap();
    // The configuration is another's one day: the site would begin again with nothing.
    site.disable().exits(0);
    site.stack.file("rehome.yml", "version: 1\n");
    site.enable().exits(3).says("would begin again with nothing");
    site.stack.file(
        "rehome.yml",
        &format!("version: 1\ndata_root: {}\n", root.display()),
    );
    site.rehome(&format!("site enable {} -y", site.name())).exits(0);
    assert!(
        sh(&format!(
            "grep -l '{note}' {}/notes.db*",
            root.join(site.name()).display()
        ))
        .contains("notes.db")
    );
    site.disable().exits(0);

    // The volume is away: its mount point is immutable, and nothing is made in its place.
    site.stack.compose("down");
    sh(&format!("umount {}", block.root.display()));
    let away = site.rehome(&format!("site enable {} -y --owner 10001:10001", site.name()));
    assert_ne!(away.code, 0, "{}", away.out);
    assert_eq!(sh(&format!("ls -A {}", block.root.display())), "");
    assert!(!site.stack.dir.join("docker-compose.site.yml").exists());
    block.mount();
    site.rehome(&format!("site enable {} -y --owner 10001:10001", site.name()))
        .exits(0);
    site.stack.compose("down");
}

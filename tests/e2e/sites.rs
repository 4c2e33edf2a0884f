//! Sites: persistent storage on, off and on again, under a writer that never stops. Judged by `docker inspect`, by `stat`,
//! and by what another program reads in the site's database.

mod backups;
mod crash;
mod moved;
mod place;
pub mod site;

use self::site::{NODE, PYTHON, Site, Writer, full};
use crate::support::sh;

#[test]
fn data_survives_redeployments_and_toggles_and_nothing_acknowledged_is_lost() {
    survives(PYTHON);
}

#[test]
fn data_survives_redeployments_and_toggles_of_a_site_in_node() {
    survives(NODE);
}

fn survives(example: &str) {
    let site = Site::up_with(example);
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    let dry = site
        .rehome(&format!("site enable {} --dry-run --json", site.name()))
        .exits(0);
    assert_eq!(dry.json()["facts"]["data"], site.data().to_str().unwrap());
    site.is(false);
    site.enable().exits(0);
    site.is(true);
    // The image says `USER site`, which only its own /etc/passwd knows.
    assert_eq!(
        sh(&format!("stat -c '%u:%g %a' {}", site.data().display())),
        "10001:10001 750"
    );

    let writer = Writer::start(&site);
    writer.goes_on(20);
    for n in 0..if full() { 10 } else { 2 } {
        let before = site.container();
        site.stack.file(
            ".env",
            &format!("{}VERSION={}\n", site.dotenv_without("VERSION"), n + 2),
        );
        match n % 2 {
            0 => drop(site.rehome("deploy -y").exits(0)),
            _ => drop(site.stack.compose("up -d")),
        }
        assert_ne!(site.container(), before, "it was made anew");
        site.is(true);
        writer.goes_on(20);
    }
    for _ in 0..2 {
        site.disable().exits(0);
        site.is(false);
        assert!(!site.notes().is_empty(), "its data stays");
        site.enable().exits(0);
        site.is(true);
        writer.goes_on(20);
    }
    let acknowledged = writer.end();
    let there = site.notes();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|note| !there.contains(*note))
        .collect();
    assert!(
        lost.is_empty(),
        "of {} notes are lost: {lost:?}",
        acknowledged.len()
    );
    assert_eq!(site.integrity(), "ok");

    let list = site.rehome("site list --json").exits(0).json();
    let measured = &list[0]["measured"];
    assert_eq!(measured["owner"], "10001:10001");
    let du: u64 = sh(&format!(
        "du -s -B1 {}/* | awk '{{ n += $1 }} END {{ print n }}'",
        site.data().display()
    ))
    .parse()
    .unwrap();
    // The log of a database that is written to shrinks and grows.
    assert!(
        measured["bytes"].as_u64().unwrap().abs_diff(du) < 8 << 20,
        "{measured} {du}"
    );
}

#[test]
fn what_goes_wrong_goes_back_by_itself() {
    let site = Site::up();
    site.rehome(&format!("site add {} --project .", site.name()))
        .exits(0);
    let before = (site.shape(), site.dotenv());
    // It answers so as long as it has no place for its data, and no longer.
    site.stack.file(
        "rehome.yml",
        "version: 1\nchecks:\n  - { service: web, http: 'http://localhost:3000/', body: 'nothing here would stay', within: 5s }\n",
    );
    site.enable().exits(10).says("was rolled back");
    assert_eq!((site.shape(), site.dotenv()), before);
    site.is(false);
    assert!(!site.stack.dir.join("docker-compose.site.yml").exists());
    // The new container wrote its database there before it was found to be wrong: that is kept.
    assert!(site.data().join("notes.db").exists());
    site.stack.file("rehome.yml", "version: 1\n");
    site.enable().exits(0);
    site.is(true);

    // The way off fails as well: it has its data again.
    site.stack.file(
        "rehome.yml",
        "version: 1\nchecks:\n  - { service: web, command: ['sh', '-c', 'test -n \"$DATA_DIR\"'], within: 5s }\n",
    );
    let note = site.note("before").unwrap();
    site.disable().exits(10);
    site.is(true);
    assert!(site.notes().contains(&note));
    site.stack.assert_tidy();
}

#[test]
fn an_image_is_a_site_and_its_data_goes_only_by_its_name() {
    let mut site = Site::written();
    let (name, port) = (site.name().to_owned(), site.port);
    site.rehome(&format!(
        "site add {name} --image rehome-sites/python:1 --port {port}:3000 --health /health"
    ))
    .exits(0);
    let project = site.stack.state.join("sites").join(&name);
    site.project = Some((format!("site-{name}"), project.clone()));
    // Nobody started it yet, and it is not started now; its user is a name that only the image knows.
    site.rehome(&format!("site enable {name} -y"))
        .exits(3)
        .says("cannot be told");
    sh(&format!("cd {} && docker compose up -d", project.display()));
    site.enable().exits(0);
    site.is(true);
    let note = site.note("in an image").unwrap();
    site.rehome(&format!("site remove {name} -y"))
        .exits(3)
        .says("is on");
    site.disable().exits(0);
    site.is(false);
    assert!(site.notes().contains(&note));
    site.rehome(&format!("site remove {name} -y"))
        .exits(3)
        .says("has containers");
    sh(&format!("cd {} && docker compose down", project.display()));

    let data = site.data();
    site.rehome(&format!("site remove {name} --delete-data -y"))
        .exits(3)
        .says("-y is none");
    site.rehome(&format!("site remove {name} --delete-data --typed other"))
        .exits(3);
    assert!(data.join("notes.db").exists());
    // A container that has it keeps it.
    let holder = format!("{}-holder", site.stack.name);
    sh(&format!(
        "docker run -d --name {holder} --label rehome.project={} -v {}:/x:ro rehome-test/busybox:1 sleep 600",
        site.stack.name,
        data.display()
    ));
    site.rehome(&format!("site remove {name} --delete-data --typed {name}"))
        .exits(3)
        .says(&holder);
    sh(&format!("docker rm -f {holder}"));
    std::fs::write(data.with_file_name("neighbour"), "").unwrap();
    std::os::unix::fs::symlink(data.with_file_name("neighbour"), data.join("link")).unwrap();
    // What a restore put aside is not the site's directory: it is said, and stays.
    let aside = data.with_file_name(format!("{name}.before-7k2f9q"));
    std::fs::create_dir(&aside).unwrap();
    site.rehome(&format!("site remove {name} --delete-data --typed {name}"))
        .exits(0)
        .says(&format!("{} stays: it was put aside", aside.display()));
    assert!(aside.exists());
    assert!(!data.exists() && data.with_file_name("neighbour").exists() && !project.exists());
    assert_eq!(site.rehome("site list --json").json(), serde_json::json!([]));
}

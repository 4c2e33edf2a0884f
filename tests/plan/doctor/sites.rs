//! Sites whose storage is on and is not, and those that no backup has.

use insta::assert_snapshot;
use rehome::engine::{Mount, MountKind};
use rehome::model::{RunId, SiteName};
use rehome::observe::{Checkup, SiteChecked, SiteKnown};
use rehome::state::BackupLine;

use super::missing::missing;
use super::{container, text};
use crate::support::service_name;

const DIR: &str = "/var/deploy/data/blog";

/// A site of the service that serves the API, all of it as it should be.
fn site(seen: &mut Checkup) -> &mut SiteChecked {
    container(seen, "api").mounts.push(Mount {
        kind: MountKind::Bind(DIR.to_owned()),
        destination: "/data".to_owned(),
        writable: true,
        subpath: None,
    });
    seen.sites = vec![SiteChecked {
        known: SiteKnown {
            name: SiteName::new("blog").unwrap(),
            on: true,
            dir: Some(DIR.into()),
            has: Ok(Some((service_name("api"), DIR.into()))),
        },
        there: Ok(true),
    }];
    &mut seen.sites[0]
}

/// A backup of a day of that year, with the site in it or not.
fn made(day: &str, with: bool) -> BackupLine {
    let at = format!("2001-{day}T00:00:00Z").parse().unwrap();
    BackupLine::Made {
        id: format!("2001{}T000000Z-7k2f00000000", day.replace('-', "")),
        run: RunId::new("7k2f00000000").unwrap(),
        began: at,
        ended: at,
        bytes: 1,
        places: vec!["/var/backups/kms".to_owned()],
        whole: true,
        sites: with.then(|| SiteName::new("blog").unwrap()).into_iter().collect(),
    }
}

#[test]
fn a_site_that_has_its_directory_is_nothing_to_tell() {
    let fine = text(|seen| {
        site(seen);
    });
    assert_eq!(fine, "");
    // Storage that is off has nothing to miss.
    let off = text(|seen| {
        let site = site(seen);
        (site.known.on, site.known.has, site.there) = (false, Ok(None), Ok(false));
        container(seen, "api").mounts.pop();
    });
    assert_eq!(off, "");
}

#[test]
fn trap_29_an_override_of_sites_that_nothing_reads_is_found() {
    let found = text(|seen| site(seen).known.has = Ok(None));
    assert_snapshot!(found, @r"
    error [site-override-inactive] persistent storage of site blog is on, and the project is read without it
      the next container of its service has no directory: what it writes goes with it
      $ rehome site enable blog
    ");
}

#[test]
fn a_container_without_the_directory_is_found() {
    let found = text(|seen| {
        site(seen);
        container(seen, "api").mounts.pop();
    });
    assert_snapshot!(found, @r"
    error [site-not-mounted] service `api` runs without the directory of site blog
      container kms-connect-api-1 does not have /var/deploy/data/blog at /data
      what it writes there goes with it
      $ rehome compose -- up -d api
    ");
    let other = text(|seen| {
        site(seen);
        container(seen, "api").mounts.last_mut().unwrap().kind =
            MountKind::Bind("/var/deploy/data/shop".to_owned());
    });
    assert!(other.starts_with("error [site-not-mounted]"), "{other}");
    let down = text(|seen| {
        site(seen);
        container(seen, "api").mounts.pop();
        container(seen, "api").up = false;
    });
    assert!(!down.contains("site-"), "{down}");
}

#[test]
fn a_directory_that_is_gone_is_given_back_by_a_backup() {
    assert_snapshot!(text(|seen| site(seen).there = Ok(false)), @r"
    error [site-data-missing] the directory of site blog is not there: its container cannot start again
      /var/deploy/data/blog does not exist
      $ rehome backup restore --only site.blog
    ");
    // A block volume that is away is told by itself: nothing is restored in its place.
    let away = text(|seen| {
        site(seen).there = Ok(false);
        seen.boot.missing = vec![missing("/var/deploy", &[DIR])];
    });
    assert!(!away.contains("site-"), "{away}");
    assert_snapshot!(text(|seen| site(seen).there = Err("a symlink is there".to_owned())), @r"
    unknown [site-unlooked] the directory of site blog could not be looked at
      a symlink is there
    ");
    let edited = text(|seen| site(seen).known.has = Err("somebody changed it".to_owned()));
    assert_snapshot!(edited, @r"
    unknown [site-unlooked] the override of site blog could not be looked at
      somebody changed it
    ");
}

#[test]
fn a_site_that_no_young_backup_has_is_found_where_backups_are_made() {
    let with = |lines: &[BackupLine], wanted: bool| {
        text(|seen| {
            site(seen);
            seen.known.backups = lines.to_vec();
            seen.known.backups_wanted = wanted;
        })
    };
    assert_eq!(with(&[made("02-02", true)], true), "");
    assert_eq!(with(&[made("02-02", false)], false), "");
    assert_snapshot!(with(&[made("02-02", false)], true), @r"
    warning [site-no-backup] the data of site blog is in no backup that Rehome knows of
      $ rehome backup create
    ");
    assert_snapshot!(with(&[made("01-20", true), made("02-02", false)], true), @r"
    warning [site-no-backup] the last backup with the data of site blog is 14 days old
      20010120T000000Z-7k2f00000000, of 2001-01-20T00:00:00Z
      $ rehome backup create
    ");
}

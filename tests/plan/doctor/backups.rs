//! Backups that are not there, too old, or that nobody has read back.

use insta::assert_snapshot;
use jiff::Timestamp;
use rehome::state::BackupLine;

use super::*;

fn at(text: &str) -> Timestamp {
    format!("2001-{text}T00:00:00Z").parse().unwrap()
}

fn made(day: &str) -> BackupLine {
    BackupLine::Made {
        id: format!("2001{}T000000Z-7k2f00000000", day.replace('-', "")),
        run: RunId::new("7k2f00000000").unwrap(),
        began: at(day),
        ended: at(day),
        bytes: 1,
        places: vec!["/var/backups/kms".to_owned()],
        whole: true,
        sites: Vec::new(),
    }
}

fn verified(day: &str) -> BackupLine {
    BackupLine::Verified {
        id: "20010101T000000Z-7k2f00000000".to_owned(),
        at: at(day),
        drill: false,
    }
}

/// What is found on the third of February; nothing is left out.
fn all(backups: Vec<BackupLine>, schedule: Option<&str>, wanted: bool) -> String {
    let mut seen = clean();
    seen.known.backups = backups;
    seen.known.backups_wanted = wanted;
    seen.known.backup_schedule = schedule.map(str::to_owned);
    told(diagnose(&seen).findings)
}

#[test]
fn a_project_without_a_backup() {
    assert_snapshot!(all(Vec::new(), None, false) + &all(Vec::new(), None, true));
    // A part of the project is not the project.
    let mut part = made("02-02");
    if let BackupLine::Made { whole, .. } = &mut part {
        *whole = false;
    }
    assert!(all(vec![part], None, true).starts_with("warning [no-backup]"));
}

#[test]
fn a_fresh_verified_one_is_nothing_to_tell() {
    assert_eq!(
        all(vec![made("02-02"), verified("02-02")], Some("02:00"), true),
        ""
    );
    // The first is young: nobody has to have verified it yet.
    assert_eq!(all(vec![made("01-30")], None, true), "");
}

#[test]
fn an_old_one_an_unverified_one_and_a_failed_one() {
    let failed = BackupLine::Failed {
        run: RunId::new("7k2f00000001").unwrap(),
        began: at("02-02"),
        ended: at("02-02"),
        why: "no space left on device".to_owned(),
    };
    let hours = |schedule| all(vec![made("01-31"), verified("01-31")], schedule, true);
    assert_eq!(hours(None), "");
    assert_eq!(hours(Some("Mon..Fri 02:00")), "");
    assert_snapshot!(
        hours(Some("02:00"))
            + &all(vec![made("01-01"), made("01-02"), failed], None, true)
            + &all(vec![verified("01-02"), made("02-02")], None, true)
    );
}

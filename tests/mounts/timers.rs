//! The timer of backups, judged by systemd-analyze and systemctl, and the line of cron.

use std::path::Path;
use std::process::Command;

use rehome::block::boot::{self, Standing};
use rehome::block::sysroot::Sysroot;
use rehome::block::timers::{self, Call};
use rehome::model::{Kind, ProjectName};

use super::support::{sh, tempdir, text};

fn project() -> ProjectName {
    ProjectName::new("kms-connect").unwrap()
}

fn call() -> Call {
    let words = [
        // Something that is on every machine: systemd-analyze looks for it.
        "/bin/echo",
        "--project-directory",
        "/srv/kms connect",
        "--file",
        "/srv/100%/$x\"y.yaml",
        "--state-dir",
        "/var/lib/rehome",
    ];
    Call {
        project: project(),
        directory: "/tmp".into(),
        words: words.map(Into::into).to_vec(),
        path: "/usr/bin:/bin".to_owned(),
        home: "/root".to_owned(),
    }
}

#[test]
fn systemd_accepts_the_service_and_the_timer() {
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    let pieces = timers::units(&call(), "Mon..Fri 02:00").unwrap();
    for piece in &pieces {
        assert!(boot::write(&sysroot, piece).unwrap());
        assert!(!boot::write(&sysroot, piece).unwrap(), "to the byte");
    }
    insta::assert_snapshot!("service", text(&pieces[0]));
    insta::assert_snapshot!("timer", text(&pieces[1]));
    let units = sysroot.at("/etc/systemd/system");
    let verify = |unit: &str| {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=yes"])
            .arg(units.join(unit))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
            .env("SYSTEMD_LOG_TARGET", "console")
            .output()
            .expect("Debian's systemd is needed by this test");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours = said
            .lines()
            .filter(|line| line.contains("rehome"))
            .map(str::to_owned);
        ours.collect::<Vec<_>>()
    };
    let (service, timer) = (
        "rehome-backup.kms-connect.service",
        "rehome-backup.kms-connect.timer",
    );
    assert_eq!(timers::timer_name(&project()), timer);
    assert_eq!(verify(service), [""; 0]);
    assert_eq!(verify(timer), [""; 0]);
    // It can say no.
    let whole = std::fs::read_to_string(units.join(timer)).unwrap();
    std::fs::write(units.join(timer), whole.replace("Mon..Fri", "Mon..Fry")).unwrap();
    assert_ne!(verify(timer), [""; 0]);
    std::fs::write(units.join(timer), whole).unwrap();
    // systemctl makes the same link.
    let link = units.join("timers.target.wants").join(timer);
    let ours = std::fs::read_link(&link).unwrap();
    std::fs::remove_file(&link).unwrap();
    sh(
        "systemctl",
        &[&format!("--root={}", root.path().display()), &"enable", &timer],
    );
    assert_eq!(std::fs::read_link(&link).unwrap(), ours);
    // All of it goes.
    let gone: Vec<bool> = timers::all(&project())
        .iter()
        .map(|piece| boot::remove(&sysroot, piece).unwrap())
        .collect();
    assert_eq!(gone, [true, true, true, false]);
    assert_eq!(sh("find", &[&root.path(), &"-name", &"*rehome*"]), "");
}

#[test]
fn a_line_of_cron_says_the_same() {
    let piece = timers::cron(&call(), "Mon..Fri 02:50", "web1").unwrap();
    assert_eq!(piece.path(), Path::new("/etc/cron.d/rehome-backup-kms-connect"));
    insta::assert_snapshot!("cron", text(&piece));
    // What cron hands to the shell, `\%` as it reads it: the words arrive as they were.
    let line = text(&piece).lines().last().unwrap();
    let (_, script) = line.split_once(" root ").unwrap();
    let said = sh("sh", &[&"-c", &script.replace("\\%", "%")]);
    let words =
        "--project-directory /srv/kms connect --file /srv/100%/$x\"y.yaml --state-dir /var/lib/rehome backup";
    assert_eq!(said, format!("{words} create\n{words} prune --yes"));
    for (calendar, path) in [("*-*-1 02:00", "/bin"), ("02:00", "/b\"in")] {
        let call = Call {
            path: path.to_owned(),
            ..call()
        };
        assert_eq!(
            timers::cron(&call, calendar, "web1").unwrap_err().kind,
            Kind::Refused
        );
    }
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    boot::write(&sysroot, &piece).unwrap();
    assert_eq!(boot::standing(&sysroot, &piece).unwrap(), Standing::There);
    assert!(
        timers::all(&project())
            .iter()
            .any(|piece| boot::remove(&sysroot, piece).unwrap())
    );
}

#[tokio::test]
async fn systemd_says_which_times_there_are() {
    assert!(timers::next("Mon..Fri 02:00").await.unwrap().is_some());
    let failure = timers::next("Mon..Fry 02:00").await.unwrap_err();
    assert_eq!(failure.kind, Kind::Usage);
    assert!(failure.causes[0].contains("Fry"), "{failure:?}");
}

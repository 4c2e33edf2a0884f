//! The unit of the server, judged by systemd-analyze: it can be read, and leaves little open.

use std::path::Path;
use std::process::Command;

use rehome::block::boot;
use rehome::block::serving::{NAME, Serving, unit};
use rehome::block::sysroot::Sysroot;

use super::support::{tempdir, text};

/// What systemd-analyze counts as exposed, in tenths: 0 is nothing, 100 a service without any sandbox. What is left is the
/// network, being root with access to files of all owners, and reading block devices.
const EXPOSED: u32 = 28;

fn serving() -> Serving {
    let words = [
        // Something that is on every machine: systemd-analyze looks for it.
        "/bin/echo",
        "--state-dir",
        "/srv/state of 100%/$x",
        "serve",
        "--listen",
        "127.0.0.1:7434",
    ];
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Serving {
        words: words.map(Into::into).to_vec(),
        environment: vec![
            pair("PATH", "/usr/bin:/bin"),
            pair("DEPLOY_DATA_PATH", "/srv/my sites"),
        ],
    }
}

fn analyze(arguments: &[&str], unit: &Path) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_LOG_TARGET", "console")
        .output()
        .expect("Debian's systemd is needed by this test");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn systemd_accepts_the_server_and_finds_little_exposed() {
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    let piece = unit(&serving()).unwrap();
    assert!(boot::write(&sysroot, &piece).unwrap());
    insta::assert_snapshot!("server", text(&piece));
    let at = sysroot.at("/etc/systemd/system").join(NAME);
    let verify = |at: &Path| {
        let (_, said) = analyze(&["verify", "--man=no", "--recursive-errors=no"], at);
        let ours = said.lines().filter(|line| line.contains("rehome"));
        ours.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(verify(&at), [""; 0]);
    let threshold = format!("--threshold={EXPOSED}");
    let security = ["security", "--offline=true", "--no-pager", &threshold];
    let (fine, said) = analyze(&security, &at);
    assert!(fine, "{said}");

    // It can say no, to each.
    let whole = text(&piece);
    std::fs::write(&at, whole.replace("KillMode=process", "KillMode=sometimes")).unwrap();
    assert_ne!(verify(&at), [""; 0]);
    let open: String = whole
        .lines()
        .filter(|line| !line.starts_with("CapabilityBoundingSet=") && !line.starts_with("SystemCallFilter="))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&at, open).unwrap();
    let (fine, said) = analyze(&security, &at);
    assert!(!fine, "{said}");
}

#[test]
fn what_a_unit_cannot_say_is_refused() {
    let mut serving = serving();
    serving.words.push("two\nlines".into());
    assert!(unit(&serving).is_err());
}

//! Real fstab files with our line in them, read by util-linux and by systemd.

use std::path::{Path, PathBuf};
use std::process::Command;

use rehome::block::fstab::{Change, Fstab, Line, names};
use rehome::block::sysroot::Sysroot;
use rehome::block::units;

use super::support::{Machine, ask, sh, tempdir};

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mounts/fstab");
    let found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(found.len() >= 12, "{found:?}");
    found
}

/// The sums at the end, and what it says of everything but our line.
///
/// Where no udev keeps `/dev/disk/by-uuid`, libblkid looks for a UUID in its cache and believes what that says of a
/// device for minutes: also of a loop device that was another one a moment ago. So it is given no cache.
fn findmnt(file: &Path) -> String {
    let (_, said) = ask(
        "env",
        &[
            &"BLKID_FILE=/dev/null",
            &"findmnt",
            &"--verify",
            &"--tab-file",
            &file,
        ],
    );
    let sums = said.lines().last().unwrap_or_default().to_owned();
    assert!(sums.contains("parse error") || sums.contains("Success"), "{said}");
    sums
}

/// Runs systemd's own generator; returns what it said, and the directory of the units.
fn generate(fstab: &Path, out: &Path) -> String {
    for name in ["normal", "early", "late"] {
        std::fs::create_dir_all(out.join(name)).unwrap();
    }
    let output = Command::new("/usr/lib/systemd/system-generators/systemd-fstab-generator")
        .args(["normal", "early", "late"].map(|name| out.join(name)))
        .env("SYSTEMD_FSTAB", fstab)
        .env("SYSTEMD_LOG_TARGET", "console")
        .env("SYSTEMD_LOG_LEVEL", "warning")
        .output()
        .expect("Debian's systemd is needed by this test");
    assert!(output.stdout.is_empty());
    String::from_utf8_lossy(&output.stderr)
        .lines()
        // Of whoever runs this in a container.
        .filter(|line| !line.contains("PID 1"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn util_linux_and_systemd_read_real_files_with_our_line_in_them() {
    let machine = Machine::new();
    let target = machine.target();
    let line = Line::new(machine.disk.uuid(), &target, "ext4").unwrap();
    let names = names(&Sysroot::new(None));
    for file in files() {
        let work = tempdir();
        let old = std::fs::read(&file).unwrap();
        let Ok(Change::New(bytes)) = Fstab::parse(&old).with(&line, &names) else {
            panic!("{}: not changed", file.display());
        };
        let (before, after) = (work.path().join("before"), work.path().join("after"));
        std::fs::write(&before, &old).unwrap();
        std::fs::write(&after, &bytes).unwrap();
        // findmnt calls an empty file an error of its own.
        if Fstab::parse(&old).entries().next().is_some() {
            assert_eq!(findmnt(&before), findmnt(&after), "{}", file.display());
        } else {
            assert!(findmnt(&after).contains("Success"), "{}", file.display());
        }

        let (units_before, units) = (work.path().join("units-before"), work.path().join("units"));
        let said = generate(&before, &units_before);
        assert_eq!(said, generate(&after, &units), "{}", file.display());
        let name = units::unit_name(&target, "mount");
        let unit = std::fs::read_to_string(units.join("normal").join(&name)).unwrap();
        for wanted in [
            format!("What=/dev/disk/by-uuid/{}", machine.disk.uuid()),
            format!("Where={}", target.display()),
            "Type=ext4".to_owned(),
            "Options=defaults,nofail,discard,noatime,errors=remount-ro,x-rehome".to_owned(),
        ] {
            assert!(unit.lines().any(|line| line == wanted), "{wanted}: {unit}");
        }
        assert!(unit.contains("Requires=systemd-fsck@"), "pass 2: {unit}");
        // nofail: wanted, not required, and nothing waits for it.
        assert!(!unit.contains("Before=local-fs.target"), "{unit}");
        let wants = |kind: &str| units.join(format!("normal/local-fs.target.{kind}")).join(&name);
        assert!(wants("wants").is_symlink() && !wants("requires").is_symlink());
        let timeout = sh("grep", &[&"-rlx", &"JobRunningTimeoutSec=30s", &units]);
        assert_eq!(timeout.lines().count(), 1, "{timeout}");
        // Every other unit is as it was.
        let (_, diff) = ask(
            "diff",
            &[
                &"-rq",
                &"--no-dereference",
                &units_before.join("normal"),
                &units.join("normal"),
            ],
        );
        for changed in diff.lines() {
            let ours = changed.contains(&name)
                || changed.contains(&units::escape(Path::new(&machine.disk.uuid().to_string())))
                || changed.ends_with(": local-fs.target.wants")
                || changed.starts_with("Files ");
            assert!(ours, "{}: {changed}", file.display());
        }

        assert_eq!(Fstab::parse(&bytes).with(&line, &names), Ok(Change::Unchanged));
        let mut ended = old;
        if !ended.is_empty() && !ended.ends_with(b"\n") {
            ended.push(b'\n');
        }
        assert_eq!(Fstab::parse(&bytes).without(&target, &names), Change::New(ended));
    }
}

#[test]
fn xfs_is_mounted_with_what_it_knows_and_not_checked_at_boot() {
    let machine = Machine::with("xfs");
    let line = Line::new(machine.disk.uuid(), &machine.target(), "xfs").unwrap();
    let work = tempdir();
    let file = work.path().join("fstab");
    std::fs::write(&file, line.bytes()).unwrap();
    assert!(findmnt(&file).contains("Success"));
    generate(&file, work.path());
    let unit = work
        .path()
        .join("normal")
        .join(units::unit_name(&machine.target(), "mount"));
    let unit = std::fs::read_to_string(unit).unwrap();
    assert!(!unit.contains("fsck") && !unit.contains("errors="), "{unit}");
    sh(
        "mount",
        &[&"-o", &line.options(), &machine.disk.device, &machine.target()],
    );
}

#[test]
fn a_symlink_is_the_same_mount_point_and_the_file_keeps_its_mode() {
    let machine = Machine::new();
    let sysroot = machine.sysroot();
    std::os::unix::fs::symlink("kms-data", sysroot.at("/mnt/data")).unwrap();
    let file = sysroot.at("/etc/fstab");
    std::fs::write(&file, "/dev/vdz /mnt/data ext4 defaults 0 2\n").unwrap();
    let fstab = Fstab::read(&sysroot).unwrap();
    let clashes = fstab.with(&machine.line(), &names(&sysroot)).unwrap_err();
    assert_eq!(clashes.len(), 1);

    std::fs::write(&file, "/dev/vdz /mnt/other ext4 defaults 0 2\n").unwrap();
    sh("chmod", &[&"640", &file]);
    sh("chown", &[&"3:4", &file]);
    let newer = Fstab::read(&sysroot).unwrap();
    let Ok(Change::New(bytes)) = newer.with(&machine.line(), &names(&sysroot)) else {
        panic!("not changed");
    };
    let failure = fstab.replace(&sysroot, &bytes).unwrap_err();
    assert!(failure.what.contains("changed by someone else"), "{failure}");
    newer.replace(&sysroot, &bytes).unwrap();
    assert_eq!(sh("stat", &[&"-c", &"%a %u:%g", &file]), "640 3:4");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

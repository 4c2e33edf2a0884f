//! Units, judged by systemd-analyze and systemctl.

use std::path::Path;
use std::process::Command;

use rehome::block::boot::{self, Piece, Stack, Standing};
use rehome::block::sysroot::Sysroot;
use rehome::model::{Kind, ProjectName, ServiceName};

use super::support::{sh, tempdir, text};

const SENTINEL: &str = "/mnt/kms-data/.rehome-0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11";

fn target() -> &'static Path {
    Path::new("/mnt/kms-data")
}

fn stack() -> Stack {
    let service = |name: &str| ServiceName::new(name).unwrap();
    Stack {
        // Something that is on every machine: systemd-analyze looks for it.
        program: vec!["/bin/echo".to_owned(), "compose".to_owned()],
        engine: None,
        project: ProjectName::new("kms-connect").unwrap(),
        directory: "/srv/kms connect".into(),
        files: vec![
            "/srv/kms connect/compose.yaml".into(),
            "/srv/100%/$x\"y\\z.yaml".into(),
        ],
        env_files: vec!["/srv/kms connect/.env".into()],
        profiles: vec!["prod".to_owned()],
        services: vec![service("db"), service("api")],
    }
}

fn pieces() -> Vec<Piece> {
    let mut pieces = vec![boot::engine_waits(target()).unwrap()];
    pieces.extend(boot::stack_comes_up(target(), Path::new(SENTINEL), &stack()).unwrap());
    pieces
}

#[test]
fn the_units_say_what_they_do() {
    let pieces = pieces();
    let paths: Vec<_> = pieces
        .iter()
        .map(|piece| piece.path().to_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            r"/etc/systemd/system/docker.service.d/rehome-mnt-kms\x2ddata.conf",
            "/etc/systemd/system/rehome-kms-connect.service",
            r"/etc/systemd/system/mnt-kms\x2ddata.mount.wants/rehome-kms-connect.service",
        ]
    );
    insta::assert_snapshot!(text(&pieces[0]), @r##"
    # Written by rehome
    # The Docker engine waits for /mnt/kms-data at boot, and does not start without it: no container of this host is
    # started on an empty directory. Remove it with: rehome mount --undo --at /mnt/kms-data
    [Unit]
    RequiresMountsFor=/mnt/kms-data
    "##);
    insta::assert_snapshot!(text(&pieces[1]), @r##"
    # Written by rehome
    # Brings the stack up when its volume is mounted, at boot or later: the engine tries a container whose volume is missing
    # once, and not again when it comes back. Containers that exist are started as they are; none is made.
    [Unit]
    Description=Stack kms-connect on /mnt/kms-data
    RequiresMountsFor=/mnt/kms-data
    Requires=docker.service
    After=docker.service network-online.target
    Wants=network-online.target
    # Only this volume, not an empty directory nor another one.
    AssertPathExists=/mnt/kms-data/.rehome-0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11
    StartLimitIntervalSec=1h
    StartLimitBurst=5

    [Service]
    Type=oneshot
    StandardInput=null
    WorkingDirectory=/srv/kms connect
    ExecStart=/bin/echo compose --project-directory "/srv/kms connect" -p kms-connect -f "/srv/kms connect/compose.yaml" -f "/srv/100%%/$$x\"y\\z.yaml" --env-file "/srv/kms connect/.env" --profile prod start db api
    TimeoutStartSec=15min
    # A port that is still taken, an engine that is not quite there: a few more tries, and then it is for a person.
    Restart=on-failure
    RestartSec=30s

    [Install]
    WantedBy=mnt-kms\x2ddata.mount
    "##);
    insta::assert_snapshot!(boot::blast_radius(target(), true).join("\n"), @r##"
    while /mnt/kms-data is not mounted, the Docker engine does not start at boot: no container of this host runs
    `systemctl stop 'mnt-kms\x2ddata.mount'` stops the Docker engine, and all containers with it; `umount /mnt/kms-data` does not
    when /mnt/kms-data is mounted later, the engine is started, and with it every container that restarts by itself
    "##);
}

#[test]
fn systemd_accepts_the_units() {
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    for piece in pieces() {
        assert!(boot::write(&sysroot, &piece).unwrap());
    }
    let units = sysroot.at("/etc/systemd/system");
    std::fs::write(units.join("docker.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    std::fs::write(
        units.join(r"mnt-kms\x2ddata.mount"),
        "[Mount]\nWhat=/dev/null\nWhere=/mnt/kms-data\n",
    )
    .unwrap();
    let verify = |unit: &str| {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=yes"])
            .arg(units.join(unit))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
            .env("SYSTEMD_LOG_TARGET", "console")
            .output()
            .expect("Debian's systemd is needed by this test");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Of other units of this machine nothing is known here.
        let ours: Vec<_> = said
            .lines()
            .filter(|line| ["rehome", "docker", "kms"].iter().any(|word| line.contains(word)))
            .map(str::to_owned)
            .collect();
        ours
    };
    assert_eq!(verify("rehome-kms-connect.service"), [""; 0]);
    assert_eq!(verify("docker.service"), [""; 0]);
    // It can say no.
    let unit = units.join("rehome-kms-connect.service");
    let broken = std::fs::read_to_string(&unit)
        .unwrap()
        .replace("ExecStart=/bin", "ExecStart=bin/../");
    let whole = std::fs::read(&unit).unwrap();
    std::fs::write(&unit, broken).unwrap();
    assert_ne!(verify("rehome-kms-connect.service"), [""; 0]);
    std::fs::write(&unit, whole).unwrap();

    // systemctl makes the same link.
    let link = units.join(r"mnt-kms\x2ddata.mount.wants/rehome-kms-connect.service");
    let ours = std::fs::read_link(&link).unwrap();
    std::fs::remove_file(&link).unwrap();
    sh(
        "systemctl",
        &[
            &format!("--root={}", root.path().display()),
            &"enable",
            &"rehome-kms-connect.service",
        ],
    );
    assert_eq!(std::fs::read_link(&link).unwrap(), ours);
}

#[test]
fn units_are_written_once_and_removed_and_those_of_others_are_left() {
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    std::fs::create_dir_all(sysroot.at("/etc/systemd/system")).unwrap();
    for piece in pieces() {
        assert_eq!(boot::standing(&sysroot, &piece).unwrap(), Standing::Missing);
        assert!(boot::write(&sysroot, &piece).unwrap());
        assert!(!boot::write(&sysroot, &piece).unwrap());
        assert_eq!(boot::standing(&sysroot, &piece).unwrap(), Standing::There);
    }
    let unit = sysroot.at("/etc/systemd/system/rehome-kms-connect.service");
    assert_eq!(sh("stat", &[&"-c", &"%a", &unit]), "644");
    let fewer = Stack {
        profiles: Vec::new(),
        ..stack()
    };
    let newer = &boot::stack_comes_up(target(), Path::new(SENTINEL), &fewer).unwrap()[0];
    assert_eq!(boot::standing(&sysroot, newer).unwrap(), Standing::Outdated);
    assert!(boot::write(&sysroot, newer).unwrap());
    for piece in pieces() {
        assert!(boot::remove(&sysroot, &piece).unwrap());
        assert!(!boot::remove(&sysroot, &piece).unwrap());
    }
    assert_eq!(sh("ls", &[&"-A", &sysroot.at("/etc/systemd/system")]), "");

    std::fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    let failure = boot::write(&sysroot, newer).unwrap_err();
    assert_eq!(failure.kind, Kind::Refused);
    assert!(!boot::remove(&sysroot, newer).unwrap());
    assert_eq!(sh("cat", &[&unit]), "[Service]\nExecStart=/bin/true");
}

#[test]
fn a_volume_that_is_attached_late_is_mounted() {
    let uuid = "0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11";
    let piece = boot::mounted_when_it_comes(target(), &uuid.parse().unwrap());
    let escape = |path: &str, suffix: &str| sh("systemd-escape", &[&"--path", &"--suffix", &suffix, &path]);
    let device = escape(&format!("/dev/disk/by-uuid/{uuid}"), "device");
    let mount = escape("/mnt/kms-data", "mount");
    assert_eq!(
        piece.path(),
        Path::new("/etc/systemd/system")
            .join(format!("{device}.wants"))
            .join(mount)
    );
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    assert!(boot::write(&sysroot, &piece).unwrap());
    assert_eq!(
        boot::ours(&sysroot, target()).unwrap(),
        std::slice::from_ref(&piece)
    );
    assert!(boot::remove(&sysroot, &piece).unwrap());
    assert_eq!(sh("ls", &[&"-A", &sysroot.at("/etc/systemd/system")]), "");
}

#[tokio::test]
async fn systemd_is_told_only_on_a_machine_that_it_runs() {
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    assert!(!boot::systemd_runs(&sysroot));
    std::fs::create_dir_all(sysroot.at("/run/systemd/system")).unwrap();
    assert!(boot::systemd_runs(&sysroot));
    assert!(
        !boot::reload(&sysroot).await.unwrap(),
        "an image is not the machine"
    );
}

#[test]
fn a_template_without_a_value_is_a_bug() {
    let values = [("a", "1 {{b}}".to_owned())];
    assert_eq!(boot::fill("x {{a}} y", &values).unwrap(), "x 1 {{b}} y");
    assert_eq!(boot::fill("{{b}}", &values).unwrap_err().kind, Kind::Bug);
    assert_eq!(boot::fill("{{a", &values).unwrap_err().kind, Kind::Bug);
    assert!(boot::engine_waits(Path::new("/mnt/a\nb")).is_err());
}

#[test]
fn a_file_where_the_link_of_the_engine_belongs_is_somebody_elses() {
    let root = tempdir();
    let sysroot = Sysroot::new(Some(root.path()));
    let wants = |name: &str| {
        let dir = sysroot.at(format!("/etc/systemd/system/{name}.wants"));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("docker.service")
    };
    std::fs::write(wants(r"mnt-kms\x2ddata.mount"), "[Service]\n").unwrap();
    assert_eq!(boot::engine_comes_up(&sysroot, target()), Ok(None));
    let unit = "/lib/systemd/system/docker.service";
    std::os::unix::fs::symlink(unit, wants("multi-user.target")).unwrap();
    let link = boot::engine_comes_up(&sysroot, target()).unwrap().unwrap();
    assert_eq!(boot::standing(&sysroot, &link), Ok(Standing::Foreign));
    assert_eq!(boot::write(&sysroot, &link).unwrap_err().kind, Kind::Refused);
}

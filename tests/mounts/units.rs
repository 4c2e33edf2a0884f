//! Units that mount a path, and their names.

use std::path::Path;

use rehome::block::units::{self, Maker};

use super::support::{Machine, sh};

#[test]
fn paths_are_escaped_as_systemd_does() {
    for path in [
        "/",
        "/mnt",
        "/mnt/kms-data",
        "/mnt//kms data/",
        "/.hidden/.too",
        "/srv/ä%b:c_d.e\\f~",
        "/mnt/volume_nyc1_01",
        "/-",
        "/a\"b'c$d*",
    ] {
        let theirs = sh("systemd-escape", &[&"-p", &"--suffix=mount", &"--", &path]);
        assert_eq!(units::unit_name(Path::new(path), "mount"), theirs, "{path}");
    }
}

#[test]
fn units_of_others_for_the_same_place_are_found() {
    let machine = Machine::new();
    let sysroot = machine.sysroot();
    let target = Path::new("/mnt/kms-data");
    assert_eq!(units::mounting(&sysroot, target, None).unwrap(), []);
    let write = |path: &str, text: &str| {
        let path = sysroot.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        r"/etc/systemd/system/mnt-kms\x2ddata.mount",
        "[Unit]\nDescription=Mount DO Volume kms-data\n\n[Mount]\nWhat=/dev/disk/by-id/scsi-0DO_Volume_kms-data\nWhere=/mnt/kms-data\nOptions=defaults,nofail,discard,noatime\nType=ext4\n\n[Install]\nWantedBy=multi-user.target\n",
    );
    write(
        "/usr/lib/systemd/system/other.mount",
        "[Mount]\nWhat=/dev/vdb\nWhere=/mnt/other\n",
    );
    write(
        "/usr/lib/systemd/system/data.automount",
        "[Automount]\n Where = /mnt/kms-data/ \n",
    );
    write("/usr/lib/systemd/system/note.txt", "Where=/mnt/kms-data\n");
    std::os::unix::fs::symlink("usr/lib", sysroot.at("/lib")).unwrap();
    std::os::unix::fs::symlink("/nowhere", sysroot.at("/etc/systemd/system/broken.mount")).unwrap();
    let found = units::mounting(&sysroot, target, None).unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|unit| (unit.file.to_str().unwrap(), unit.what.as_deref(), unit.maker))
        .collect();
    assert_eq!(
        told,
        [
            (
                r"/etc/systemd/system/mnt-kms\x2ddata.mount",
                Some("/dev/disk/by-id/scsi-0DO_Volume_kms-data"),
                Maker::DigitalOcean
            ),
            ("/usr/lib/systemd/system/data.automount", None, Maker::Unknown),
        ]
    );
}

//! The editor, on files that nobody would write and on such that people do.

use proptest::prelude::*;

use super::*;

const UUID: &str = "0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

fn line() -> Line {
    Line::new(UUID.parse().unwrap(), Path::new("/mnt/kms-data"), "ext4").unwrap()
}

fn new(change: Change, old: &[u8]) -> Vec<u8> {
    match change {
        Change::Unchanged => old.to_owned(),
        Change::New(bytes) => bytes,
    }
}

fn clash(fstab: &str) -> Vec<Why> {
    let line = line().on_device(Path::new("/dev/disk/by-id/scsi-0DO_Volume_kms"));
    let names = |path: &Path| match path.to_str() {
        Some("/srv/link") => PathBuf::from("/mnt/kms-data"),
        Some(
            "/dev/disk/by-id/scsi-0DO_Volume_kms" | "/dev/disk/by-label/kms" | "/dev/disk/by-partlabel/kms",
        ) => PathBuf::from("/dev/sda"),
        _ => lexical(path),
    };
    match Fstab::parse(fstab.as_bytes()).with(&line, &names) {
        Ok(_) => Vec::new(),
        Err(clashes) => clashes.iter().map(|clash| clash.why).collect(),
    }
}

#[test]
fn the_line_is_the_one_that_was_promised() {
    insta::assert_snapshot!(line(), @"UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data ext4 defaults,nofail,discard,noatime,errors=remount-ro,x-systemd.device-timeout=30s,x-rehome 0 2");
    let xfs = Line::new(UUID.parse().unwrap(), Path::new("/mnt//my data/"), "xfs").unwrap();
    insta::assert_snapshot!(xfs, @r"UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/my\040data xfs defaults,nofail,discard,noatime,x-systemd.device-timeout=30s,x-rehome 0 0");
    for target in ["mnt", "/", "/mnt/../etc", ""] {
        assert!(
            Line::new(UUID.parse().unwrap(), Path::new(target), "ext4").is_err(),
            "{target}"
        );
    }
    for options in ["", "a b", "ro\n/dev/sda"] {
        assert!(line().with_options(options).is_err(), "{options}");
    }
}

#[test]
fn whatever_is_in_the_way_is_named() {
    for (fstab, why) in [
        ("/dev/sdb /mnt/kms-data ext4 defaults 0 2", Why::TargetTaken),
        ("/dev/sdb /mnt/kms-data/ ext4 defaults 0 2", Why::TargetTaken),
        ("/dev/sdb //mnt/./kms\\055data ext4", Why::TargetTaken),
        ("  /dev/sdb\t/srv/link ext4\r\n", Why::TargetTaken),
        ("nas:/x /mnt/kms-data nfs", Why::TargetTaken),
        (
            "UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /srv/a ext4",
            Why::FilesystemElsewhere,
        ),
        (
            "uuid=\"0B5AE5E5-7A5B-4C1E-9F0E-4A2F3F0E8A11\" /srv/a ext4",
            Why::FilesystemElsewhere,
        ),
        (
            "/dev/disk/by-uuid/0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /srv/a ext4",
            Why::FilesystemElsewhere,
        ),
        ("/dev/sda /srv/a ext4", Why::FilesystemElsewhere),
        ("LABEL=kms /srv/a ext4", Why::FilesystemElsewhere),
        ("PARTLABEL=kms /srv/a ext4", Why::FilesystemElsewhere),
        (
            "/dev/disk/by-id/scsi-0DO_Volume_kms /mnt/kms-data ext4 defaults,nofail,discard 0 2",
            Why::SameByHand,
        ),
    ] {
        assert_eq!(clash(fstab), [why], "{fstab}");
    }
    let ours = line().to_string();
    assert_eq!(clash(&ours.replace(UUID, OTHER)), [Why::OursForAnother]);
    assert_eq!(clash(&format!("{ours}\n{ours}\n")), [Why::OursTwice]);
    assert_eq!(
        clash(
            "#/dev/sdb /mnt/kms-data ext4\n/dev/sdb /mnt/kms-data2 ext4\nUUID= none swap\n/mnt/kms-data /srv none bind"
        ),
        []
    );
}

#[test]
fn a_refusal_says_which_lines() {
    let fstab = Fstab::parse(b"# /etc/fstab\n/dev/sdb /mnt/kms-data/ ext4 defaults 0 2\n");
    let clashes = fstab.with(&line(), &lexical).unwrap_err();
    let failure = refusal(&line(), &clashes);
    insta::assert_snapshot!(format!("{}\n{}", failure.what, failure.causes.join("\n")), @r"
    /etc/fstab has another idea of /mnt/kms-data or of the file system 0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11
    line 2: mounts something else at /mnt/kms-data/: /dev/sdb /mnt/kms-data/ ext4 defaults 0 2
    ");
}

#[test]
fn other_options_replace_the_line_where_it_is() {
    let old = format!("a /a ext4\n{}\nb /b ext4", line());
    let wanted = line().with_options("defaults,nofail,ro").unwrap();
    let change = Fstab::parse(old.as_bytes()).with(&wanted, &lexical).unwrap();
    let expected = format!("a /a ext4\n{wanted}\nb /b ext4");
    assert_eq!(new(change, b""), expected.as_bytes());
}

#[test]
fn troubles_of_a_line_are_told() {
    let troubles = |text: &str| Fstab::parse(text.as_bytes()).troubles(Path::new("/mnt/a"), None, &lexical);
    assert_eq!(troubles("# nothing\n"), [Trouble::Missing]);
    assert!(matches!(
        troubles("/dev/sda1 /mnt/a ext4 defaults 0 2\n")[..],
        [Trouble::NoNofail(_), Trouble::KernelName(_)]
    ));
    let by_uuid = "UUID=0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/a/ auto nofail";
    assert_eq!(troubles(by_uuid), []);
    assert!(matches!(
        troubles(&format!("{by_uuid},noauto"))[..],
        [Trouble::NoAuto(_)]
    ));
    assert_eq!(troubles(&format!("{by_uuid},noauto,x-systemd.automount")), []);
    let fstab = Fstab::parse(by_uuid.as_bytes());
    let mounted = |uuid: &str| fstab.troubles(Path::new("/mnt/a"), Some(&uuid.parse().unwrap()), &lexical);
    assert_eq!(mounted(UUID), []);
    assert!(matches!(mounted(OTHER)[..], [Trouble::OtherFileSystem(_)]));
}

/// Lines as they are found, and bytes as they are not.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[ \t]{0,2}#[ -~]{0,20}\r?".prop_map(String::into_bytes),
        "(UUID=[0-9a-f]{8}|/dev/sd[a-z]|LABEL=x)[ \t]{1,3}/(mnt|srv|mnt/kms-data|a\\\\040b)/?[ \t]{1,2}(ext4|xfs|swap)[ \t](defaults|nofail,ro)( 0 [012])?[ \r]?"
            .prop_map(String::into_bytes),
    ];
    (proptest::collection::vec(line, 0..8), any::<bool>()).prop_map(|(lines, end)| {
        let mut bytes = lines.join(&b'\n');
        if end {
            bytes.push(b'\n');
        }
        bytes
    })
}

proptest! {
    #[test]
    fn every_foreign_line_comes_out_unchanged_and_in_order(bytes in file()) {
        let fstab = Fstab::parse(&bytes);
        prop_assert_eq!(&fstab.bytes(), &bytes);
        let Ok(change) = fstab.with(&line(), &lexical) else { return Ok(()) };
        let after = new(change, &bytes);
        let ours = line().bytes();
        let foreign: Vec<&[u8]> = after.split(|b| *b == b'\n').filter(|line| *line != ours).collect();
        // A last line without an end gets one.
        let mut ended = bytes.clone();
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            ended.push(b'\n');
        }
        let before: Vec<&[u8]> = ended.split(|b| *b == b'\n').collect();
        prop_assert_eq!(foreign, before);
        let again = Fstab::parse(&after);
        prop_assert_eq!(again.with(&line(), &lexical), Ok(Change::Unchanged));
        prop_assert_eq!(new(again.without(line().target(), &lexical), &after), ended);
    }

    #[test]
    fn a_mount_point_of_any_bytes_is_found_again(name in proptest::collection::vec(1u8..=255, 1..20)) {
        let name: Vec<u8> = name.into_iter().filter(|b| *b != b'/').collect();
        let target = Path::new("/mnt").join(OsStr::from_bytes(&name));
        let Ok(line) = Line::new(UUID.parse().unwrap(), &target, "ext4") else { return Ok(()) };
        let bytes = line.bytes();
        prop_assert!(!bytes.contains(&b'\n'));
        let entry = Fstab::parse(&bytes).entries().next().unwrap();
        prop_assert_eq!(&entry.target, line.target());
        prop_assert!(entry.is_ours());
    }
}

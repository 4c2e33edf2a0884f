//! Destinations that refuse: full, out of inodes, read-only; and those that keep less.

use rehome::helper::context::Context;
use rehome::helper::copy;
use rehome::helper::probe::probe;
use rehome::helper::protocol::{CopyRequest, FailClass, Place, VerifyRequest};
use rehome::helper::verify;

use crate::support::{Bench, Disk, Random, assert_same, bash, grow, sh};

#[test]
fn a_full_disk_is_told_apart_and_the_pass_can_be_repeated_after_making_room() {
    let disk = Disk::new("40M", "mkfs.ext4", &[]);
    let bench = Bench::new();
    bash(
        &bench.from,
        "for n in $(seq 30); do head -c 1000000 /dev/urandom > f$n; done",
    );
    bash(&disk.at, "head -c 15000000 /dev/urandom > ballast");
    let request = bench.request_to(&disk);
    let fault = copy::copy(&Context::new(), &request).unwrap_err();
    assert_eq!(fault.class, FailClass::Full, "{fault:?}");
    assert!(
        fault.what.contains('f') && fault.because.contains("No space left"),
        "{fault:?}"
    );
    assert!(!bench.manifest.exists());
    sh("rm", &[&disk.at.join("ballast")]);
    // What is there of the first try is written anew; make room for that as well.
    copy::copy(&Context::new(), &request).unwrap();
    assert_same(&bench.from, &request.to);
}

#[test]
fn a_disk_without_inodes_is_full() {
    let disk = Disk::new("40M", "mkfs.ext4", &["-N", "64"]);
    let bench = Bench::new();
    bash(&bench.from, "for n in $(seq 200); do echo > f$n; done");
    let fault = copy::copy(&Context::new(), &bench.request_to(&disk)).unwrap_err();
    assert_eq!(fault.class, FailClass::Full, "{fault:?}");
    let free = probe(&disk.at, &[]).unwrap();
    assert_eq!(free.inodes_free, 0);
}

#[test]
fn a_read_only_disk_is_told_apart() {
    let disk = Disk::new("40M", "mkfs.ext4", &[]);
    let bench = Bench::new();
    bash(&bench.from, "echo x > f");
    let request = bench.request_to(&disk);
    disk.remount("ro");
    let fault = copy::copy(&Context::new(), &request).unwrap_err();
    assert_eq!(fault.class, FailClass::ReadOnly, "{fault:?}");
    assert!(probe(&disk.at, &[]).unwrap().read_only);
    disk.remount("rw");
    assert!(!probe(&disk.at, &[]).unwrap().read_only);
}

#[test]
fn a_file_system_of_whole_seconds_keeps_whole_seconds_and_verifies() {
    let disk = Disk::new("60M", "mkfs.ext4", &["-I", "128"]);
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir d; echo a > d/a; ln -s a d/l; touch -h -d @1000.9 d/l; touch -d @1000.999999999 d/a; touch -d @2000.5 d",
    );
    let request = bench.request_to(&disk);
    copy::copy(&Context::new(), &request).unwrap();
    assert_eq!(
        bash(&request.to, "stat -c %.9Y d d/a d/l"),
        "2000.000000000\n1000.000000000\n1000.000000000\n"
    );
    let verify = || {
        verify::verify(
            &Context::new(),
            &VerifyRequest {
                to: request.to.clone(),
                ..bench.verify_request()
            },
        )
    };
    verify().unwrap();
    bench.settle();
    copy::copy(&Context::new(), &request).unwrap();
    let again = copy::copy(&Context::new(), &request).unwrap();
    assert_eq!(again.files_copied, 0);
    assert_eq!(again.metadata_changed, 0, "rounded times are no change");
    sh("touch", &[&"-d", &"@1001", &request.to.join("d/a")]);
    assert_eq!(verify().unwrap_err().class, FailClass::Differs);
}

#[test]
fn a_tree_goes_from_ext4_to_xfs_and_back() {
    let xfs = Disk::new("320M", "mkfs.xfs", &[]);
    let bench = Bench::new();
    grow(&bench.from, &mut Random(4711), 120);
    let there = bench.request_to(&xfs);
    copy::copy(&Context::new(), &there).unwrap();
    assert_same(&bench.from, &there.to);
    let home = Bench::new();
    copy::copy(
        &Context::new(),
        &CopyRequest {
            from: there.to.clone(),
            ..home.request()
        },
    )
    .unwrap();
    assert_same(&bench.from, &home.to);
}

#[test]
fn trap_12_lost_found_of_a_file_system_is_not_data_but_elsewhere_it_is() {
    let disk = Disk::new("40M", "mkfs.ext4", &[]);
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir lost+found; echo data > lost+found/f; echo x > x",
    );
    // Into a sub-directory: a name like any other.
    let request = bench.request_to(&disk);
    copy::copy(&Context::new(), &request).unwrap();
    assert_same(&bench.from, &request.to);
    // From the root of a file system: left out. And into one: left alone.
    let home = Bench::new();
    copy::copy(
        &Context::new(),
        &CopyRequest {
            from: disk.at.clone(),
            ..home.request()
        },
    )
    .unwrap();
    assert_eq!(bash(&home.to, "ls"), "data\n");
    bash(&home.from, "echo new > new");
    copy::copy(
        &Context::new(),
        &CopyRequest {
            to: disk.at.clone(),
            ..home.request()
        },
    )
    .unwrap();
    assert_eq!(bash(&disk.at, "ls"), "lost+found\nnew\n");
    let request = VerifyRequest {
        to: disk.at.clone(),
        ..home.verify_request()
    };
    verify::verify(&Context::new(), &request).unwrap();
    let fault = copy::copy(
        &Context::new(),
        &CopyRequest {
            to: disk.at.clone(),
            ..bench.request()
        },
    )
    .unwrap_err();
    assert_eq!(fault.class, FailClass::Refused);
}

#[test]
fn a_mount_inside_is_reported_and_not_entered() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir -p d/mnt same; echo x > d/f; mkdir other; echo y > other/g",
    );
    let inside = Disk::new("40M", "mkfs.ext4", &[]);
    std::fs::write(inside.at.join("secret"), "s").unwrap();
    let (one, two) = (bench.from.join("d/mnt"), bench.from.join("same"));
    sh("mount", &[&"--bind", &inside.at, &one]);
    // The same device, and still a mount of its own.
    sh("mount", &[&"--bind", &bench.from.join("other"), &two]);
    let scan = rehome::helper::scan::scan(&Context::new(), &bench.from);
    let cx = Context::new();
    let copied = copy::copy(&cx, &bench.request());
    let verified = bench.try_verify();
    let places = probe(&bench.from, &["d/mnt".into(), "same".into(), "d".into()]);
    sh("umount", &[&one]);
    sh("umount", &[&two]);
    assert_eq!(scan.unwrap().mounts_inside, ["d/mnt", "same"]);
    copied.unwrap();
    assert_eq!(cx.take_notes().len(), 2);
    verified.unwrap();
    assert_eq!(bash(&bench.to, "find . -type f | sort"), "./d/f\n./other/g\n");
    let filled = Place::Filled {
        names: vec!["f".to_owned(), "mnt".to_owned()],
    };
    assert_eq!(
        places.unwrap().below,
        [Place::OtherDevice, Place::OtherDevice, filled]
    );
}

#[test]
fn a_probe_says_what_stat_and_findmnt_say() {
    let disk = Disk::new("64M", "mkfs.ext4", &[]);
    bash(
        &disk.at,
        "mkdir -p 'a dir/empty'; ln -s /etc link; echo > file; mkdir full; touch full/{1,2,3,4,5,6,7}",
    );
    let below = ["a dir/empty", "link", "file", "full", "none/x", "link/x"].map(std::path::PathBuf::from);
    let probe = probe(&disk.at, &below).unwrap();
    let stat = |format: &str| sh("stat", &[&"-f", &"-c", &format, &disk.at]).trim().to_owned();
    assert_eq!(probe.fs_id, format!("{:0>16}", stat("%i")));
    let number = |format: &str| stat(format).parse::<u64>().unwrap();
    assert_eq!(probe.bytes_total, number("%b") * number("%S"));
    assert_eq!(probe.bytes_free, number("%a") * number("%S"));
    assert_eq!(
        (probe.inodes_total, probe.inodes_free),
        (number("%c"), number("%d"))
    );
    let findmnt = |what: &str| {
        sh("findmnt", &[&"-n", &"-o", &what, &"-T", &disk.at])
            .trim()
            .to_owned()
    };
    assert_eq!(
        (probe.device, probe.fs_type, probe.source),
        (findmnt("MAJ:MIN"), "ext4".to_owned(), findmnt("SOURCE"))
    );
    assert_eq!(probe.mount_root, "/");
    let not = |what: &str| Place::NotADirectory {
        what: what.to_owned(),
    };
    assert_eq!(probe.below[..3], [Place::Empty, not("a symlink"), not("a file")]);
    assert!(matches!(&probe.below[3], Place::Filled { names } if names.len() == 5));
    assert_eq!(probe.below[4..], [Place::Missing, not("a symlink")]);
}

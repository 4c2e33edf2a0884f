//! A tree as a tar archive, judged by GNU tar, bsdtar and Python; and back, judged by rsync, find and getfattr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rehome::helper::archive::archive;
use rehome::helper::context::Context;
use rehome::helper::fault::Fault;
use rehome::helper::protocol::{ArchiveReport, FailClass, UnarchiveReport};
use rehome::helper::unarchive::{Job, unarchive};

use crate::support::{Bench, Disk, Random, assert_same, bash, bytes, grow, sh};

/// Unpacks as a superuser does who wants everything back. Without `--acls`, which removes the ACLs that are stored as the
/// attributes that they are.
pub const GNU_TAR: &str =
    "tar --warning=no-timestamp --numeric-owner --same-owner -p --xattrs --xattrs-include='*' -x";

/// Archives a whole tree into a file.
#[track_caller]
pub fn to_file(dir: &Path, file: &Path) -> ArchiveReport {
    let mut out = std::fs::File::create(file).unwrap();
    let report = archive(&Context::new(), dir, false, None, &mut out).unwrap();
    assert_eq!(report.tar_bytes, out.metadata().unwrap().len());
    report
}

/// Unpacks a whole file.
pub fn from_file(file: &Path, dir: &Path) -> Result<UnarchiveReport, Fault> {
    let job = Job {
        dir,
        only: None,
        strip: 0,
        like: None,
    };
    unarchive(&Context::new(), job, &mut std::fs::File::open(file).unwrap())
}

/// A file beside the trees.
pub fn beside(bench: &Bench, name: &str) -> PathBuf {
    bench.from.parent().unwrap().join(name)
}

fn new_dir(bench: &Bench, name: &str) -> PathBuf {
    let dir = beside(bench, name);
    std::fs::create_dir(&dir).unwrap();
    dir
}

#[test]
fn random_trees_come_back_and_gnu_tar_makes_the_same_of_the_archive() {
    for seed in 1..=3 {
        let bench = Bench::new();
        grow(&bench.from, &mut Random(seed * 104_729), 150);
        bash(
            &bench.from,
            "chmod 3751 .; chown 70:71 .; touch -d @1234567890.987654321 .",
        );
        let file = beside(&bench, "a.tar");
        let sent = to_file(&bench.from, &file);
        let entries: u64 = bash(&bench.from, "find . -printf x | wc -c")
            .trim()
            .parse()
            .unwrap();
        let size: u64 = bash(
            &bench.from,
            r"find . -type f -printf '%i %s\n' | sort -u | awk '{s+=$2} END{print s}'",
        )
        .trim()
        .parse()
        .unwrap();
        assert_eq!((sent.entries, sent.bytes), (entries, size), "seed {seed}");
        let came = from_file(&file, &bench.to).unwrap();
        bench.assert_same();
        assert_eq!(
            (came.entries, came.bytes, &came.tree),
            (sent.entries, sent.bytes, &sent.tree)
        );
        // The other way for GNU tar: ours is read by it …
        let gnu = new_dir(&bench, "gnu");
        let said = bash(&gnu, &format!("{GNU_TAR} -f ../a.tar 2>&1"));
        assert_eq!(said, "", "seed {seed}");
        assert_same(&bench.from, &gnu);
        // … and its own by us.
        bash(
            &bench.from,
            "tar --format=pax --sparse --numeric-owner --xattrs --xattrs-include='*' -cf ../gnu.tar . 2>&1",
        );
        let back = new_dir(&bench, "back");
        let foreign = from_file(&beside(&bench, "gnu.tar"), &back).unwrap();
        assert_same(&bench.from, &back);
        assert_eq!(foreign.tree, sent.tree, "seed {seed}");
        let members = bash(&bench.from, "tar -tf ../a.tar | wc -l").trim().to_owned();
        assert_eq!(members, entries.to_string());
        assert_eq!(bash(&bench.from, "tar -tf ../a.tar | head -1 || true"), "./\n");
    }
}

#[test]
fn other_programs_read_the_archive() {
    let bench = Bench::new();
    let long = "a-name-that-goes-on-".repeat(10);
    bash(
        &bench.from,
        &format!(
            "mkdir -p d/{long}; echo one > d/{long}/f; ln d/{long}/f hard; ln -s d/{long}/f soft; echo é > é
             truncate -s 20M sparse; echo middle | dd of=sparse bs=1M seek=9 conv=notrunc status=none
             chown 3000000:4000000 hard; touch -h -d @-5.25 soft"
        ),
    );
    to_file(&bench.from, &beside(&bench, "a.tar"));
    let hashes = |dir: &Path| {
        bash(
            dir,
            "find . -type f -exec sha256sum {} + | LC_ALL=C sort; readlink soft",
        )
    };
    for (name, line) in [
        ("bsd", "bsdtar -xpf ../a.tar"),
        (
            "python",
            "python3 -c 'import tarfile; tarfile.open(\"../a.tar\").extractall(\".\", filter=\"fully_trusted\")' || \
             python3 -c 'import tarfile; tarfile.open(\"../a.tar\").extractall(\".\")'",
        ),
    ] {
        let dir = new_dir(&bench, name);
        bash(&dir, line);
        assert_eq!(hashes(&dir), hashes(&bench.from), "{name}");
        assert_eq!(
            bash(&dir, "stat -c '%u:%g %h' hard; stat -c %b sparse")
                .lines()
                .next(),
            Some("3000000:4000000 2"),
            "{name}"
        );
    }
}

#[test]
fn what_is_attached_to_entries_comes_back() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "cp /bin/true cap; chown 5:6 cap; setcap cap_net_bind_service+ep cap
         cp /bin/true suid; chown 5:6 suid; chmod 6755 suid
         mkdir sticky; chmod 1777 sticky; setfacl -m u:70:rwx,d:u:70:rwx sticky
         echo x > big; setfattr -n user.big -v \"$(head -c 1500 /dev/zero | tr '\\0' v)\" big
         setfattr -n user.lines -v 'line\\012and=more' big
         ln -s nowhere link; setfattr -h -n trusted.note -v x link
         mkfifo fifo; chmod 621 fifo; mknod null c 1 3; mknod disk b 8 300
         setfattr -n user.root -v yes .; setfacl -m u:70:rwx,d:u:71:r . ; chmod 2750 .",
    );
    let file = beside(&bench, "a.tar");
    let sent = to_file(&bench.from, &file);
    let came = from_file(&file, &bench.to).unwrap();
    assert_eq!(came.tree, sent.tree);
    bench.assert_same();
    let look = |dir: &Path| {
        bash(
            dir,
            "getcap cap; stat -c '%n %a %u:%g %t:%T' * .; getfattr -h -d -m- * . 2>&1; getfacl -np sticky .",
        )
    };
    assert_eq!(look(&bench.from), look(&bench.to));
    let gnu = new_dir(&bench, "gnu");
    bash(&gnu, &format!("{GNU_TAR} -f ../a.tar"));
    assert_eq!(look(&bench.from), look(&gnu));
    assert!(look(&gnu).contains("cap_net_bind_service=ep"));
    // A name that cannot stand in a record as it is.
    bash(&bench.from, "setfattr -n 'user.a=b%c' -v x big");
    let sent = to_file(&bench.from, &file);
    assert_eq!(
        bash(&bench.from, "grep -ac 'SCHILY.xattr.user.a%3Db%25c=x' ../a.tar"),
        "1\n"
    );
    let again = new_dir(&bench, "again");
    assert_eq!(from_file(&file, &again).unwrap().tree, sent.tree);
    assert_eq!(look(&bench.from), look(&again));
}

#[test]
fn holes_stay_holes_and_ends_where_they_were() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "truncate -s 200M all-hole
         truncate -s 90M ends-with-hole; dd if=/dev/urandom of=ends-with-hole bs=1M count=20 conv=notrunc status=none
         dd if=/dev/urandom of=begins-with-hole bs=4096 seek=20000 count=3 status=none
         dd if=/dev/zero of=zeros bs=1M count=3 status=none
         truncate -s 5M small; dd if=/dev/urandom of=small bs=4096 seek=3 count=1 conv=notrunc status=none
         truncate -s 200M many; for n in $(seq 1 7 2000); do
           dd if=/dev/urandom of=many bs=4096 seek=$n count=1 conv=notrunc status=none; done
         printf odd >> many",
    );
    let file = beside(&bench, "a.tar");
    let sent = to_file(&bench.from, &file);
    assert!(
        sent.tar_bytes < 40 << 20,
        "holes are not stored: {}",
        sent.tar_bytes
    );
    from_file(&file, &bench.to).unwrap();
    let look = |dir: &Path| bash(dir, r"find . -type f -printf '%P %s %b\n' | sort; sha256sum *");
    assert_eq!(look(&bench.from), look(&bench.to));
    let gnu = new_dir(&bench, "gnu");
    bash(&gnu, &format!("{GNU_TAR} -f ../a.tar"));
    assert_eq!(look(&bench.from), look(&gnu));
}

#[test]
fn long_paths_and_lengths_beyond_octal_are_kept() {
    let bench = Bench::new();
    // 40 levels of 200 bytes: twice PATH_MAX. And a file whose length has twelve digits in octal.
    bash(
        &bench.from,
        "truncate -s 20G huge; printf end | dd of=huge bs=1 seek=19100000000 conv=notrunc status=none
         name=$(printf 'd%.0s' $(seq 200)); for n in $(seq 40); do mkdir $name; cd $name; echo $n > f; done; touch -d @5 .",
    );
    let wide = bytes(&bench.from, &[b'w'; 255]);
    std::fs::write(&wide, "255").unwrap();
    // The large file goes nowhere: GNU tar lists it as it comes.
    let script = format!(
        "{} helper '{}' 2>/dev/null </dev/null | tar -tvf - | awk '$6 == \"./huge\" {{print $3}}'",
        env!("CARGO_BIN_EXE_rehome"),
        serde_json::json!({"do": "archive", "dir": bench.from, "live": false, "only": null})
    );
    assert_eq!(bash(&bench.from, &script).trim(), (20_u64 << 30).to_string());
    bash(&bench.from, "rm huge");
    let file = beside(&bench, "a.tar");
    let sent = to_file(&bench.from, &file);
    let came = from_file(&file, &bench.to).unwrap();
    assert_eq!(came.tree, sent.tree);
    let look = |dir: &Path| {
        bash(
            dir,
            r"find . -printf '%P %y %U:%G %m %T@\n' | sort | sha256sum; find . -type f -execdir cat {} + | sort | sha256sum",
        )
    };
    assert_eq!(look(&bench.from), look(&bench.to));
}

#[test]
fn sockets_are_left_out_and_said_so() {
    let bench = Bench::new();
    let _socket = std::os::unix::net::UnixListener::bind(bench.from.join("s.sock")).unwrap();
    std::fs::write(bench.from.join("f"), "x").unwrap();
    let cx = Context::new();
    let report = archive(&cx, &bench.from, true, None, &mut std::io::sink()).unwrap();
    assert_eq!((report.sockets, report.entries), (1, 2));
    assert_eq!(cx.take_notes(), ["socket s.sock was left out"]);
}

/// Does something when the archive has come to a certain length.
struct Trigger<'a> {
    at: u64,
    seen: u64,
    done: AtomicBool,
    action: &'a (dyn Fn() + Sync),
}

impl Write for Trigger<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.seen += bytes.len() as u64;
        if self.seen >= self.at && !self.done.swap(true, Relaxed) {
            (self.action)();
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn disturbed(
    bench: &Bench,
    live: bool,
    action: &(dyn Fn() + Sync),
) -> (Result<ArchiveReport, Fault>, Vec<String>) {
    let cx = Context::new();
    let mut out = Trigger {
        at: 5 << 20,
        seen: 0,
        done: AtomicBool::new(false),
        action,
    };
    let result = archive(&cx, &bench.from, live, None, &mut out);
    (result, cx.take_notes())
}

#[test]
fn what_changes_meanwhile_is_said_in_a_live_tree_and_an_error_in_one_that_stands_still() {
    let make = |bench: &Bench| {
        bash(
            &bench.from,
            "mkdir z; head -c 30000000 /dev/urandom > a-large; echo 1 > z/gone; echo 1 > z/changes; echo 1 > z/stays",
        );
    };
    let shorter = |bench: &Bench| {
        let from = bench.from.clone();
        move || {
            bash(
                &from,
                "truncate -s 12M a-large; rm z/gone; echo 22222 > z/changes",
            );
        }
    };
    let bench = Bench::new();
    make(&bench);
    let (report, notes) = disturbed(&bench, true, &shorter(&bench));
    let report = report.unwrap();
    assert_eq!(
        notes,
        [
            "a-large became shorter while it was archived; zeros are in place of what went",
            "z/gone went away while it was archived",
        ]
    );
    // The small one is what it is now, and of the large one as much as was promised.
    assert_eq!((report.entries, report.bytes), (5, 30_000_000 + 6 + 2));

    let bench = Bench::new();
    make(&bench);
    let grown = || {
        bash(&bench.from, "echo more >> a-large");
    };
    let (report, notes) = disturbed(&bench, true, &grown);
    assert_eq!(report.unwrap().bytes, 30_000_006);
    assert_eq!(
        notes,
        ["a-large was written to while it was archived; it is in the archive as it was read"]
    );

    for action in [
        "truncate -s 12M a-large",
        "rm z/gone",
        "echo 22222 > z/changes",
        "mv z y",
    ] {
        let bench = Bench::new();
        make(&bench);
        let (report, _) = disturbed(&bench, false, &|| {
            bash(&bench.from, action);
        });
        assert_eq!(report.unwrap_err().class, FailClass::SourceChanged, "{action}");
    }
}

#[test]
fn the_archive_of_a_tree_that_is_written_to_all_the_time_can_be_unpacked() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir d; for n in $(seq 300); do head -c $((n * 700)) /dev/urandom > d/f$n; done; head -c 20000000 /dev/urandom > large",
    );
    let over = AtomicBool::new(false);
    for round in 0..3 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n: u64 = 0;
                while !over.load(Relaxed) {
                    n += 1;
                    let path = bench.from.join(format!("d/f{}", n * 17 % 300 + 1));
                    match n % 4 {
                        0 => std::fs::remove_file(&path).ok(),
                        1 => std::fs::write(&path, vec![7; (n * 13 % 90_000) as usize]).ok(),
                        2 => std::fs::rename(&path, bench.from.join(format!("d/r{}", n % 50))).ok(),
                        _ => std::fs::File::options()
                            .append(true)
                            .open(bench.from.join("large"))
                            .and_then(|mut file| file.write_all(b"more"))
                            .ok(),
                    };
                }
            });
            let file = beside(&bench, "live.tar");
            let mut out = std::fs::File::create(&file).unwrap();
            let sent = archive(&Context::new(), &bench.from, true, None, &mut out);
            over.store(true, Relaxed);
            let sent = sent.unwrap();
            let to = new_dir(&bench, &format!("to-{round}"));
            let came = from_file(&file, &to).unwrap();
            assert_eq!((sent.tree, sent.entries), (came.tree, came.entries));
            bash(&to, "tar -df ../live.tar");
        });
        over.store(false, Relaxed);
    }
}

#[test]
fn one_path_of_a_tree_comes_with_the_directories_above_it() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir -p a/b/c a/bb x; echo 1 > a/b/c/f; ln a/b/c/f x/f; echo 2 > a/b/g; echo 3 > a/bb/h; chmod 700 a; chown 7:8 a a/b
         touch -d @77.5 a a/b .",
    );
    let file = beside(&bench, "a.tar");
    let whole = to_file(&bench.from, &file);
    let only = |path: &str, file: &Path| {
        let mut out = std::fs::File::create(file).unwrap();
        let cx = Context::new();
        archive(&cx, &bench.from, false, Some(Path::new(path)), &mut out)
    };
    let part = beside(&bench, "part.tar");
    let sent = only("a/b", &part).unwrap();
    assert_eq!(
        bash(&bench.from, "tar -tf ../part.tar"),
        "./\n./a/\n./a/b/\n./a/b/c/\n./a/b/c/f\n./a/b/g\n"
    );
    let came = from_file(&part, &new_dir(&bench, "part")).unwrap();
    assert_eq!((came.tree, came.entries), (sent.tree, 6));
    assert_eq!(only("a/none", &part).unwrap_err().because, "it is not there");
    assert_eq!(only("../a", &part).unwrap_err().class, FailClass::Refused);

    // And out of the whole archive, into a tree that has other things.
    let to = new_dir(&bench, "filled");
    bash(&to, "mkdir a; chmod 755 a; chown 1:1 a; echo kept > a/kept");
    let unpack = |path: &str, dir: &Path| {
        let job = Job {
            dir,
            only: Some(Path::new(path)),
            strip: 0,
            like: None,
        };
        unarchive(&Context::new(), job, &mut std::fs::File::open(&file).unwrap())
    };
    let came = unpack("a/b", &to).unwrap();
    assert_eq!((came.entries, came.bytes), (4, 4));
    assert_eq!(
        bash(&to, r"find . -mindepth 1 -printf '%P %U:%G %m\n' | sort"),
        "a 1:1 755\na/b 7:8 755\na/b/c 0:0 755\na/b/c/f 0:0 644\na/b/g 0:0 644\na/kept 0:0 644\n"
    );
    assert_eq!(bash(&to, "cat a/b/c/f a/b/g a/kept"), "1\n2\nkept\n");
    // A single file, and what is missing above it is made as it was.
    let to = new_dir(&bench, "empty");
    assert_eq!(unpack("a/b/g", &to).unwrap().entries, 3);
    assert_eq!(
        bash(&to, r"find . -mindepth 1 -printf '%P %U:%G %m %T@\n' | sort"),
        bash(
            &bench.from,
            r"find a a/b a/b/g -maxdepth 0 -printf '%p %U:%G %m %T@\n' | sort"
        )
    );
    for (path, because) in [
        ("a/b/g", "something is there already"),
        ("a/none", "the archive has nothing under this path"),
        ("a/b/g/x", "a file is on the way"),
        ("../x", "it must be relative and without `..`"),
        (".", "the path is empty"),
        // Its first name, with the content, is elsewhere.
        (
            "x",
            "it is another name of a/b/c/f, which is not in x: unpack a directory that has both",
        ),
    ] {
        let fault = unpack(path, &to).unwrap_err();
        assert_eq!(
            (fault.class, fault.because.as_str()),
            (FailClass::Refused, because),
            "{path}"
        );
    }
    assert_eq!(whole.entries, 10);
}

#[test]
fn a_full_disk_is_told_apart_and_a_coarse_one_keeps_what_it_can() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "for n in $(seq 30); do head -c 1000000 /dev/urandom > f$n; done; touch -d @5.987654321 f1; ln f1 g; touch -d @7.5 .",
    );
    let file = beside(&bench, "a.tar");
    let sent = to_file(&bench.from, &file);
    let disk = Disk::new("20M", "mkfs.ext4", &[]);
    let to = disk.at.join("to");
    std::fs::create_dir(&to).unwrap();
    let fault = from_file(&file, &to).unwrap_err();
    assert_eq!(fault.class, FailClass::Full, "{fault:?}");
    // Whole seconds: what is compared is what can be kept, and the figure is that of the archive.
    let coarse = Disk::new("100M", "mkfs.ext4", &["-I", "128"]);
    let to = coarse.at.join("to");
    std::fs::create_dir(&to).unwrap();
    assert_eq!(from_file(&file, &to).unwrap().tree, sent.tree);
    assert_eq!(bash(&to, "stat -c '%.9Y %h' f1"), "5.000000000 2\n");
    let xfs = Disk::new("400M", "mkfs.xfs", &[]);
    let to = xfs.at.join("to");
    std::fs::create_dir(&to).unwrap();
    assert_eq!(from_file(&file, &to).unwrap().tree, sent.tree);
    assert_same(&bench.from, &to);
    // The root of a file system has a lost+found that counts for nothing.
    let root = Disk::new("100M", "mkfs.ext4", &[]);
    assert_eq!(from_file(&file, &root.at).unwrap().tree, sent.tree);
    assert_eq!(to_file(&root.at, &beside(&bench, "b.tar")).tree, sent.tree);
    // A directory that is not empty is not touched.
    let fault = from_file(&file, &root.at).unwrap_err();
    assert_eq!(fault.class, FailClass::Refused);
    assert!(
        fault.because.starts_with("it is not empty: it holds "),
        "{fault:?}"
    );
    sh("sync", &[]);
}

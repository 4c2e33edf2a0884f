//! What got another name in the source is moved at the destination: the inodes there stay what they were, nothing is
//! written again, and the result is what other programs say it should be.

use std::collections::BTreeMap;
use std::path::Path;

use rehome::helper::protocol::CopyReport;

use crate::support::{Bench, Disk, Random, bash, grow};

/// A tree, copied, at rest.
fn settled(make: &str) -> Bench {
    let bench = Bench::new();
    bash(&bench.from, make);
    at_rest(bench)
}

fn at_rest(bench: Bench) -> Bench {
    bench.copy_live();
    bench.settle();
    bench.copy_live();
    assert_eq!(bench.copy().dirty, 0, "everything is settled");
    bench
}

/// Every file below a directory, by path.
fn inodes(dir: &Path) -> BTreeMap<String, String> {
    let list = bash(dir, r"find . -type f -printf '%P\t%i\n'");
    let pairs = list.lines().filter_map(|line| line.split_once('\t'));
    pairs
        .map(|(path, ino)| (path.to_owned(), ino.to_owned()))
        .collect()
}

/// Changes the source and makes a pass. The result is right; what was copied is in the report.
#[track_caller]
fn after(bench: &Bench, change: &str) -> CopyReport {
    bash(&bench.from, change);
    let report = bench.copy();
    bench.assert_same();
    bench.verify();
    report
}

#[test]
fn a_directory_with_all_that_is_in_it() {
    let bench = settled(
        "mkdir -p a/b/c; for n in $(seq 200); do echo $n > a/f$n; echo $n > a/b/c/g$n; done; ln a/f1 a/b/other; ln -s f2 a/l",
    );
    let before = inodes(&bench.to);
    let report = after(&bench, "mkdir elsewhere; mv a elsewhere/z");
    assert_eq!(
        (
            report.moved,
            report.files_copied,
            report.bytes_copied,
            report.deleted
        ),
        (1, 0, 0, 0)
    );
    let now = inodes(&bench.to);
    for (path, ino) in &before {
        let new = path.replacen("a/", "elsewhere/z/", 1);
        assert_eq!(now.get(&new), Some(ino), "{path}");
    }
    assert_eq!(now.len(), before.len());
}

#[test]
fn files_are_compared_and_stay_what_they_are() {
    let bench = settled(
        "mkdir d; for n in $(seq 50); do head -c 3000 /dev/urandom > f$n; done; head -c 3M /dev/urandom > large",
    );
    let before = inodes(&bench.to);
    let report = after(
        &bench,
        "for n in $(seq 40); do mv f$n d/g$n; done; mv large d/huge",
    );
    assert_eq!(
        (report.moved, report.files_copied, report.bytes_copied),
        (41, 0, 0)
    );
    let now = inodes(&bench.to);
    assert_eq!(now.get("d/g7"), before.get("f7"));
    assert_eq!(now.get("d/huge"), before.get("large"));
    bench.settle();
    bench.copy();
    assert_eq!(bench.copy().dirty, 0, "moved files come to rest as others do");
}

#[test]
fn names_that_are_swapped_and_directories_that_change_places() {
    let bench = settled(
        "mkdir -p a b p/q/r up/down; for n in 1 2 3; do echo a$n > a/f$n; echo b$n > b/f$n; echo $n > p/q/r/f$n; echo $n > p/q/f$n; done
         echo x > x; echo y > y; echo d > up/down/d; echo u > up/u",
    );
    let before = inodes(&bench.to);
    let report = after(
        &bench,
        "mv a t; mv b a; mv t b; mv x t; mv y x; mv t y
         mv up/down down; mv up down/up       # what was inside is outside
         mv p/q/r new; mv p/q new/q           # and away from each other",
    );
    assert_eq!((report.files_copied, report.bytes_copied), (0, 0), "{report:?}");
    assert_eq!(report.moved, 8);
    let now = inodes(&bench.to);
    for (new, old) in [
        ("b/f1", "a/f1"),
        ("a/f2", "b/f2"),
        ("x", "y"),
        ("y", "x"),
        ("down/d", "up/down/d"),
        ("down/up/u", "up/u"),
        ("new/f3", "p/q/r/f3"),
        ("new/q/f3", "p/q/f3"),
    ] {
        assert_eq!(now.get(new), before.get(old), "{old} -> {new}");
    }
}

#[test]
fn a_new_directory_in_the_place_of_the_old() {
    let bench = settled(
        "mkdir current next; for n in $(seq 20); do echo old$n > current/f$n; echo new$n > next/f$n; done",
    );
    let report = after(&bench, "rm -r current; mv next current; echo more > current/more");
    assert_eq!(
        (report.moved, report.files_copied, report.bytes_copied),
        (1, 1, 5)
    );
}

#[test]
fn a_log_that_was_turned_over() {
    let bench = settled("head -c 5M /dev/urandom | base64 > log; echo old > log.2");
    let before = inodes(&bench.to);
    let report = after(
        &bench,
        "echo a last line >> log; mv log log.1; echo a first line > log",
    );
    assert_eq!(
        (report.moved, report.files_copied, report.files_patched),
        (1, 2, 1)
    );
    assert!(report.bytes_copied < 10_000, "{report:?}");
    assert_eq!(inodes(&bench.to).get("log.1"), before.get("log"));
}

#[test]
fn an_inode_that_is_used_again_is_no_move() {
    let disk = Disk::new("40M", "mkfs.ext4", &[]);
    let mut bench = Bench::new();
    bench.from = disk.at.join("data");
    std::fs::create_dir(&bench.from).unwrap();
    bash(
        &bench.from,
        "mkdir -p top/d; echo aaaa > a; echo in > top/d/in; touch -d @1000 a",
    );
    let bench = at_rest(bench);
    // The same size and time, the same inode, another name and another content.
    let report = after(
        &bench,
        "again() { for n in $(seq 100); do $2 $3$n; if [ $(stat -c %i $3$n) = $1 ]; then return; fi; done; exit 1; }
         ino=$(stat -c %i a); rm a; again $ino touch new
         ino=$(stat -c %i top/d); rm -r top/d; again $ino mkdir top/newdir
         for f in new*; do if [ -f $f ]; then echo bbbb > $f; touch -d @1000 $f; fi; done
         for d in top/newdir*; do echo other > $d/in; done",
    );
    assert!(report.moved > 0, "it looked like a move: {report:?}");
    assert!(report.bytes_copied > 0);
}

#[test]
fn what_was_changed_at_the_destination_is_not_believed() {
    let bench = settled("echo aaaa > a; mkdir d; echo dddd > d/d; echo eeee > d/e; touch -d @1000 a d/d d/e");
    bash(
        &bench.to,
        "echo AAAA > a; echo DDDD > d/d; touch -d @1000 a d/d; rm d/e; ln -s /etc/passwd d/e; echo extra > d/extra",
    );
    let report = after(&bench, "mv a b; mv d e");
    assert_eq!((report.moved, report.files_copied), (1, 3), "{report:?}");
}

#[test]
fn a_way_that_leads_out_is_not_taken() {
    let bench = settled("mkdir -p d/e; echo f > d/e/f");
    let outside = bench.manifest.with_file_name("outside");
    std::fs::create_dir_all(outside.join("e")).unwrap();
    std::fs::write(outside.join("e/f"), "f\n").unwrap();
    bash(&bench.to, "rm -r d; ln -s ../outside d");
    after(&bench, "mv d/e e; mv e/f g");
    assert!(outside.join("e/f").exists(), "nothing was taken from outside");
}

#[test]
fn other_owners_and_modes_and_times_need_no_copy() {
    let bench = settled(
        "mkdir d; for n in $(seq 30); do head -c 2000 /dev/urandom > d/f$n; done; head -c 2M /dev/urandom > d/large",
    );
    let before = inodes(&bench.to);
    let report = after(
        &bench,
        "chown -R 4:5 d; chmod -R go-rwx d; setfattr -n user.a -v b d/f1 2>/dev/null || true",
    );
    assert_eq!((report.files_copied, report.bytes_copied), (0, 0), "{report:?}");
    assert_eq!(report.metadata_changed, 32);
    assert_eq!(inodes(&bench.to), before);
}

#[test]
fn any_number_of_changes_in_any_order() {
    let mut random = Random(0x0dd_ba11);
    let bench = Bench::new();
    grow(&bench.from, &mut random, 60);
    let bench = at_rest(bench);
    let mut moved = 0;
    for round in 0..8 {
        for step in 0..15 {
            change(&bench.from, &mut random, &format!("r{round}s{step}"));
        }
        let report = bench.copy_live();
        moved += report.moved;
        bench.assert_same();
        bench.settle();
        bench.copy();
        bench.assert_same();
        bench.verify();
    }
    assert!(moved > 20, "only {moved} entries were moved");
}

/// One change of a tree: mostly a move.
fn change(root: &Path, random: &mut Random, name: &str) {
    let list = bash(
        root,
        r"find . -mindepth 1 \( -type f -o -type d \) | LC_ALL=C sort",
    );
    // Names with a line feed in them are in the list in pieces, those that are no UTF-8 in another spelling.
    let entries: Vec<&str> = list.lines().filter(|path| root.join(path).exists()).collect();
    let mut pick = || root.join(entries[random.below(entries.len() as u64) as usize]);
    let (one, other) = (pick(), pick());
    let into = if other.is_dir() {
        other.clone()
    } else {
        other.parent().unwrap().to_owned()
    };
    match random.below(10) {
        0 => std::fs::write(into.join(name), name).unwrap(),
        1 if one.is_file() => std::fs::remove_file(one).unwrap(),
        2 => std::fs::create_dir(into.join(name)).unwrap(),
        3 if one.is_file() && other.is_file() && one != other => std::fs::rename(one, other).unwrap(),
        4 if one.is_file() && other.is_file() => {
            let aside = root.join("aside");
            std::fs::rename(&one, &aside).unwrap();
            if other.exists() {
                std::fs::rename(&other, &one).unwrap();
            }
            std::fs::rename(&aside, &other).unwrap();
        }
        // A directory cannot go into itself.
        _ if !into.starts_with(&one) => std::fs::rename(&one, into.join(name)).unwrap(),
        _ => {}
    }
}

//! Which backups there are: listed, verified, pinned and pruned by the real binary; which of them a restore takes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use jiff::{SignedDuration, Timestamp};

use crate::stacks::{furnish, small_up};
use crate::support::{BUSYBOX, Run, Stack, sh, wait_for};

/// A service with files that nobody changes by himself, and two places for its backups.
fn stack_with(keep: &str) -> Stack {
    let stack = Stack::up(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["uploads:/uploads"]
volumes:
  uploads:
"#
    ));
    let [one, two] = places(&stack);
    stack.file(
        "rehome.yml",
        &format!(
            "version: 1\nbackup:\n  to: [ {{ dir: {} }}, {{ dir: {} }} ]\n  keep: {keep}\n",
            one.display(),
            two.display()
        ),
    );
    furnish(&stack, "uploads");
    stack
}

fn places(stack: &Stack) -> [PathBuf; 2] {
    ["one", "two"].map(|name| stack.state.with_file_name(name))
}

/// The names of the backups in a place, oldest first.
fn ids(stack: &Stack, place: &Path) -> Vec<String> {
    let found = sh(&format!(
        "mkdir -p {p}/{n} && ls {p}/{n} | sort",
        p = place.display(),
        n = stack.name
    ));
    found.lines().map(str::to_owned).collect()
}

fn directory(stack: &Stack, place: &Path, id: &str) -> PathBuf {
    place.join(&stack.name).join(id)
}

/// Makes a backup, and has it be one of so many days ago: its name, its manifest and its note say so.
fn backup_of(stack: &Stack, days: i64) -> String {
    stack.rehome("backup create").exits(0);
    let [one, two] = places(stack);
    let made = ids(stack, &one).pop().expect("a backup");
    let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
    let (_, run) = made.split_once('-').expect("time and run");
    let older = format!("{}-{run}", at.strftime("%Y%m%dT%H%M%SZ"));
    for place in [&one, &two] {
        let (from, to) = (directory(stack, place, &made), directory(stack, place, &older));
        std::fs::rename(&from, &to).expect("renamed");
        manifest(&to, |manifest| {
            for (key, value) in [
                ("id", &older),
                ("began", &at.to_string()),
                ("ended", &at.to_string()),
            ] {
                manifest[key] = value.clone().into();
            }
        });
        let note = to.join("verified.json");
        let text = std::fs::read_to_string(&note).expect("a note");
        let mut said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        said["at"] = at.to_string().into();
        std::fs::write(&note, said.to_string()).expect("written");
    }
    older
}

/// Changes a manifest and gives it the hash that belongs to it.
fn manifest(directory: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let file = directory.join("manifest.json");
    let text = std::fs::read_to_string(&file).expect("a manifest");
    let mut whole: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    change(&mut whole["manifest"]);
    let hash = blake3::hash(whole["manifest"].to_string().as_bytes());
    whole["blake3"] = hash.to_hex().to_string().into();
    std::fs::write(&file, whole.to_string()).expect("written");
}

/// Every file below a place, by sha256sum.
fn bytes_of(places: &[PathBuf]) -> String {
    let places: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
    sh(&format!(
        "find {} -type f -exec sha256sum {{}} + | sort -k 2",
        places.join(" ")
    ))
}

/// The cells of a table on stdout, without the row of headings; columns are two spaces apart.
fn rows(run: &Run, beginning: &str) -> Vec<Vec<String>> {
    let of = |line: &str| {
        line.split("  ")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect()
    };
    run.out
        .lines()
        .filter(|line| line.starts_with(beginning))
        .map(of)
        .collect()
}

#[test]
fn a_list_says_how_old_how_large_where_and_when_it_was_verified() {
    let stack = stack_with("{ daily: 7 }");
    stack.rehome("backup list").exits(0);
    let [one, two] = places(&stack);
    let (old, new) = (backup_of(&stack, 9), backup_of(&stack, 0));
    // The older one is lost in one place, and its note in the other.
    sh(&format!("rm -r {}", directory(&stack, &two, &old).display()));
    sh(&format!(
        "rm {}/verified.json",
        directory(&stack, &one, &old).display()
    ));

    let said = stack.rehome("backup list").exits(0);
    let found = rows(&said, "20");
    assert_eq!(found.len(), 2, "{}", said.out);
    let place = |path: &Path| path.display().to_string();
    let size = |cells: &[String]| {
        cells
            .iter()
            .any(|cell| cell.ends_with("MB") || cell.ends_with("kB"))
    };
    assert_eq!(&found[0][..2], [old.clone(), "9 days".to_owned()]);
    assert_eq!(&found[0][4..], [place(&one), "never".to_owned()]);
    assert_eq!(&found[1][..2], [new.clone(), "0 min".to_owned()]);
    assert_eq!(&found[1][4..], [place(&one), "0 min ago".to_owned()]);
    assert!(size(&found[0][2..4]) && size(&found[1][2..4]), "{}", said.out);
    // Its second copy has a line of its own.
    let copies: Vec<_> = said
        .out
        .lines()
        .filter(|line| line.contains(&place(&two)))
        .collect();
    assert_eq!(copies.len(), 1, "{}", said.out);
    assert!(
        said.out.contains("SAVED") && said.out.contains("uploads"),
        "{}",
        said.out
    );

    let told = stack.rehome("backup list --json").exits(0).json();
    let listed = told["backups"].as_array().expect("backups");
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["id"], &listed[1]["id"]),
        (&old.clone().into(), &new.clone().into())
    );
    assert_eq!(listed[1]["state"], "complete");
    assert_eq!(listed[1]["copies"].as_array().expect("copies").len(), 2);
    // Sizes are those of the files.
    for (backup, id) in listed.iter().zip([&old, &new]) {
        let bytes = sh(&format!(
            "find {} -type f -printf '%s\n' | awk '{{ n += $1 }} END {{ print n }}'",
            directory(&stack, &one, id).display()
        ));
        assert_eq!(backup["copies"][0]["bytes"].to_string(), bytes, "{id}");
        let parts = backup["parts"].as_array().expect("parts");
        assert!(
            parts
                .iter()
                .any(|p| p["is"] == "volume" && p["name"] == "uploads"),
            "{parts:?}"
        );
    }
    let saved = told["parts"].as_array().expect("parts");
    let uploads = saved.iter().find(|p| p["name"] == "uploads").expect("the volume");
    assert_eq!(uploads["backups"], 2);

    // What is read back is verified from then on, where it was.
    stack
        .rehome(&format!("backup verify {old} --from {}", one.display()))
        .exits(0);
    let found = rows(&stack.rehome("backup list").exits(0), &old);
    assert_eq!(found[0].last().map(String::as_str), Some("0 min ago"));
    // Of one place only, by name.
    let there = stack
        .rehome(&format!("backup list --from {}", two.display()))
        .exits(0);
    assert_eq!(rows(&there, "20").len(), 1, "{}", there.out);
}

#[test]
fn a_pinned_backup_stays_and_a_dry_run_says_of_each_why() {
    let stack = stack_with("{ daily: 2, weekly: 0, monthly: 0, minimum: 1 }");
    let [one, _] = places(&stack);
    let [oldest, pinned, useless, second, newest] = [30, 20, 10, 2, 0].map(|days| backup_of(&stack, days));
    let said = stack.rehome(&format!("backup pin {pinned}")).exits(0).out;
    assert!(said.contains(&format!("{pinned} stays")), "{said}");
    let listed = stack.rehome("backup list").exits(0);
    assert_eq!(
        rows(&listed, &pinned)[0].last().map(String::as_str),
        Some("pinned")
    );
    stack
        .rehome("backup pin 20200101T000000Z-abcdef")
        .exits(3)
        .says("no place has a backup 20200101T000000Z-abcdef");

    let before = bytes_of(&places(&stack));
    let dry = stack.rehome("backup prune --dry-run").exits(0);
    for (id, stays, why) in [
        (
            &newest,
            "stays",
            "it is the last good one; minimum: 1 of 1; daily: the newest of",
        ),
        (&second, "stays", "daily: the newest of"),
        (&useless, "goes", "no rule keeps it"),
        (&pinned, "stays", "it is pinned"),
        (&oldest, "goes", "no rule keeps it"),
    ] {
        let found = rows(&dry, id);
        assert_eq!(found.len(), 2, "one line a place: {}", dry.out);
        for row in found {
            assert_eq!(row[1], stays, "{}", dry.out);
            assert!(row[3].starts_with(why), "{}", dry.out);
        }
    }
    let told = stack.rehome("backup prune --dry-run --json").exits(0).json();
    assert_eq!(told.as_array().expect("places").len(), 2);
    let going: Vec<_> = told[0]["backups"]
        .as_array()
        .expect("backups")
        .iter()
        .filter(|b| b["stays"] == false)
        .collect();
    assert_eq!(going.len(), 2);
    assert_eq!(bytes_of(&places(&stack)), before, "a dry run changed something");
    // Nobody answers, so nothing goes.
    stack.rehome("backup prune").exits(3).says("this needs an answer");
    assert_eq!(bytes_of(&places(&stack)), before);

    stack.rehome("backup prune -y").exits(0);
    for place in places(&stack) {
        assert_eq!(ids(&stack, &place), [&pinned, &second, &newest].map(Clone::clone));
    }
    // What stayed is as it was, to the byte.
    let left = bytes_of(&places(&stack));
    assert!(left.lines().all(|line| before.contains(line)), "{left}");
    stack.rehome(&format!("backup unpin {pinned}")).exits(0);
    stack.rehome("backup prune -y").exits(0);
    assert_eq!(ids(&stack, &one), [second, newest]);
}

#[test]
fn trap_16_what_is_called_verified_was_compared_byte_by_byte() {
    let stack = stack_with("{ daily: 7 }");
    let [one, _] = places(&stack);
    let id = backup_of(&stack, 3);
    let from = format!("--from {}", one.display());
    let said = stack.rehome(&format!("backup verify {from}")).exits(0).out;
    assert!(
        said.contains("read back: every hash (BLAKE3) as it was written"),
        "{said}"
    );
    // One bit, in a file that keeps its size and its time: nothing but reading finds it.
    let file = directory(&stack, &one, &id).join("volumes/uploads.tar.zst");
    sh(&format!(
        "python3 -c \"import os; p='{f}'; s=os.stat(p); d=bytearray(open(p,'rb').read()); d[len(d)//2]^=1; open(p,'wb').write(d); os.utime(p, ns=(s.st_atime_ns, s.st_mtime_ns))\"",
        f = file.display()
    ));
    let failed = stack.rehome(&format!("backup verify {from}"));
    assert_eq!(failed.code, 3, "{}", failed.err);
    let failed = failed
        .says("is not what was written")
        .says("its BLAKE3 is another");
    assert!(!failed.out.contains("every hash"), "{}", failed.out);
    // No list goes on calling it verified; the copy in the other place is.
    let listed = stack.rehome("backup list --json").exits(0).json();
    let copies = &listed["backups"][0]["copies"];
    assert_eq!(copies[0]["verified"], serde_json::Value::Null, "{listed}");
    assert_eq!(copies[1]["verified"]["how"], "hashes", "{listed}");
    // One bad copy is no success.
    let both = stack.rehome("backup verify");
    assert_eq!(both.code, 3, "{}", both.err);
}

#[test]
fn trap_17_a_minimum_stays_however_old_and_a_restore_removes_no_backup() {
    let stack = stack_with("{ daily: 1, weekly: 0, monthly: 0, minimum: 3 }");
    let [one, _] = places(&stack);
    let all: Vec<String> = [900, 800, 700, 600, 500]
        .map(|days| backup_of(&stack, days))
        .to_vec();
    stack.rehome("backup prune -y").exits(0);
    assert_eq!(ids(&stack, &one), all[2..]);
    // The newest is no good: then nothing goes at all.
    sh(&format!(
        "rm {}/manifest.json",
        directory(&stack, &one, &all[4]).display()
    ));
    stack.file(
        "rehome.yml",
        &format!("version: 1\nbackup: {{ to: [ {{ dir: {} }} ], keep: {{ daily: 1, weekly: 0, monthly: 0, minimum: 1 }} }}\n", one.display()),
    );
    let dry = stack.rehome("backup prune --dry-run").exits(0);
    assert!(dry.out.contains("nothing goes: the newest backup"), "{}", dry.out);
    stack.rehome("backup prune -y").exits(0);
    assert_eq!(ids(&stack, &one), all[2..]);

    let before = bytes_of(&places(&stack));
    sh(&format!("rm -r {}/a", stack.volume_dir("uploads").display()));
    let restore = "backup restore --latest --no-safety-backup -y";
    stack.rehome(restore).exits(0);
    assert!(stack.volume_dir("uploads").join("a/big").is_file());
    assert_eq!(bytes_of(&places(&stack)), before, "a restore changed the place");
    // Also one that fails.
    sh(&format!(
        "truncate -s 100 {}/volumes/uploads.tar.zst",
        directory(&stack, &one, &all[3]).display()
    ));
    let before = bytes_of(&places(&stack));
    let run = stack.rehome(&format!("backup restore {} --no-safety-backup -y", all[3]));
    assert_ne!(run.code, 0, "{}", run.err);
    assert_eq!(bytes_of(&places(&stack)), before);
}

/// Another program that holds the system's own lock on a file, until it is killed.
struct Holder(Child);

impl Holder {
    fn of(lock: &str) -> Self {
        let mut command = Command::new("flock");
        command.args(["--no-fork", lock, "sleep", "1000000"]);
        Self(command.spawn().expect("flock"))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it ended");
    }
}

#[test]
fn trap_18_nothing_is_written_or_removed_while_somebody_has_the_lock_however_old_it_is() {
    let stack = stack_with("{ daily: 1, weekly: 0, monthly: 0, minimum: 1 }");
    backup_of(&stack, 5);
    backup_of(&stack, 3);
    let lock = sh(&format!(
        "find {} -path '*/projects/*' -name lock",
        stack.state.display()
    ));
    let holder = Holder::of(&lock);
    wait_for("the lock to be held", || {
        !Command::new("flock")
            .args(["-n", &lock, "true"])
            .status()
            .expect("flock")
            .success()
    });
    sh(&format!("touch -d '10 years ago' {lock}"));
    let before = bytes_of(&places(&stack));
    for command in ["backup create", "backup prune -y", "backup restore --latest -y"] {
        let run = stack.rehome(command);
        assert_eq!(run.code, 3, "{command}: {}", run.err);
    }
    assert_eq!(
        bytes_of(&places(&stack)),
        before,
        "somebody wrote beside the lock"
    );
    // The lock ends with its process, and with nothing else.
    drop(holder);
    stack.rehome("backup prune -y").exits(0);
    assert_eq!(ids(&stack, &places(&stack)[0]).len(), 1);
}

#[test]
fn trap_19_an_emptied_volume_is_said_and_takes_no_older_backup_with_it() {
    let stack = stack_with("{ daily: 7 }");
    let [one, _] = places(&stack);
    let good = backup_of(&stack, 1);
    let before = bytes_of(&[directory(&stack, &one, &good)]);
    let uploads = stack.volume_dir("uploads");
    sh(&format!("find {} -mindepth 1 -delete", uploads.display()));
    stack
        .rehome("backup create")
        .exits(0)
        .says("volumes/uploads.tar.zst has")
        .says("look whether something is missing");
    stack.rehome("backup prune -y").exits(0);
    assert_eq!(bytes_of(&[directory(&stack, &one, &good)]), before);
    stack
        .rehome(&format!("backup restore {good} --no-safety-backup -y"))
        .exits(0);
    assert!(stack.volume_dir("uploads").join("a/b/c/file").is_file());
}

#[test]
fn the_last_backup_that_is_damaged_is_passed_over_and_that_is_said() {
    let stack = stack_with("{ daily: 7 }");
    let [good, damaged] = [5, 3].map(|days| backup_of(&stack, days));
    let restore = "backup restore --latest --no-safety-backup";
    let fine = stack.rehome(&format!("{restore} --dry-run")).exits(0).out;
    assert!(fine.contains(&damaged) && !fine.contains("passed over"), "{fine}");
    // In both places the manifest is another by one letter.
    for place in places(&stack) {
        sh(&format!(
            "sed -i 's/uploads/Uploads/' {}/manifest.json",
            directory(&stack, &place, &damaged).display()
        ));
    }
    let listed = stack.rehome("backup list --json").exits(0).json();
    assert_eq!(listed["backups"][1]["state"], "unreadable");

    let said = stack.rehome(&format!("{restore} --dry-run")).exits(0).out;
    assert!(said.contains(&format!("from backup {good}")), "{said}");
    let warning = format!("Note: the newest backup, {damaged} of ");
    let line = said
        .lines()
        .find(|line| line.starts_with(&warning))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains("is passed over: the manifest of the backup is damaged"),
        "{line}"
    );
    for place in places(&stack) {
        assert!(line.contains(&format!("(in {})", place.display())), "{line}");
    }
    // For programs too, and when it is carried out.
    let plan = stack
        .rehome(&format!("{restore} --dry-run --json"))
        .exits(0)
        .json();
    assert!(
        plan["facts"]["warnings"][0]
            .as_str()
            .expect("a warning")
            .contains(&damaged),
        "{plan}"
    );
    stack.rehome(&format!("{restore} -y")).exits(0).says(&warning);
    // Whoever names it gets no other one instead.
    stack
        .rehome(&format!("backup restore {damaged} -y"))
        .exits(3)
        .says("damaged");
    // To read back an older one is no proof of the newest.
    stack.rehome("backup verify").exits(0).says("is passed over");
}

#[test]
fn a_backup_that_was_not_finished_is_passed_over_and_that_is_said() {
    let stack = small_up();
    let place = stack.state.with_file_name("one");
    let create = format!("backup create --to {}", place.display());
    stack.rehome(&create).exits(0);
    stack.rehome(&create).exits(0);
    let newest = ids(&stack, &place).pop().expect("a backup");
    sh(&format!(
        "rm {}/manifest.json",
        directory(&stack, &place, &newest).display()
    ));
    let said = stack
        .rehome(&format!(
            "backup restore --latest --from {} --dry-run",
            place.display()
        ))
        .exits(0)
        .out;
    let warning = format!("Note: the newest backup, {newest} of ");
    assert!(
        said.contains(&warning) && said.contains("it was never finished, or is being written"),
        "{said}"
    );
}

#[test]
fn one_that_was_found_damaged_is_not_counted_on_until_it_is_found_whole() {
    let stack = stack_with("{ last: 1 }");
    let [good, damaged] = [5, 3].map(|days| backup_of(&stack, days));
    // In both places one bit of the volume's archive is another: every size is as it was.
    let flip = |places: &[PathBuf]| {
        for place in places {
            let directory = directory(&stack, place, &damaged);
            let archives = sh(&format!("find {} -name '*.tar*'", directory.display()));
            let archive = archives.lines().next().expect("an archive");
            let mut bytes = std::fs::read(archive).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(archive, bytes).unwrap();
        }
    };
    flip(&places(&stack));
    let state = || stack.rehome("backup list --json").exits(0).json()["backups"][1]["state"].clone();
    assert_eq!(state(), "complete", "nobody has read it yet");
    stack
        .rehome("backup verify")
        .exits(3)
        .says("is not what was written");
    assert_eq!(state(), "damaged");
    let listed = stack.rehome("backup list").exits(0).out;
    assert!(listed.contains("its BLAKE3 is another"), "{listed}");

    // It is read again when nothing is named, and never restored by itself.
    stack.rehome("backup verify").exits(3);
    let dry = stack
        .rehome("backup restore --latest --no-safety-backup --dry-run")
        .exits(0)
        .out;
    assert!(
        dry.contains(&format!("from backup {good}")) && dry.contains("is passed over"),
        "{dry}"
    );
    // The good one is older than `last: 1` allows, and stays.
    let dry = stack.rehome("backup prune --dry-run").exits(0).out;
    assert!(dry.contains("it is the last good one"), "{dry}");
    stack.rehome("backup prune -y");
    assert!(
        places(&stack)
            .iter()
            .all(|place| directory(&stack, place, &good).exists())
    );

    let [one, two] = places(&stack);
    flip(std::slice::from_ref(&one));
    let said = stack.rehome("backup verify").exits(3);
    said.says(&format!("the copy in {} is whole", one.display()));
    assert_eq!(state(), "complete", "one of its copies is");
    flip(&[two]);
    let said = stack.rehome("backup verify").exits(0).out;
    assert!(said.contains(&damaged), "{said}");
    let listed = stack.rehome("backup list").exits(0).out;
    assert!(!listed.contains("damaged"), "{listed}");
}

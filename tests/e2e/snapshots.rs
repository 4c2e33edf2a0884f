//! Volumes as snapshots in a repository of restic: written by Rehome, read by `restic` itself, restored by both.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::stacks::furnish;
use crate::support::{BUSYBOX, Run, Stack, s3, sh, tree, try_sh, wait_for};

const PASSWORD: &str = "restic-pw-31";

/// A stack with a volume of files that nobody changes by himself, and one place for backups.
fn stack_with(place: &str, more: &str) -> Stack {
    let stack = Stack::up(&format!(
        r#"services:
  api:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    stop_grace_period: 1s
    volumes: ["uploads:/uploads"]
volumes:
  uploads:
"#
    ));
    furnish(&stack, "uploads");
    let place = place.replace("PLACE", &directory(&stack).display().to_string());
    stack.file(
        "rehome.yml",
        &format!(
            "version: 1\nbackup:\n  to: [ {{ {place}, volumes: restic }} ]\n  restic_password_from: RESTIC_PW\n{more}"
        ),
    );
    stack
}

/// As a directory of this machine.
fn stack() -> Stack {
    let keep = "  keep: { last: 1, daily: 0, weekly: 0, monthly: 0, minimum: 1 }\n";
    let stack = stack_with("dir: PLACE", keep);
    stack.file(".env", &format!("RESTIC_PW={PASSWORD}\n"));
    stack
}

/// Where this stack's backups are.
fn directory(stack: &Stack) -> PathBuf {
    stack.state.with_file_name("backups")
}

fn repository(stack: &Stack) -> PathBuf {
    directory(stack).join(&stack.name).join("restic")
}

fn create(stack: &Stack) -> Run {
    stack.rehome("backup create")
}

/// What `restic` says.
#[track_caller]
fn restic(repository: &str, arguments: &str) -> String {
    sh(&format!(
        "RESTIC_PASSWORD={PASSWORD} restic --no-cache -q -r {repository} {arguments}"
    ))
}

#[track_caller]
fn restic_here(stack: &Stack, arguments: &str) -> String {
    restic(&repository(stack).display().to_string(), arguments)
}

/// The volume as `restic` restores it.
fn restored_by_restic(stack: &Stack, repository: &str) -> String {
    let target = stack.state.with_file_name("restored");
    sh(&format!("rm -rf {}", target.display()));
    restic(
        repository,
        &format!("restore latest --target {}", target.display()),
    );
    tree(&target.join("uploads"))
}

fn size(directory: &Path) -> u64 {
    let sizes = format!("find {} -type f -printf '%s\\n'", directory.display());
    sh(&sizes)
        .lines()
        .map(|size| size.parse::<u64>().expect("a size"))
        .sum()
}

#[track_caller]
fn verified(stack: &Stack) {
    let said = stack.rehome("backup verify").exits(0).out;
    assert!(said.contains("every pack and blob of 1 snapshot"), "{said}");
}

fn ruin(stack: &Stack) {
    let volume = stack.volume_dir("uploads");
    sh(&format!("cd {} && rm -rf a && echo new > new", volume.display()));
}

#[test]
fn restic_reads_what_was_written_and_rehome_restores_it() {
    let stack = stack();
    let before = tree(&stack.volume_dir("uploads"));
    create(&stack).exits(0).says("read back from 1 place");
    restic_here(&stack, "check --read-data");
    assert_eq!(
        restored_by_restic(&stack, &repository(&stack).display().to_string()),
        before
    );
    let listed: serde_json::Value =
        serde_json::from_str(&restic_here(&stack, "snapshots --json")).expect("JSON");
    let snapshot = &listed[0];
    assert_eq!(
        (&snapshot["hostname"], &snapshot["paths"][0]),
        (&stack.name.clone().into(), &"/uploads".into())
    );
    let tags = snapshot["tags"].to_string();
    for tag in [
        "rehome",
        &format!("project:{}", stack.name),
        "volume:uploads",
        "backup:20",
    ] {
        assert!(tags.contains(&format!("\"{tag}")), "{tag} in {tags}");
    }
    // The password is in nothing that is written down.
    let found = try_sh(&format!(
        "grep -rl {PASSWORD} {} {}",
        stack.state.display(),
        directory(&stack).display()
    ));
    assert!(
        !found.status.success(),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );

    // What did not change is not stored again, and a backup in which little changed is small.
    let first = size(&repository(&stack));
    assert!(first > 3_000_000, "{first}");
    create(&stack).exits(0);
    let second = size(&repository(&stack));
    assert!(second - first < 50_000, "{first} grew to {second}");
    restic_here(&stack, "check --read-data");

    verified(&stack);
    stack
        .rehome("backup verify --drill")
        .exits(0)
        .says("content (SHA-256)");
    ruin(&stack);
    stack.rehome("backup restore --latest -y").exits(0);
    assert_eq!(tree(&stack.volume_dir("uploads")), before);
    // The state before the restore is the newest backup, and the one that stays.
    stack
        .rehome("backup prune -y")
        .exits(0)
        .says("2 snapshots forgotten");
    let left: serde_json::Value =
        serde_json::from_str(&restic_here(&stack, "snapshots --json")).expect("JSON");
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    restic_here(&stack, "check --read-data");
    verified(&stack);
    stack.assert_tidy();
}

#[test]
fn places_of_both_kinds_have_what_they_keep_and_one_that_fails_does_not_take_the_other_with_it() {
    let stack = stack();
    let archives = stack.state.with_file_name("archives");
    let config = stack
        .read("rehome.yml")
        .replace("to: [", &format!("to: [ {{ dir: {} }},", archives.display()));
    stack.file("rehome.yml", &config);
    let before = tree(&stack.volume_dir("uploads"));
    create(&stack).exits(0).says("read back from 2 places");
    let files = |place: &Path| sh(&format!("cd {}/*/*Z-*/volumes && ls", place.display()));
    assert_eq!(files(&archives), "uploads.tar.zst");
    assert_eq!(files(&directory(&stack)), "uploads.snapshot.json.zst");
    verified(&stack);
    for place in [archives.clone(), directory(&stack)] {
        ruin(&stack);
        let restore = format!(
            "backup restore --latest -y --no-safety-backup --from {}",
            place.display()
        );
        stack.rehome(&restore).exits(0);
        assert_eq!(tree(&stack.volume_dir("uploads")), before);
    }

    let data = repository(&stack).join("data");
    sh(&format!(
        "mv {0} {0}.aside && touch {0} && head -c 100000 /dev/urandom > {1}/other",
        data.display(),
        stack.volume_dir("uploads").display()
    ));
    create(&stack).exits(1).says("is left out from here on");
    let counted = |place: &Path| sh(&format!("find {} -name manifest.json | wc -l", place.display()));
    assert_eq!(
        (counted(&archives), counted(&directory(&stack))),
        ("2".into(), "1".into())
    );
    sh(&format!("rm {0} && mv {0}.aside {0}", data.display()));
    create(&stack).exits(0);
    verified(&stack);
    restic_here(&stack, "check --read-data");
}

#[test]
fn a_byte_that_changed_in_a_pack_is_found() {
    let stack = stack();
    create(&stack).exits(0);
    let packs = format!(
        "find {}/data -type f -printf '%s %p\\n' | sort -n | tail -n 1",
        repository(&stack).display()
    );
    let pack = sh(&packs).split_whitespace().nth(1).expect("a pack").to_owned();
    sh(&format!(
        "chmod u+w {pack} && printf '\\377\\377' | dd of={pack} bs=1 seek=1000 conv=notrunc status=none"
    ));
    stack.rehome("backup verify").exits(3).says("is damaged");
    let before = tree(&stack.volume_dir("uploads"));
    stack.rehome("backup restore --latest -y --no-safety-backup");
    assert_eq!(
        tree(&stack.volume_dir("uploads")),
        before,
        "a damaged backup replaces nothing"
    );
}

#[test]
fn without_a_password_or_with_another_one_nothing_is_begun() {
    let stack = stack();
    stack.file(".env", "");
    create(&stack).exits(3).says("RESTIC_PW, which is not set");
    assert!(!directory(&stack).exists());
    stack.file(".env", &format!("RESTIC_PW={PASSWORD}\n"));
    create(&stack).exits(0);
    stack.file(".env", "RESTIC_PW=another\n");
    create(&stack).says("its password is another one");
    stack.file(".env", &format!("RESTIC_PW={PASSWORD}\n"));
    verified(&stack);
}

#[test]
fn a_backup_that_is_killed_leaves_a_repository_that_is_sound() {
    let stack = stack();
    let volume = stack.volume_dir("uploads");
    sh(&format!(
        "head -c 60000000 /dev/urandom > {}/large",
        volume.display()
    ));
    let has_packs = || {
        try_sh(&format!(
            "find {}/data -type f | grep -q .",
            repository(&stack).display()
        ))
    };
    let mut child = stack
        .command("backup create", &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("rehome starts");
    wait_for("the first pack", || has_packs().status.success());
    child.kill().expect("killed");
    let ended = child.wait().expect("gone");
    assert_eq!(ended.code(), None, "it ended before it was killed");
    restic_here(&stack, "check");
    stack.rehome("rollback -y").exits(0);
    create(&stack).exits(0);
    restic_here(&stack, "check --read-data");
    verified(&stack);
    assert_eq!(
        restored_by_restic(&stack, &repository(&stack).display().to_string()),
        tree(&volume)
    );
    stack.assert_tidy();
}

#[test]
fn a_bucket_has_the_same_repository() {
    let (server, keys) = (s3("SEAWEEDFS"), s3("KEYS"));
    let (id, secret) = keys.split_once(':').expect("two halves");
    let bucket = format!("rehome-e2e-{}", std::process::id());
    sh(&format!(
        "curl -sfS --aws-sigv4 aws:amz:us-east-1:s3 -u {keys} -X PUT {server}/{bucket}"
    ));
    let stack = stack_with(&format!("s3: s3://{bucket}/kms"), "  consistency: stop\n");
    stack.file(
        ".env",
        &format!(
            "RESTIC_PW={PASSWORD}\nAWS_S3_ENDPOINT_URL={server}\nAWS_ACCESS_KEY_ID={id}\nAWS_SECRET_ACCESS_KEY={secret}\n"
        ),
    );
    let before = tree(&stack.volume_dir("uploads"));
    create(&stack).exits(0).says("read back from 1 place");
    assert_eq!(stack.running(), ["api"]);
    let repository = format!("s3:{server}/{bucket}/kms/{}/restic", stack.name);
    let by_restic = |arguments: &str| {
        sh(&format!(
            "AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} RESTIC_PASSWORD={PASSWORD} \
             restic --no-cache -q -r {repository} {arguments}"
        ))
    };
    by_restic("check --read-data");
    create(&stack).exits(0);
    verified(&stack);
    ruin(&stack);
    stack
        .rehome("backup restore --latest -y --no-safety-backup")
        .exits(0);
    assert_eq!(tree(&stack.volume_dir("uploads")), before);
    stack.rehome("backup prune -y").exits(0);
    by_restic("check --read-data");
    stack.assert_tidy();
}

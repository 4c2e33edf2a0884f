//! From an attached, empty device to a moved stack; and how large a device to buy.

use crate::stacks::{postgres_up, table_sum};
use crate::support::{BUSYBOX, Block, Stack, sh};

#[test]
fn from_an_empty_device_to_a_moved_database_in_two_commands() {
    let block = Block::attached(400);
    let stack = postgres_up();
    let sum = table_sum(&stack);
    let sysroot = block.sysroot.as_ref().unwrap().display();
    let said = stack
        .rehome(&format!(
            "mount --device auto --at /mnt/data --yes --sysroot {sysroot}"
        ))
        .exits(0)
        .err;
    assert!(
        said.contains("mkfs.ext4") && said.contains("make /mnt/data/postgres"),
        "{said}"
    );
    let root = block.path();
    // As its volume has it, and the directory of a server is nobody else's.
    let volume = stack.volume_dir("postgres_data");
    let shape = |dir: &str| sh(&format!("stat -c '%u:%g %a' {dir}"));
    assert_eq!(
        shape(&format!("{root}/postgres")),
        shape(volume.to_str().unwrap())
    );
    stack
        .rehome(&format!("move --to {root} --no-hooks --yes"))
        .exits(0);
    assert_eq!(table_sum(&stack), sum);
    // On the device, and found by a program that is not Rehome.
    let device = sh(&format!("findmnt -no SOURCE --target {root}/postgres/pgdata"));
    assert_eq!(device, block.device);
    assert_eq!(sh(&format!("blkid -p -o value -s TYPE {device}")), "ext4");
    stack.rehome("move --to volumes --no-hooks --yes").exits(0);
    assert_eq!(table_sum(&stack), sum);
}

#[test]
fn the_directory_of_a_new_database_is_its_users_alone() {
    let block = Block::attached(200);
    let stack = Stack::write(&format!(
        r#"services:
  db:
    image: {}
    environment: {{ POSTGRES_PASSWORD: secret-pw-7 }}
    volumes: ["postgres_data:/var/lib/postgresql/data"]
  app:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    user: "1234:567"
    volumes: ["media:/media"]
volumes:
  postgres_data:
  media:
"#,
        crate::support::POSTGRES
    ));
    // Made and never started: there is nothing to take owners from but the images.
    stack.compose("create");
    stack.file("rehome.yml", "version: 1\nblock:\n  volumes:\n    postgres_data: { path: postgres }\n    media: { path: media, owner: \"1000:1001\" }\n");
    let sysroot = block.sysroot.as_ref().unwrap().display();
    stack
        .rehome(&format!("mount --at /mnt/data --yes --sysroot {sysroot}"))
        .exits(0);
    let root = block.path();
    let user = sh(&format!(
        "docker run --rm --entrypoint id {} postgres | sed 's/uid=\\([0-9]*\\).* gid=\\([0-9]*\\).*/\\1:\\2/'",
        crate::support::POSTGRES
    ));
    assert_eq!(
        sh(&format!("stat -c '%u:%g %a' {root}/postgres")),
        format!("{user} 700")
    );
    assert_eq!(sh(&format!("stat -c '%u:%g %a' {root}/media")), "1000:1001 755");
}

#[test]
fn size_measures_what_du_measures_and_knows_the_growth() {
    let stack = Stack::up(&format!(
        r#"services:
  app:
    image: {BUSYBOX}
    command: ["sleep", "1000000"]
    init: true
    volumes: ["media:/media", "other:/other"]
volumes:
  media:
  other:
"#
    ));
    let dir = stack.volume_dir("media");
    let d = dir.display();
    sh(&format!(
        "cd {d}; head -c 20M /dev/urandom >large; truncate -s 1G sparse; mkdir -p a/b
         for i in $(seq 300); do echo $i >a/b/$i; done; ln -s large link; sync -f {d}"
    ));
    let measure = || {
        let json = stack.rehome("size --json").exits(0).json();
        let volumes = json["volumes"].as_array().unwrap().clone();
        let media = volumes
            .into_iter()
            .find(|volume| volume["key"] == "media")
            .unwrap();
        (json, media)
    };
    let du = |options: &str| {
        sh(&format!("du -s {options} {d} | cut -f1"))
            .parse::<u64>()
            .unwrap()
    };
    let (json, media) = measure();
    assert_eq!(media["allocated"].as_u64(), Some(du("-B1")), "{media}");
    let lengths = sh(&format!(
        "find {d} -type f -printf '%s\\n' | awk '{{n += $1}} END {{print n}}'"
    ));
    assert_eq!(media["apparent"].to_string(), lengths, "{media}");
    assert_eq!(media["files"], 302, "{media}");
    assert!(
        media.get("grown").is_none() && json.get("measured_before").is_none(),
        "{json}"
    );

    let before = du("-B1");
    sh(&format!(
        "head -c 5M /dev/urandom >{d}/more; rm {d}/a/b/1*; sync -f {d}"
    ));
    let (json, media) = measure();
    let grown = i64::try_from(du("-B1")).unwrap() - i64::try_from(before).unwrap();
    assert_eq!(media["grown"].as_i64(), Some(grown), "{media}");
    assert!(json.get("measured_before").is_some(), "{json}");
    // For people: the table, and the bars of what uses the space.
    let run = stack.rehome("size").exits(0);
    for words in ["ON DISK", "media", "NEEDS ROOM", "█", "<- enough"] {
        assert!(run.out.contains(words), "{words}: {}", run.out);
    }
    stack.assert_tidy();
}

#[test]
fn trap_01_a_move_onto_another_volume_than_fstab_says_is_refused() {
    let (block, other) = (Block::by_rehome(300), Block::attached(300));
    let stack = crate::stacks::small();
    stack.compose("up -d");
    let (root, sysroot) = (block.path(), block.sysroot.as_ref().unwrap().display());
    // For this command alone fstab is what `rehome mount` wrote, of the real paths.
    let fstab = stack.dir.join("fstab");
    sh(&format!(
        "sed 's| /mnt/data | {root} |' {sysroot}/etc/fstab >{}",
        fstab.display()
    ));
    let there = |arguments: &str| {
        let rehome = stack.command(arguments, &[]);
        let mut command = std::process::Command::new("unshare");
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/fstab && exec \"$@\"")
            .arg(&fstab)
            .arg(rehome.get_program())
            .args(rehome.get_args())
            .current_dir(&stack.dir);
        crate::support::Run::of(command.output().unwrap())
    };
    let planned = format!("move --to {root} --dry-run");
    let go = format!("move --to {root} --yes");
    there(&planned).exits(0);

    // A volume without content stands in its place after a boot.
    sh(&format!(
        "umount {root}; mkfs.ext4 -q {0}; mount {0} {root}",
        other.device
    ));
    let before = stack.shape();
    there(&go)
        .exits(3)
        .says("another volume than it should be is mounted")
        .says("nothing was changed")
        .says(&sh(&format!("blkid -p -o value -s UUID {}", other.device)))
        .says(&sh(&format!("blkid -p -o value -s UUID {}", block.device)));
    assert_eq!(stack.shape(), before);
    assert_eq!(sh(&format!("ls -A {root}")), "lost+found");

    // The right one, and its sentinel is gone.
    sh(&format!(
        "umount {root}; mount {} {root}; mv {root}/.rehome-* {}",
        block.device,
        stack.dir.display()
    ));
    there(&go).exits(3).says("has no sentinel");
    sh(&format!("mv {}/.rehome-* {root}", stack.dir.display()));
    there(&go).exits(0);
    stack.rehome("move --to volumes -y").exits(0);
}

#[test]
fn a_mount_is_not_taken_back_while_docker_has_volumes_there() {
    let block = Block::by_rehome(300);
    let stack = crate::stacks::small();
    stack.compose("up -d");
    let root = block.path();
    stack.rehome(&format!("move --to {root} --yes")).exits(0);
    // Nothing uses the volume, and no container has its definition: the next `up` does.
    stack.compose("down");
    let name = sh(&format!(
        "docker volume ls -q --filter name={}_data_block_",
        stack.name
    ));
    let sysroot = block.sysroot.as_ref().unwrap().display();
    let undo = format!("mount --undo --at /mnt/data --yes --sysroot {sysroot}");
    // Containers of other tests that start this moment have every mount for a blink.
    let mut run = stack.rehome(&undo);
    crate::support::wait_for("others to start", || {
        run = stack.rehome(&undo);
        !run.err.contains("runc:")
    });
    let run = run.exits(3);
    let words = [
        format!("{name} is {root}/data, and no container has it"),
        "rehome move --to volumes".to_owned(),
        "nothing was changed".to_owned(),
    ];
    for words in words {
        assert!(run.err.contains(&words), "{words}: {}", run.err);
    }
    sh(&format!("mountpoint -q {root}"));
    // An engine that does not answer is said not to have been asked.
    let nowhere = [("DOCKER_HOST", "unix:///nowhere")];
    let run = stack.rehome_env(&format!("{undo} --dry-run"), &nowhere).exits(0);
    assert!(run.out.contains("Docker was not asked"), "{}", run.out);

    // The way that was named.
    stack.compose("up -d");
    stack.rehome("move --to volumes --yes").exits(0);
    let run = stack.rehome(&undo).exits(3);
    let command = run
        .err
        .lines()
        .find_map(|line| line.split_once(": docker volume rm "));
    let (_, names) = command.unwrap();
    assert_eq!(names, name);
    let written = sh(&format!("sha256sum {root}/data/log"));
    sh(&format!("docker volume rm {names}"));
    assert_eq!(
        sh(&format!("sha256sum {root}/data/log")),
        written,
        "the files stay"
    );
    stack.rehome(&undo).exits(0);
    assert!(
        !crate::support::try_sh(&format!("mountpoint -q {root}"))
            .status
            .success()
    );
    assert_eq!(stack.running(), ["app", "side", "web"]);
}

//! What a mount takes, from a machine that is written down here.

use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use rehome::block::bare::{Flag, Hidden};
use rehome::block::boot::{self, Piece, Standing};
use rehome::block::device::{Attached, Device, Number, Provider};
use rehome::block::found::{Found, Signature};
use rehome::block::fsid::{FsUuid, Twins};
use rehome::block::fstab::Fstab;
use rehome::block::mounted::Mounts;
use rehome::block::sentinel::{self, Sentinel};
use rehome::block::units::{Maker, MountUnit};
use rehome::helper::mounts::Mount;
use rehome::model::{ByteSize, Failure, Owner};
use rehome::observe::{BareSeen, Candidate, ContentSeen, DefinitionSeen, DeviceSeen, MachineSeen, UndoSeen};
use rehome::plan::mount::{
    Action, DirWanted, MountPlan, MountWanted, Told, choose, plan_mount, plan_undo, render,
};

const AT: &str = "/mnt/kms-data";
const FSTAB: &[u8] = b"# /etc/fstab\nUUID=11111111-2222-3333-4444-555555555555 / ext4 defaults 0 1\n";

fn uuid() -> FsUuid {
    "0b5ae5e5-7a5b-4c1e-9f0e-4a2f3f0e8a11".parse().unwrap()
}

/// An attached, empty volume, and a machine that knows nothing of it.
fn machine() -> MachineSeen {
    MachineSeen {
        device: DeviceSeen {
            name: "/dev/disk/by-id/scsi-0DO_Volume_kms-data".into(),
            node: "/dev/sda".into(),
            size: ByteSize(50 << 30),
            provider: Some(Provider::DigitalOcean),
            content: ContentSeen::Empty { read: 64 << 20 },
            mounted: Vec::new(),
            read_only: false,
            set_up_by_hand: false,
        },
        mounts: Mounts {
            here: Vec::new(),
            around: Some(mount("253:1", "/", "/dev/vda1")),
            below: Vec::new(),
        },
        bare: None,
        fstab: Fstab::parse(FSTAB),
        names: [].into(),
        units: Vec::new(),
        twins: None,
        unread: Vec::new(),
        sentinel: None,
        systemd: true,
        outdated: false,
        pieces: vec![
            (boot::engine_waits(Path::new(AT)).unwrap(), Standing::Missing),
            (
                Piece::Link {
                    path: r"/etc/systemd/system/mnt-kms\x2ddata.mount.wants/docker.service".into(),
                    to: "/lib/systemd/system/docker.service".into(),
                },
                Standing::Missing,
            ),
        ],
        dirs: vec![("postgres".into(), None), ("media".into(), None)],
    }
}

fn wanted() -> MountWanted {
    MountWanted {
        at: AT.into(),
        fs_type: "ext4".to_owned(),
        uuid: uuid(),
        mkfs: format!("mkfs.ext4 -q -m 1 -E nodiscard -U {} /dev/sda", uuid()),
        options: None,
        dirs: vec![
            DirWanted {
                path: "postgres".into(),
                owner: Owner { uid: 999, gid: 999 },
                mode: 0o700,
                source: "as volume kms_postgres_data has it".to_owned(),
            },
            DirWanted {
                path: "media".into(),
                owner: Owner { uid: 1000, gid: 1000 },
                mode: 0o755,
                source: "as rehome.yml says".to_owned(),
            },
        ],
        systemd: true,
    }
}

fn mount(device: &str, point: &str, source: &str) -> Mount {
    Mount {
        id: 1,
        parent: 0,
        shared: None,
        master: None,
        device: device.to_owned(),
        root: b"/".to_vec(),
        point: point.as_bytes().to_vec(),
        fs_type: "ext4".to_owned(),
        source: source.as_bytes().to_vec(),
        read_only: false,
    }
}

fn file_system(fs_type: &str, uuid: FsUuid) -> ContentSeen {
    ContentSeen::FileSystem {
        fs_type: fs_type.to_owned(),
        uuid,
        label: None,
        unclean: false,
    }
}

/// What an action makes of the machine, as far as it is seen.
fn done(machine: &mut MachineSeen, action: &Action) {
    match action {
        Action::Format { .. } | Action::Finish { .. } => machine.device.content = file_system("ext4", uuid()),
        Action::MakePoint => {
            machine.bare = Some(BareSeen {
                flag: Flag::Plain,
                hidden: Hidden::default(),
            });
        }
        Action::Protect => machine.bare.as_mut().unwrap().flag = Flag::Immutable,
        Action::Fstab { bytes, .. } => machine.fstab = Fstab::parse(bytes),
        Action::Mount { .. } => {
            machine.device.mounted.push(AT.into());
            machine.mounts.here.push(mount("8:0", AT, "/dev/sda"));
            machine.sentinel = Some(sentinel::Found::Missing);
        }
        Action::Sentinel => machine.sentinel = Some(right()),
        Action::MakeDir(dir) => {
            let place = machine
                .dirs
                .iter_mut()
                .find(|(path, _)| *path == dir.path)
                .unwrap();
            place.1 = Some((dir.owner, dir.mode));
        }
        Action::Unit(piece) => {
            let place = machine
                .pieces
                .iter_mut()
                .find(|(known, _)| known == piece)
                .unwrap();
            place.1 = Standing::There;
        }
        Action::Reload => {}
    }
}

fn right() -> sentinel::Found {
    sentinel::Found::Right(Sentinel {
        format: 1,
        uuid: uuid(),
        made: "2001-02-03T04:05:06Z".parse().unwrap(),
        by: "rehome 0.1.0".to_owned(),
    })
}

fn plan(machine: &MachineSeen) -> MountPlan {
    plan_mount(machine, &wanted()).unwrap()
}

fn refused(machine: &MachineSeen) -> String {
    words(&plan_mount(machine, &wanted()).unwrap_err())
}

fn words(failure: &Failure) -> String {
    assert_eq!(failure.kind, rehome::model::Kind::Refused, "{failure}");
    assert!(failure.data.is_some(), "{failure}");
    rehome::ui::render(failure, false, 0)
}

#[test]
fn the_whole_of_an_empty_volume() {
    let machine = machine();
    let told = Told::mount(&machine.device, Path::new(AT), &plan(&machine));
    assert_snapshot!(render(&told));
}

#[test]
fn killed_after_any_action_the_next_run_does_the_rest() {
    let mut machine = machine();
    let whole = plan(&machine).actions;
    assert_eq!(whole.len(), 12, "{whole:?}");
    for (number, action) in whole.iter().enumerate() {
        done(&mut machine, action);
        let rest: Vec<_> = plan(&machine).actions;
        // What systemd has not read it says itself.
        let left: Vec<_> = whole[number + 1..]
            .iter()
            .filter(|a| **a != Action::Reload)
            .collect();
        let rest: Vec<_> = rest.iter().filter(|a| **a != Action::Reload).collect();
        assert_eq!(rest, left, "after {}", action.title(Path::new(AT)));
    }
    assert_eq!(plan(&machine).actions, []);
}

#[test]
fn a_file_system_that_is_there_is_mounted_as_it_is() {
    let mut machine = machine();
    let other: FsUuid = "99999999-7a5b-4c1e-9f0e-4a2f3f0e8a11".parse().unwrap();
    machine.device.content = file_system("xfs", other);
    let plan = plan(&machine);
    assert_eq!(plan.uuid, other);
    assert!(
        !plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Format { .. } | Action::Finish { .. }))
    );
    assert_eq!(
        plan.line.to_string(),
        "UUID=99999999-7a5b-4c1e-9f0e-4a2f3f0e8a11 /mnt/kms-data xfs \
         defaults,nofail,discard,noatime,x-systemd.device-timeout=30s,x-rehome 0 0"
    );
    assert!(
        plan.notes[0].contains("it has a file system already (xfs"),
        "{:?}",
        plan.notes
    );
}

#[test]
fn trap_25_what_is_not_provably_empty_is_not_formatted() {
    let mut machine = machine();
    machine.device.content = ContentSeen::NotEmpty(vec![Found::Signature(Signature {
        kind: "crypto_LUKS".to_owned(),
        ..Signature::default()
    })]);
    let first = refused(&machine);
    machine.device.content = ContentSeen::CannotTell(vec!["cannot read /dev/sda at byte 4096".to_owned()]);
    assert_snapshot!(format!("{first}\n\n{}", refused(&machine)));
}

#[test]
fn what_is_in_the_way_is_named() {
    let mut all = Vec::new();
    let mut say = |change: &dyn Fn(&mut MachineSeen)| {
        let mut machine = machine();
        change(&mut machine);
        all.push(refused(&machine));
    };
    say(&|m| m.device.mounted = vec!["/srv/old".into()]);
    say(&|m| m.mounts.here = vec![mount("8:16", AT, "/dev/sdb")]);
    say(&|m| {
        m.device.mounted = vec![AT.into()];
        m.device.content = file_system("ext4", uuid());
        m.mounts.here = vec![mount("8:16", AT, "/dev/sdb"), mount("8:0", AT, "/dev/sda")];
    });
    say(&|m| m.mounts.below = vec![mount("0:50", "/mnt/kms-data/tmp", "tmpfs")]);
    say(&|m| {
        m.units = vec![MountUnit {
            at: Some(AT.into()),
            file: "/etc/systemd/system/mnt-kms\\x2ddata.mount".into(),
            what: Some("/dev/disk/by-uuid/x".to_owned()),
            maker: Maker::DigitalOcean,
        }];
    });
    say(&|m| {
        m.twins = Some(Twins {
            uuid: uuid(),
            devices: vec!["/dev/sda".into(), "/dev/sdc".into()],
        });
    });
    say(&|m| m.fstab = Fstab::parse(b"/dev/sdz /mnt/kms-data ext4 defaults 0 2\n"));
    say(&|m| m.pieces[0].1 = Standing::Foreign);
    say(&|m| m.sentinel = Some(sentinel::Found::Anothers(".rehome-1111".to_owned())));
    assert_snapshot!(all.join("\n\n"));
}

#[test]
fn what_lies_in_the_mount_point_is_not_hidden_by_a_volume() {
    let mut machine = machine();
    machine.bare = Some(BareSeen {
        flag: Flag::Plain,
        hidden: Hidden {
            entries: vec![(PathBuf::from("postgres/PG_VERSION"), 3)],
            more: true,
        },
    });
    assert_snapshot!(refused(&machine));
    // Hidden already: it stays so, and is told.
    machine.device.content = file_system("ext4", uuid());
    done(
        &mut machine,
        &Action::Mount {
            command: String::new(),
        },
    );
    let plan = plan(&machine);
    assert!(!plan.actions.contains(&Action::Protect));
    assert!(
        plan.notes.iter().any(|note| note.contains("postgres/PG_VERSION")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn systemd_is_told_again_after_a_run_that_died() {
    let mut machine = machine();
    for action in plan(&machine).actions {
        done(&mut machine, &action);
    }
    machine.outdated = true;
    assert_eq!(plan(&machine).actions, [Action::Reload]);
}

#[test]
fn a_directory_that_is_there_is_left_as_it_is() {
    let mut machine = machine();
    machine.dirs[1].1 = Some((Owner { uid: 33, gid: 33 }, 0o750));
    let plan = plan(&machine);
    let made: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::MakeDir(dir) => Some(dir.path.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(made, [PathBuf::from("postgres")]);
    assert!(
        plan.notes
            .iter()
            .any(|note| note
                .starts_with("/mnt/kms-data/media is there already, with owner 33:33 and mode 0750")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn without_systemd_that_is_said() {
    let mut machine = machine();
    machine.systemd = false;
    let plan = plan(&machine);
    assert!(
        !plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Unit(_) | Action::Reload))
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.starts_with("systemd does not run here")),
        "{:?}",
        plan.notes
    );
}

fn candidate(name: &str, mounted: &[&str], words: &[&str]) -> Candidate {
    Candidate {
        attached: Attached {
            provider: Provider::Hetzner,
            ends_with_the_machine: false,
            links: vec![format!("/dev/disk/by-id/scsi-0HC_Volume_{name}").into()],
            device: Device {
                node: format!("/dev/{name}").into(),
                number: Number { major: 8, minor: 0 },
            },
        },
        size: Some(ByteSize(50 << 30)),
        mounted: mounted.iter().map(PathBuf::from).collect(),
        in_use: !mounted.is_empty(),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    }
}

#[test]
fn one_free_volume_is_chosen_and_of_several_none() {
    let at = Path::new(AT);
    let used = candidate("1", &["/srv"], &["mounted at /srv"]);
    let free = candidate("2", &[], &[]);
    let other = candidate("3", &[], &["a file system (ext4)"]);
    let mut local = candidate("4", &[], &[]);
    local.attached.ends_with_the_machine = true;
    let there = candidate("5", &[AT], &["mounted at /mnt/kms-data"]);

    let chosen = |all: &[Candidate]| choose(all, at).map(|one| one.attached.device.node.clone());
    assert_eq!(
        chosen(&[used.clone(), free.clone(), local.clone()]),
        Ok("/dev/2".into())
    );
    assert_eq!(
        chosen(&[free.clone(), other.clone(), there]),
        Ok("/dev/5".into()),
        "run again"
    );
    let all = [
        chosen(&[]),
        chosen(&[used.clone(), local]),
        chosen(&[used, free, other]),
    ];
    let all: Vec<_> = all
        .into_iter()
        .map(|answer| words(&answer.unwrap_err()))
        .collect();
    assert_snapshot!(all.join("\n\n"));
}

#[test]
fn the_way_back_takes_back_what_is_there_and_nothing_in_use() {
    let at = Path::new(AT);
    let mut machine = machine();
    for action in plan(&machine).actions {
        done(&mut machine, &action);
    }
    let mut seen = UndoSeen {
        at: AT.into(),
        ours: true,
        mounts: machine.mounts,
        users: Vec::new(),
        pieces: vec![boot::engine_waits(at).unwrap()],
        definitions: Ok(Vec::new()),
        fstab: machine.fstab,
        names: [].into(),
        flag: Some(Flag::Immutable),
        systemd: true,
    };
    assert_snapshot!(render(&Told::undo(at, &plan_undo(&seen).unwrap())));
    let back = plan_undo(&seen).unwrap();
    assert!(
        back.actions.iter().any(
            |undo| matches!(undo, rehome::plan::mount::Undo::RemoveLine { bytes, .. } if bytes == FSTAB)
        ),
        "fstab is as it was before, to the byte"
    );
    seen.users = vec!["process 7 (postgres) has it mounted at /var/lib/postgresql/data".to_owned()];
    assert_snapshot!(words(&plan_undo(&seen).unwrap_err()));
    // A stack that is down uses nothing, and is started again one day.
    seen.users.clear();
    let defined = |name: &str, unused| DefinitionSeen {
        name: rehome::model::VolumeName::new(name).unwrap(),
        dir: at.join("postgres"),
        unused,
    };
    seen.definitions = Ok(vec![defined("kms_postgres_data_block_5f3a", false)]);
    assert_snapshot!(words(&plan_undo(&seen).unwrap_err()), @r"
        error: volumes of Docker have their data at /mnt/kms-data
        caused by: kms_postgres_data_block_5f3a is /mnt/kms-data/postgres
        data: nothing was changed
        hint: if a stack needs them, move their data back first, in its directory: rehome move --to volumes
    ");
    seen.definitions = Ok(vec![defined("a", false), defined("b", true), defined("c", true)]);
    assert_snapshot!(words(&plan_undo(&seen).unwrap_err()), @r"
        error: volumes of Docker have their data at /mnt/kms-data
        caused by: a is /mnt/kms-data/postgres
        caused by: b is /mnt/kms-data/postgres, and no container has it
        caused by: c is /mnt/kms-data/postgres, and no container has it
        data: nothing was changed
        hint: if a stack needs them, move their data back first, in its directory: rehome move --to volumes
        hint: if nobody needs them, as after a move back, you may take their definitions away, which leaves the files: docker volume rm b c
    ");
    // An engine that does not answer keeps nobody.
    seen.definitions = Err("it did not answer within 30 s".to_owned());
    let plan = plan_undo(&seen).unwrap();
    assert_eq!(plan.actions, back.actions);
    assert_snapshot!(plan.notes.join("\n"), @r"
        Docker was not asked whether volumes have their data at /mnt/kms-data (it did not answer within 30 s): without the mount they would be looked for on the root disk
    ");
    // What somebody else mounted is not unmounted.
    let foreign = UndoSeen {
        ours: false,
        users: Vec::new(),
        pieces: Vec::new(),
        fstab: Fstab::parse(b"/dev/sda /mnt/kms-data ext4 nofail 0 2\n"),
        ..seen
    };
    assert!(!foreign.mounts.here.is_empty());
    let refused = plan_undo(&foreign).unwrap_err();
    assert!(refused.what.contains("was not mounted by Rehome"), "{refused:?}");
}

#[test]
fn a_torn_sentinel_is_written_again() {
    let mut machine = machine();
    for action in plan(&machine).actions {
        done(&mut machine, &action);
    }
    machine.sentinel = Some(sentinel::Found::Torn(sentinel::name(&uuid())));
    assert_eq!(plan(&machine).actions, [Action::Sentinel]);
}

#[test]
fn the_engine_does_not_wait_for_a_device_that_a_boot_does_not_bring_back() {
    let mut machine = machine();
    machine.device.set_up_by_hand = true;
    let plan = plan(&machine);
    assert!(
        !plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Unit(_)))
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.contains("is not there after a reboot")),
        "{:?}",
        plan.notes
    );
}

/// What a shell takes for words of the commands that a plan names, one a line.
fn words_of_a_shell(line: &str) -> String {
    let printing: String = ["mkdir", "chown", "chattr", "mount", "umount", "ln", "rm"]
        .map(|name| format!("{name}() {{ printf '%s\\n' \"$@\"; }}\n"))
        .concat();
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("{printing}{line}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{line}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_path_with_a_blank_is_one_word_of_every_command() {
    const BLANK: &str = "/mnt/it's my disk";
    let at = Path::new(BLANK);
    let mut machine = machine();
    machine.pieces = vec![(boot::engine_waits(at).unwrap(), Standing::Missing)];
    machine.dirs = vec![("my media".into(), None)];
    let mut wanted = wanted();
    wanted.at = BLANK.into();
    wanted.dirs.truncate(1);
    wanted.dirs[0].path = "my media".into();
    let plan = plan_mount(&machine, &wanted).unwrap();
    let mut named = 0;
    for action in &plan.actions {
        let command = matches!(
            action,
            Action::MakePoint | Action::Protect | Action::Mount { .. } | Action::MakeDir(_)
        );
        for line in action.lines(at, &plan.uuid).iter().filter(|_| command) {
            let said = words_of_a_shell(line);
            let path = |word: &str| word == BLANK || word == format!("{BLANK}/my media");
            assert!(said.lines().any(path), "{line}: {said}");
            named += 1;
        }
    }
    assert_eq!(named, 4);
    for undo in [
        rehome::plan::mount::Undo::Unmount,
        rehome::plan::mount::Undo::Release,
    ] {
        let [line] = &undo.lines(at)[..] else {
            panic!("one line")
        };
        assert!(words_of_a_shell(line).lines().any(|word| word == BLANK), "{line}");
    }
    // The ways on of a refusal.
    machine.mounts.here = vec![mount("8:1", BLANK, "/dev/sda"), mount("8:2", BLANK, "/dev/sdb")];
    let refused = plan_mount(&machine, &wanted).unwrap_err();
    let quoted = rehome::model::shell_word(BLANK);
    assert!(
        refused.hints[0].contains(&format!("umount {quoted}")),
        "{refused:?}"
    );
}

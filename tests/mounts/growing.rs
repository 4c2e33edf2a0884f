//! `rehome grow` on loop devices that become larger while their file system is in use; sizes are what stat(2), sfdisk and
//! the kernel say.

use std::path::{Path, PathBuf};
use std::process::Command;

use rehome::block::partition::{Partition, Stop};

use super::support::{Disk, ask, sh, tempdir};

/// A mounted file system with a file in it, on a device that can be made larger.
struct Grown {
    disk: Disk,
    /// What is mounted: the disk, or a partition of it.
    device: PathBuf,
    at: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Grown {
    fn new(fs_type: &str) -> Self {
        let disk = Disk::new(fs_type);
        let device = disk.device.clone();
        Self::mount(disk, device)
    }

    /// On the first partition of 310 MB, perhaps with another one behind it.
    fn on_partition(behind: &str) -> Self {
        let disk = Disk::empty("320M");
        let table = format!("printf 'start=2048, size=310M\\n{behind}' | sfdisk -q --label gpt $0");
        sh("sh", &[&"-c", &table, &disk.device]);
        // A kernel without GPT is told.
        let tell = "[ -e $0p1 ] || addpart $0 1 2048 634880";
        sh("sh", &[&"-c", &tell, &disk.device]);
        let device = PathBuf::from(format!("{}p1", disk.device.display()));
        sh("mkfs.xfs", &[&"-q", &device]);
        Self::mount(disk, device)
    }

    /// On one partition of a table of MBR; sectors.
    fn on_mbr(disk: &str, table: &str, number: u32, start: u64, size: u64) -> Self {
        let disk = Disk::empty(disk);
        let table = format!("printf '{table}' | sfdisk -q --label dos $0");
        sh("sh", &[&"-c", &table, &disk.device]);
        let tell = format!("[ -e $0p{number} ] || addpart $0 {number} {start} {size}");
        sh("sh", &[&"-c", &tell, &disk.device]);
        let device = PathBuf::from(format!("{}p{number}", disk.device.display()));
        sh("mkfs.xfs", &[&"-q", &device]);
        Self::mount(disk, device)
    }

    fn mount(disk: Disk, device: PathBuf) -> Self {
        let at = tempdir();
        sh("mount", &[&device, &at.path()]);
        let grown = Self {
            disk,
            device,
            at,
            state: tempdir(),
        };
        let fill = format!("head -c 5M /dev/urandom > {}", grown.file().display());
        sh("sh", &[&"-c", &fill]);
        grown
    }

    fn file(&self) -> PathBuf {
        self.at.path().join("kept")
    }

    fn sum(&self) -> String {
        sh("sha256sum", &[&self.file()])
    }

    /// Bytes of the file system, as the kernel tells.
    fn bytes(&self) -> u64 {
        let said = sh("stat", &[&"-f", &"-c", &"%b %S", &self.at.path()]);
        said.split(' ').map(|word| word.parse::<u64>().unwrap()).product()
    }

    fn grow(&self, more: &[&str]) -> (Option<i32>, String) {
        grow(self.at.path(), self.state.path(), more)
    }
}

impl Drop for Grown {
    fn drop(&mut self) {
        while ask("umount", &[&self.at.path()]).0 {}
    }
}

fn grow(at: &Path, state: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rehome"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["grow", "--at"])
        .arg(at)
        .arg("--state-dir")
        .arg(state)
        .args(more)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_xfs_grows_while_it_is_used_and_a_second_time_is_none() {
    let grown = Grown::new("xfs");
    let (before, sum) = (grown.bytes(), grown.sum());
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is as large as"), "{said}");
    grown.disk.enlarge("600M");

    let (code, said) = grown.grow(&["--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    let command = format!("xfs_growfs {}", grown.at.path().display());
    assert!(said.contains(&command), "{said}");
    assert_eq!(grown.bytes(), before, "a dry run changes nothing");

    let open = std::fs::File::open(grown.file()).unwrap();
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" grew from ") && said.contains(&command), "{said}");
    // All of it but the log.
    assert!(grown.bytes() > 500 << 20, "{}", grown.bytes());
    assert_eq!(grown.sum(), sum);
    drop(open);

    let after = grown.bytes();
    let (code, said) = grown.grow(&["--json"]);
    assert_eq!(code, Some(0), "{said}");
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["commands"], serde_json::json!([]), "{said}");
    assert_eq!(json["before"]["fs_bytes"], 600 << 20, "{said}");
    assert_eq!(grown.bytes(), after);
    sh("umount", &[&grown.at.path()]);
    sh("xfs_repair", &[&"-n", &grown.device]);
}

#[test]
fn a_partition_is_made_larger_first_and_begins_where_it_began() {
    let grown = Grown::on_partition("");
    let (before, sum) = (grown.bytes(), grown.sum());
    let identity = |device: &Path| {
        sh(
            "sfdisk",
            &[
                &"--quiet",
                &"--list",
                &"--output",
                &"start,uuid,type-uuid",
                &device,
            ],
        )
    };
    let table = identity(&grown.disk.device);
    let whole = sh("sfdisk", &[&"--dump", &grown.disk.device]);
    grown.disk.enlarge("700M");
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    for command in ["sfdisk --no-reread", "partx --update", "xfs_growfs"] {
        assert!(said.contains(command), "{command}: {said}");
    }
    assert!(grown.bytes() > before + (350 << 20), "{}", grown.bytes());
    assert_eq!(grown.sum(), sum);
    assert_eq!(identity(&grown.disk.device), table);
    let name = grown.disk.device.file_name().unwrap().to_str().unwrap();
    let kept = grown.state.path().join(format!("host/partitions-{name}.sfdisk"));
    assert_eq!(std::fs::read_to_string(kept).unwrap().trim_end(), whole);
    // The backup of the table is at the new end, and the kernel knows what the table says.
    let verified = sh("sfdisk", &[&"--verify", &grown.disk.device]);
    assert!(verified.contains("No errors detected"), "{verified}");
    let sectors = sh(
        "sfdisk",
        &[&"--quiet", &"--list", &"--output", &"sectors", &grown.disk.device],
    );
    let sectors: u64 = sectors.lines().last().unwrap().trim().parse().unwrap();
    let kernel = sh("blockdev", &[&"--getsz", &grown.device]);
    assert_eq!(kernel, sectors.to_string());
    assert!(sectors * 512 > 690 << 20, "{sectors}");

    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is as large as"), "{said}");
    sh("umount", &[&grown.at.path()]);
    sh("xfs_repair", &[&"-n", &grown.device]);
}

#[test]
fn a_partition_stops_before_the_next_one() {
    let grown = Grown::on_partition("size=5M\n");
    sh(
        "sh",
        &[
            &"-c",
            &"[ -e $0p2 ] || addpart $0 2 636928 10240",
            &grown.disk.device,
        ],
    );
    grown.disk.enlarge("700M");
    let dump = || sh("sfdisk", &[&"--dump", &grown.disk.device]);
    let (before, table) = (grown.bytes(), dump());
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is as large as"), "{said}");
    assert_eq!((grown.bytes(), dump()), (before, table));
}

#[test]
fn an_ext4_grows_or_the_refusal_names_the_offline_way_which_works() {
    // EXT4_IOC_RESIZE_FS wants CAP_SYS_RESOURCE, which root of a container has not.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("CapEff:")).unwrap();
    let may = u64::from_str_radix(line["CapEff:".len()..].trim(), 16).unwrap() & 1 << 24 != 0;

    let grown = Grown::new("ext4");
    let (before, sum) = (grown.bytes(), grown.sum());
    grown.disk.enlarge("100M");
    let (code, said) = grown.grow(&[]);
    assert_eq!(grown.sum(), sum, "{said}");
    let (at, device) = (grown.at.path().display(), grown.device.display());
    if may {
        assert_eq!(code, Some(0), "{said}");
    } else {
        assert_eq!((code, grown.bytes()), (Some(1), before), "{said}");
        assert!(
            said.contains("while it is mounted") && said.contains("Permission denied"),
            "{said}"
        );
        let offline = format!("umount {at} && e2fsck -f {device} && resize2fs {device} && mount {at}");
        assert!(said.contains(&offline), "{said}");
        // As a person at a terminal; what is mounted by fstab is named here.
        let offline = offline.replace(&format!("&& mount {at}"), &format!("&& mount {device} {at}"));
        sh(
            "script",
            &[&"--quiet", &"--return", &"--command", &offline, &"/dev/null"],
        );
    }
    assert!(grown.bytes() > before + (60 << 20), "{}", grown.bytes());
    assert_eq!(grown.sum(), sum);
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is as large as"), "{said}");
    sh("umount", &[&grown.at.path()]);
    sh("e2fsck", &[&"-fn", &grown.device]);
}

#[test]
fn where_nothing_is_mounted_nothing_is_grown() {
    let grown = Grown::new("ext4");
    std::fs::create_dir(grown.at.path().join("below")).unwrap();
    let (code, said) = grow(&grown.at.path().join("below"), grown.state.path(), &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("nothing is mounted at"), "{said}");
    let (code, said) = grow(Path::new("/proc"), grown.state.path(), &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("Rehome grows ext4 and xfs"), "{said}");
}

#[test]
fn a_partition_of_an_mbr_table_ends_at_2_tib_and_the_rest_needs_gpt() {
    const GIB: u64 = 1 << 21;
    let (start, size) = ((1 << 32) - GIB, 620_000);
    let table = format!("start={start}, size={size}\\n");
    let grown = Grown::on_mbr("3T", &table, 1, start, size);
    let (before, sum) = (grown.bytes(), grown.sum());
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(" grew from ") && said.contains("is MBR"), "{said}");
    assert!(grown.bytes() > before, "{said}");
    let sectors: u64 = sh("blockdev", &[&"--getsz", &grown.device]).parse().unwrap();
    assert_eq!(
        start + sectors,
        u64::from(u32::MAX),
        "no sector has a higher number"
    );
    let (after, dump) = (grown.bytes(), sh("sfdisk", &[&"--dump", &grown.disk.device]));
    // Nothing more can be done, and that is no failure.
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("is as large as") && said.contains("needs a GPT table"),
        "{said}"
    );
    assert!(!said.contains("Was the volume made larger"), "{said}");
    assert_eq!(
        (grown.bytes(), sh("sfdisk", &[&"--dump", &grown.disk.device])),
        (after, dump)
    );
    assert_eq!(grown.sum(), sum);
    sh("umount", &[&grown.at.path()]);
    sh("xfs_repair", &[&"-n", &grown.device]);
}

#[test]
fn a_logical_partition_ends_with_the_extended_one() {
    let table = "start=2048, size=880000, type=5\\nstart=4096, size=640000\\n";
    let grown = Grown::on_mbr("900M", table, 5, 4096, 640_000);
    // The disk has more than the extended partition.
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(" grew from ") && said.contains("an extended partition"),
        "{said}"
    );
    let sectors = sh("blockdev", &[&"--getsz", &grown.device]);
    assert_eq!(sectors, (2048 + 880_000 - 4096).to_string());
    let (code, said) = grown.grow(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("needs a GPT table"), "{said}");
    assert_eq!(sh("blockdev", &[&"--getsz", &grown.device]), sectors);
}

#[tokio::test]
async fn a_table_that_would_be_smaller_is_not_told_to_the_kernel_and_can_be_put_back() {
    // `, +` of sfdisk counts in 32 bits here: of 3 TiB it makes one.
    let disk = Disk::empty("3T");
    let table = "printf 'start=2048, size=3221225472\\n' | sfdisk -q --label dos $0";
    sh("sh", &[&"-c", &table, &disk.device]);
    let dump = || sh("sfdisk", &[&"--dump", &disk.device]);
    let before = dump();
    let keep = tempdir();
    let mut partition = Partition {
        disk: disk.device.clone(),
        number: 1,
        free_behind: 1 << 40,
        stop: None,
    };
    let failure = partition.grow(keep.path()).await.unwrap_err();
    let said = failure.data.unwrap();
    assert!(said.contains("the kernel was not told"), "{said}");
    assert_ne!(dump(), before);
    let (_, back) = failure.hints[0].split_once(": ").unwrap();
    sh("sh", &[&"-c", &back]);
    assert_eq!(dump(), before);
    // Told in numbers it is as large as it can be.
    partition.stop = Some(Stop::Mbr {
        sectors: u64::from(u32::MAX) - 2048,
    });
    partition.grow(keep.path()).await.unwrap();
    assert!(dump().contains("size=  4294965247"), "{}", dump());
}

#[test]
fn a_part_of_a_file_system_is_not_grown_by_its_own_name() {
    let grown = Grown::new("ext4");
    let (part, bind) = (grown.at.path().join("part"), tempdir());
    std::fs::create_dir(&part).unwrap();
    sh("mount", &[&"--bind", &part, &bind.path()]);
    let (code, said) = grow(bind.path(), grown.state.path(), &[]);
    sh("umount", &[&bind.path()]);
    assert_eq!(code, Some(3), "{said}");
    let whole = format!("rehome grow --at {}", grown.at.path().display());
    assert!(
        said.contains("only the directory /part") && said.contains(&whole),
        "{said}"
    );
}

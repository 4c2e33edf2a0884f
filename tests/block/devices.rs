//! Which devices there are: made-up links of each provider that lead to real loop devices.

use std::os::unix::fs::symlink;
use std::path::Path;

use rehome::block::device::{Identity, Provider, attached, by_path};
use rehome::block::opened::Opened;
use rehome::block::sysroot::Sysroot;

use crate::support::{Loop, bash, words};

#[test]
fn volumes_are_found_by_their_links_and_links_to_one_device_are_one() {
    let (one, two, three) = (Loop::of("10M", ""), Loop::of("20M", ""), Loop::of("30M", ""));
    let table = Loop::with("40M", "echo 'size=10M' | sfdisk -q --label gpt $1", "--partscan");
    // A kernel without GPT is told.
    bash("[[ -e $1p1 ]] || addpart $1 1 2048 20480", &[&table.node]);
    let root = tempfile::tempdir().unwrap();
    let link = |name: &str, to: &str| {
        let at = root.path().join("dev/disk").join(name);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(to, at).unwrap();
    };
    let name = |disk: &Loop| disk.node.file_name().unwrap().to_str().unwrap().to_owned();
    link("by-id/virtio-0123", &format!("../../{}", name(&one)));
    link("by-id/scsi-0DO_Volume_data", &format!("../../{}", name(&one)));
    link("by-id/google-local-ssd-0", two.node.to_str().unwrap());
    link("azure/scsi1/lun0", &format!("../../../{}", name(&three)));
    // A volume may have such a name, and a partition needs none.
    link(
        "by-id/scsi-0HC_Volume_x-part1",
        &format!("../../{}", name(&table)),
    );
    link(
        "by-id/scsi-0HC_Volume_x-part1-part1",
        &format!("../../{}p1", name(&table)),
    );
    link("by-id/ata-QEMU_HARDDISK_1", &format!("../../{}", name(&two)));
    link("by-id/scsi-0Linode_Volume_gone", "../../no-such-device");
    let sysroot = Sysroot::new(Some(root.path()));
    let found = attached(&sysroot).unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|v| {
            (
                v.provider,
                v.ends_with_the_machine,
                v.links.len(),
                v.device.node.clone(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Provider::DigitalOcean, false, 2, one.node.clone()),
            (Provider::Hetzner, false, 1, table.node.clone()),
            (Provider::Google, true, 1, two.node.clone()),
            (Provider::Azure, false, 1, three.node.clone()),
        ]
    );
    assert_eq!(
        found[0].links,
        [
            Path::new("/dev/disk/by-id/scsi-0DO_Volume_data"),
            Path::new("/dev/disk/by-id/virtio-0123")
        ]
    );
    for volume in &found {
        let number = bash("lsblk -dno MAJ:MIN $1 | tr -d ' '", &[&volume.device.node]);
        assert_eq!(volume.device.number.to_string(), number);
    }
    let by_link = by_path(&sysroot, Path::new("/dev/disk/by-id/scsi-0DO_Volume_data")).unwrap();
    assert_eq!(by_link, found[0].device);
    assert!(attached(&Sysroot::new(Some(two.dir.path()))).unwrap().is_empty());
}

#[test]
fn what_a_device_is_agrees_with_blockdev_and_sysfs() {
    let disk = Loop::of("77M", "");
    let identity = Identity::of(std::fs::File::open(&disk.node).unwrap()).unwrap();
    assert_eq!(
        identity.size.0.to_string(),
        bash("blockdev --getsize64 $1", &[&disk.node])
    );
    let diskseq = bash("cat /sys/block/${1#/dev/}/diskseq", &[&disk.node]);
    assert_eq!(identity.diskseq.unwrap().to_string(), diskseq);
    assert!(Identity::of(std::fs::File::open(&disk.image).unwrap()).is_err());
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_than_a_moment_ago_is_refused() {
    let (one, two) = (Loop::of("10M", ""), Loop::of("10M", ""));
    let root = tempfile::tempdir().unwrap();
    let link = root.path().join("link");
    symlink(&one.node, &link).unwrap();
    let mut device = by_path(&Sysroot::new(None), &link).unwrap();
    assert_eq!(device.node, one.node);
    std::fs::remove_file(&link).unwrap();
    symlink(&two.node, &link).unwrap();
    // The device is what the link led to, not what it leads to.
    assert_eq!(Opened::open(device.clone()).await.unwrap().node(), one.node);
    // And a node that is another device by now is noticed by its number.
    device.node = link;
    let refused = Opened::open(device).await.unwrap_err();
    assert!(
        words(&refused).contains("is another device than a moment ago"),
        "{refused:?}"
    );
}

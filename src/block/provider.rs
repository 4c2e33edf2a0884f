//! Whose volume a link below `/dev/disk` names. Names only; nothing is looked at.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A cloud whose volumes are known by their links. Where links of two lead to one device, the first here is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// <https://docs.digitalocean.com/products/volumes/details/naming-conventions>
    DigitalOcean,
    /// <https://docs.hetzner.com/cloud/volumes/faq>
    Hetzner,
    /// <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-using-volumes.html>
    Aws,
    /// <https://cloud.google.com/compute/docs/disks/disk-symlinks>
    Google,
    /// <https://techdocs.akamai.com/cloud-computing/docs/block-storage>
    Linode,
    /// <https://learn.microsoft.com/azure/virtual-machines/linux/azure-vm-utilities>
    Azure,
    /// <https://www.scaleway.com/en/docs/instances/reference-content/identify-devices/>
    Scaleway,
    /// Vultr, OpenStack, OVHcloud and others: a virtio disk with a serial.
    Virtio,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DigitalOcean => "DigitalOcean",
            Self::Hetzner => "Hetzner",
            Self::Aws => "AWS",
            Self::Google => "Google Cloud",
            Self::Linode => "Linode",
            Self::Azure => "Azure",
            Self::Scaleway => "Scaleway",
            Self::Virtio => "virtio (Vultr, OpenStack, OVHcloud)",
        })
    }
}

/// Where links of volumes are.
pub(super) const DIRECTORIES: [&str; 3] = [BY_ID, AZURE_SCSI, AZURE_NVME];

const BY_ID: &str = "/dev/disk/by-id";
/// Of walinuxagent, and of azure-vm-utils for disks on SCSI.
const AZURE_SCSI: &str = "/dev/disk/azure/scsi1";
/// Of azure-vm-utils, which came with disks on NVMe. <https://github.com/Azure/azure-vm-utils>
const AZURE_NVME: &str = "/dev/disk/azure/data/by-lun";

/// The prefixes of `/dev/disk/by-id`, and whether it is a disk of the host that ends with the machine. The first that
/// fits counts.
const PREFIXES: [(&str, Provider, bool); 10] = [
    ("scsi-0DO_Volume_", Provider::DigitalOcean, false),
    ("scsi-0HC_Volume_", Provider::Hetzner, false),
    ("nvme-Amazon_Elastic_Block_Store_vol", Provider::Aws, false),
    ("nvme-Amazon_EC2_NVMe_Instance_Storage_", Provider::Aws, true),
    // `google-local-ssd-0` on SCSI, `google-local-nvme-ssd-0` on NVMe.
    ("google-local-", Provider::Google, true),
    ("google-", Provider::Google, false),
    ("scsi-0Linode_Volume_", Provider::Linode, false),
    ("scsi-0SCW_l_ssd_", Provider::Scaleway, true),
    ("scsi-0SCW_", Provider::Scaleway, false),
    ("virtio-", Provider::Virtio, false),
];

/// Whose volume this link names, and whether it is a disk of the host, whose content ends with the machine.
#[must_use]
pub fn recognise(directory: &str, name: &str) -> Option<(Provider, bool)> {
    let azure = directory == AZURE_SCSI && name.starts_with("lun") || directory == AZURE_NVME;
    if azure {
        return Some((Provider::Azure, false));
    }
    PREFIXES
        .iter()
        .find(|(prefix, ..)| directory == BY_ID && name.starts_with(prefix))
        .map(|(_, provider, local)| (*provider, *local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_of_each_provider_are_known() {
        for (directory, name, expected) in [
            (
                BY_ID,
                "scsi-0DO_Volume_data",
                Some((Provider::DigitalOcean, false)),
            ),
            (BY_ID, "scsi-0HC_Volume_1234567", Some((Provider::Hetzner, false))),
            (
                BY_ID,
                "nvme-Amazon_Elastic_Block_Store_vol0a1b2c",
                Some((Provider::Aws, false)),
            ),
            (
                BY_ID,
                "nvme-Amazon_EC2_NVMe_Instance_Storage_AWS1A4E",
                Some((Provider::Aws, true)),
            ),
            (BY_ID, "google-data", Some((Provider::Google, false))),
            (BY_ID, "google-local-ssd-0", Some((Provider::Google, true))),
            (BY_ID, "google-local-nvme-ssd-0", Some((Provider::Google, true))),
            (BY_ID, "scsi-0Linode_Volume_data", Some((Provider::Linode, false))),
            (
                BY_ID,
                "scsi-0SCW_b_ssd_volume-f7a6f113",
                Some((Provider::Scaleway, false)),
            ),
            (
                BY_ID,
                "scsi-0SCW_sbs_volume-f7a6f113",
                Some((Provider::Scaleway, false)),
            ),
            (
                BY_ID,
                "virtio-0a1b2c3d-1111-2222-3",
                Some((Provider::Virtio, false)),
            ),
            (AZURE_SCSI, "lun0", Some((Provider::Azure, false))),
            (AZURE_NVME, "0", Some((Provider::Azure, false))),
            (BY_ID, "lun0", None),
            (BY_ID, "ata-QEMU_HARDDISK", None),
            (BY_ID, "wwn-0x5000", None),
            (AZURE_SCSI, "google-x", None),
        ] {
            assert_eq!(recognise(directory, name), expected, "{directory}/{name}");
        }
    }
}

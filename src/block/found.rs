//! What was found on a device, in words. Judges nothing.

use std::fmt;
use std::path::Path;

use crate::model::{ByteSize, Failure, shell_path};

/// Something that was found on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What blkid and wipefs know by name: a file system, a partition table, a member of something.
    Signature(Signature),
    /// Partitions that the kernel knows of it.
    Partitions(Vec<String>),
    /// Devices that are made of it.
    Holders(Vec<String>),
    /// Programs that have it open and may write to it; a sentence each.
    Writers(Vec<String>),
    /// A byte that is not zero.
    Data {
        /// Where.
        at: u64,
    },
    /// A file system that Rehome began there and of which nothing can be recognised.
    Begun {
        /// `ext4`
        fs: String,
        /// When.
        since: String,
    },
}

/// What a program recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signature {
    /// `ext4`, `crypto_LUKS`, `gpt`, …
    pub kind: String,
    /// Its UUID, if it has one.
    pub uuid: Option<String>,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// Where its magic number is; only wipefs says.
    pub offset: Option<u64>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signature(signature) => signature.fmt(f),
            Self::Partitions(names) => write!(f, "partitions: {}", names.join(", ")),
            Self::Holders(names) => write!(f, "devices made of it: {}", names.join(", ")),
            Self::Writers(all) => f.write_str(&all.join(", ")),
            Self::Data { at } => write!(
                f,
                "data of no form that is known, at byte {at} ({})",
                ByteSize(*at)
            ),
            Self::Begun { fs, since } => write!(
                f,
                "Rehome began an {fs} on it at {since} and did not come to its end: that may be what is there, or \
                 something else that was written since"
            ),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind.as_str() {
            "gpt" | "PMBR" | "dos" | "mac" | "bsd" | "sun" | "sgi" => "a partition table",
            "crypto_LUKS" => "an encrypted device",
            "LVM2_member" | "LVM1_member" => "a physical volume of LVM",
            "linux_raid_member" | "ddf_raid_member" | "isw_raid_member" => "a member of a RAID",
            "zfs_member" => "a member of a ZFS pool",
            "swap" => "swap space",
            _ => "a file system",
        };
        write!(f, "{what} ({})", self.kind)?;
        if let Some(label) = &self.label {
            write!(f, ", label `{label}`")?;
        }
        if let Some(uuid) = &self.uuid {
            write!(f, ", UUID {uuid}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", at byte {offset}")?;
        }
        Ok(())
    }
}

/// Why a device that is not empty is left alone, and what a person could do who is sure.
#[must_use]
pub fn not_empty(node: &Path, found: &[Found]) -> Failure {
    let (node, word) = (node.display(), shell_path(node));
    let mut failure = Failure::refused(format!("{node} is not empty: no file system is made on it"));
    for found in found {
        failure = failure.cause(found.to_string());
    }
    let failure = failure
        .data("nothing was written to it")
        .hint(format!("look at it first: lsblk -f {word}; wipefs {word}"));
    let partitions = found.iter().find_map(|found| match found {
        Found::Partitions(names) => names.first(),
        _ => None,
    });
    if let Some(name) = partitions {
        return failure.hint(format!(
            "what is on a partition is used by naming it: rehome mount --device /dev/{name} --at DIRECTORY"
        ));
    }
    failure.hint(format!(
        "Rehome never erases a device; this destroys everything on {node} for ever, and leaves it empty: \
             wipefs -a {word} && blkdiscard --zeroout {word}"
    ))
}

/// Why a device of which it is not known whether it is empty is left alone.
#[must_use]
pub fn cannot_tell(node: &Path, doubts: &[String]) -> Failure {
    let (node, word) = (node.display(), shell_path(node));
    let mut failure = Failure::refused(format!(
        "it cannot be told whether {node} is empty: no file system is made on it"
    ));
    for doubt in doubts {
        failure = failure.cause(doubt);
    }
    failure.data("nothing was written to it").hint(format!(
        "see what the system says of it: dmesg; lsblk -f {word}; blkid -p {word}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_what_was_found_and_what_the_command_would_destroy() {
        let found = [
            Found::Signature(Signature {
                kind: "crypto_LUKS".into(),
                uuid: Some("6d1c".into()),
                label: Some("safe".into()),
                offset: Some(0),
            }),
            Found::Partitions(vec!["sdb1".into(), "sdb2".into()]),
            Found::Data { at: 4_000_000 },
        ];
        let failure = not_empty(Path::new("/dev/sdb"), &found);
        insta::assert_json_snapshot!(failure, @r#"
        {
          "kind": "refused",
          "what": "/dev/sdb is not empty: no file system is made on it",
          "causes": [
            "an encrypted device (crypto_LUKS), label `safe`, UUID 6d1c, at byte 0",
            "partitions: sdb1, sdb2",
            "data of no form that is known, at byte 4000000 (4 MB)"
          ],
          "data": "nothing was written to it",
          "hints": [
            "look at it first: lsblk -f /dev/sdb; wipefs /dev/sdb",
            "what is on a partition is used by naming it: rehome mount --device /dev/sdb1 --at DIRECTORY"
          ]
        }
        "#);
        let failure = not_empty(Path::new("/dev/sdb"), &found[2..]);
        assert_eq!(
            failure.hints.last().map(String::as_str),
            Some(
                "Rehome never erases a device; this destroys everything on /dev/sdb for ever, and leaves it empty: \
                 wipefs -a /dev/sdb && blkdiscard --zeroout /dev/sdb"
            )
        );
    }
}

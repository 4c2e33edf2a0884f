//! Proves that a device is empty, or says what is on it, or that it cannot be told. Only the first is a proof.
//!
//! Reads only. The programs look at what was opened, not at a name.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd as _;

use rustix::fs::{Advice, Mode, OFlags, fadvise, open};
use rustix::io::{Errno, pread};
use tokio::sync::watch;

use super::device::Identity;
use super::found::{Found, Signature};
use super::fsid;
use super::opened::{self, Opened};
use super::reads::{self, PAGE};
use super::sysfs;
use super::tool::Tool;
use crate::helper::content::{BLOCK, Buffer};
use crate::model::{Failure, Result};

/// The device, to a program that has it as its stdin.
pub(super) const STDIN: &str = "/proc/self/fd/0";

/// What is on a device. Three answers: what is not known to be empty is not empty.
#[derive(Debug)]
pub enum Content {
    /// Nothing.
    Empty(Proof),
    /// At least this.
    NotEmpty(Vec<Found>),
    /// Something did not answer as it should.
    CannotTell(Vec<String>),
}

/// That a device was found empty. Only [`look`] makes one, and it holds for the one opening that was looked at.
#[derive(Debug)]
pub struct Proof {
    opened: u64,
    identity: Identity,
    read: u64,
}

impl Proof {
    /// How many bytes were read, all of them zero.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Whether it was made of this opening.
    pub(super) fn is_of(&self, opened: &Opened) -> bool {
        self.opened == opened.serial() && self.identity == *opened.identity()
    }
}

/// Looks at a device; `full` reads all of it. Tells how many bytes of how many were read.
///
/// A tool that fails, a read that fails, a device that changes: each is a reason not to tell, never an error that
/// somebody might take for an answer.
pub async fn look(opened: &Opened, full: bool, progress: &mut (dyn FnMut(u64, u64) + Send)) -> Content {
    let mut doubts = Vec::new();
    let mut found = Vec::new();
    if let Err(failure) = around(opened, &mut found, &mut doubts) {
        doubts.push(words(&failure));
    }
    found.extend(written_to(opened).await);
    match signatures(opened).await {
        Ok(signatures) => found.extend(signatures.into_iter().map(Found::Signature)),
        Err(failure) => doubts.push(words(&failure)),
    }
    // What is known not to be empty needs no reading, and what cannot be told is not made better by it.
    let mut read = 0;
    if found.is_empty() && doubts.is_empty() {
        let places = reads::planned(opened.identity().size.0, full);
        match zeroes(opened, places, progress).await {
            Ok(Zeroes::All(bytes)) => read = bytes,
            Ok(Zeroes::Not { at }) => found.push(Found::Data { at }),
            Err(failure) => doubts.push(words(&failure)),
        }
    }
    if found.is_empty()
        && doubts.is_empty()
        && let Err(failure) = opened
            .still_same()
            .and_then(|()| around(opened, &mut found, &mut doubts))
    {
        doubts.push(words(&failure));
    }
    if found.is_empty() && doubts.is_empty() {
        found.extend(written_to(opened).await);
    }
    if !found.is_empty() {
        Content::NotEmpty(found)
    } else if !doubts.is_empty() || read == 0 {
        Content::CannotTell(doubts)
    } else {
        Content::Empty(Proof {
            opened: opened.serial(),
            identity: opened.identity().clone(),
            read,
        })
    }
}

fn words(failure: &Failure) -> String {
    std::iter::once(&failure.what)
        .chain(&failure.causes)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Programs that have it open for writing, and still have a moment later: one that just asks what it is lets go.
pub(super) async fn written_to(opened: &Opened) -> Option<Found> {
    let writers = opened::lasting_writers(opened.identity().number).await;
    (!writers.is_empty()).then_some(Found::Writers(writers))
}

/// What the kernel says of the device without reading it.
pub(super) fn around(opened: &Opened, found: &mut Vec<Found>, doubts: &mut Vec<String>) -> Result<()> {
    let number = opened.identity().number;
    let failed = |error: std::io::Error| {
        Failure::environment("cannot read what the kernel says of it").because(&error)
    };
    if opened.identity().size.0 == 0 {
        doubts.push("its size is 0".into());
    }
    match sysfs::numeric(&number.directory().join("ro")).map_err(failed)? {
        Some(0) => {}
        Some(_) => doubts.push("it is read-only".into()),
        None => doubts.push("the kernel does not say whether it is read-only".into()),
    }
    let partitions = sysfs::partitions(number).map_err(failed)?;
    if !partitions.is_empty() {
        found.push(Found::Partitions(partitions));
    }
    let holders = sysfs::holders(number).map_err(failed)?;
    if !holders.is_empty() {
        found.push(Found::Holders(holders));
    }
    Ok(())
}

/// What blkid and wipefs recognise. blkid decides for one of several and tells when it cannot; wipefs lists them all.
///
/// # Errors
/// When one of them is missing, fails, or answers something that is not known.
pub async fn signatures(opened: &Opened) -> Result<Vec<Signature>> {
    let mut found = wipefs(opened).await?;
    if let Some(other) = blkid(opened).await?
        && !found.iter().any(|known| known.kind == other.kind)
    {
        found.push(other);
    }
    Ok(found)
}

/// What blkid's low-level probe says, which reads the device and no cache. Exit codes: blkid(8).
///
/// # Errors
/// Also when it is ambivalent, which is more than one answer and no emptiness.
pub(super) async fn blkid(opened: &Opened) -> Result<Option<Signature>> {
    let tool = Tool::new("blkid", ["-p", "-o", "export", STDIN]).with_open(opened.shared()?);
    let line = tool.line().to_owned();
    let ended = tool.ask().await?;
    let strange = |what: &str| {
        Failure::environment(format!("`{line}` {what} ({})", ended.status)).cause(ended.stderr.trim())
    };
    match ended.code {
        Some(0) if tells_of_the_partition_only(&ended.stdout) => Ok(None),
        Some(0) => {
            let said = blkid_says(&ended.stdout);
            said.map(Some)
                .ok_or_else(|| strange("found something that it does not name"))
        }
        // Also of what it cannot read: that nothing is there is proven by reading.
        Some(2) if ended.stdout.trim().is_empty() => Ok(None),
        Some(8) => Err(strange("found signatures of more than one kind")),
        _ => Err(strange("failed")),
    }
}

/// Of a partition it tells what the disk's table says of it, whatever is in it: `PART_ENTRY_SCHEME` and others. They are
/// nothing that was found in it.
fn tells_of_the_partition_only(text: &str) -> bool {
    let mut entries = 0;
    let others = text.lines().any(|line| {
        let of_the_table = line.starts_with("PART_ENTRY_");
        entries += usize::from(of_the_table);
        !of_the_table && !line.starts_with("DEVNAME=")
    });
    entries > 0 && !others
}

/// `KEY=value` lines, special characters behind backslashes.
fn blkid_says(text: &str) -> Option<Signature> {
    let values: BTreeMap<&str, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key, value.replace('\\', "")))
        .collect();
    let of_table = !values.contains_key("TYPE");
    Some(Signature {
        kind: values.get("TYPE").or(values.get("PTTYPE"))?.clone(),
        uuid: values.get(if of_table { "PTUUID" } else { "UUID" }).cloned(),
        label: values.get("LABEL").cloned(),
        offset: None,
    })
}

#[derive(serde::Deserialize)]
struct WipefsSays {
    signatures: Vec<WipefsSignature>,
}

#[derive(serde::Deserialize)]
struct WipefsSignature {
    offset: String,
    #[serde(rename = "type")]
    kind: String,
    uuid: Option<String>,
    label: Option<String>,
}

/// Every signature that wipefs would erase; without `--all` or `--offset` it only lists.
async fn wipefs(opened: &Opened) -> Result<Vec<Signature>> {
    let tool = Tool::new("wipefs", ["--json", "--output", "OFFSET,TYPE,UUID,LABEL", STDIN])
        .with_open(opened.shared()?);
    let line = tool.line().to_owned();
    let said = tool.run().await?;
    // It prints nothing at all when there is none.
    if said.trim().is_empty() {
        return Ok(Vec::new());
    }
    let strange = || Failure::environment(format!("`{line}` answered what cannot be read"));
    let said: WipefsSays = serde_json::from_str(&said).map_err(|error| strange().because(&error))?;
    said.signatures
        .into_iter()
        .map(|one| {
            let offset = u64::from_str_radix(one.offset.trim_start_matches("0x"), 16)
                .map_err(|error| strange().because(&error))?;
            Ok(Signature {
                kind: one.kind,
                uuid: one.uuid.filter(|text| !text.is_empty()),
                label: one.label.filter(|text| !text.is_empty()),
                offset: Some(offset),
            })
        })
        .collect()
}

/// Whether what was read is all zero.
pub(super) enum Zeroes {
    /// So many bytes.
    All(u64),
    /// This byte is not.
    Not { at: u64 },
}

/// Reads places of a device, past the page cache.
pub(super) async fn zeroes(
    opened: &Opened,
    places: Vec<Range<u64>>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Zeroes> {
    let file = opened
        .file()
        .try_clone()
        .map_err(|error| Failure::environment("cannot duplicate a descriptor").because(&error))?;
    let total = reads::total(&places);
    let (told, mut tell) = watch::channel(0);
    // Ends early when nobody waits for it any more.
    let mut reading = tokio::task::spawn_blocking(move || read_places(&file, &places, &told));
    let answer = loop {
        tokio::select! {
            ended = &mut reading => break ended,
            changed = tell.changed() => {
                if changed.is_err() {
                    break (&mut reading).await;
                }
                progress(*tell.borrow_and_update(), total);
            }
        }
    };
    answer
        .map_err(|error| Failure::bug("a reading thread died").because(&error))?
        .map_err(|(at, error)| {
            Failure::environment(format!("cannot read {} at byte {at}", opened.node().display()))
                .because(&error)
        })
}

fn read_places(
    file: &File,
    places: &[Range<u64>],
    told: &watch::Sender<u64>,
) -> std::result::Result<Zeroes, (u64, std::io::Error)> {
    // What is cached may be older than the disk. Without O_DIRECT, which some drivers do not know, the cache is dropped.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let direct = match open(&path, flags | OFlags::DIRECT, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::INVAL) => {
            fadvise(file, 0, None, Advice::DontNeed).map_err(|error| (0, error.into()))?;
            open(&path, flags, Mode::empty()).map_err(|error| (0, error.into()))?
        }
        Err(error) => return Err((0, error.into())),
    };
    let mut buffer = Buffer::default();
    let mut done = 0;
    for place in places {
        let mut at = place.start;
        while at < place.end {
            if told.is_closed() {
                return Err((at, std::io::Error::other("given up")));
            }
            let want = (place.end - at).min(BLOCK as u64) as usize;
            let into = &mut buffer.bytes()[..want];
            let count = match pread(&direct, &mut *into, at) {
                Ok(0) => return Err((at, std::io::Error::other("the device ends here, before its end"))),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(error) => return Err((at, error.into())),
            };
            if let Some(offset) = first_not_zero(&into[..count]) {
                return Ok(Zeroes::Not {
                    at: at + offset as u64,
                });
            }
            at += count as u64;
            done += count as u64;
            told.send_replace(done);
        }
    }
    Ok(Zeroes::All(done))
}

/// By whole pages, which is one comparison each.
fn first_not_zero(bytes: &[u8]) -> Option<usize> {
    const ZERO: [u8; PAGE as usize] = [0; PAGE as usize];
    bytes.chunks(ZERO.len()).enumerate().find_map(|(number, page)| {
        if *page == ZERO[..page.len()] {
            return None;
        }
        let within = page.iter().position(|byte| *byte != 0)?;
        Some(number * ZERO.len() + within)
    })
}

/// Whether an ext file system has a journal that is to be replayed: it was not unmounted where it was mounted last, or is
/// mounted there. `INCOMPAT_RECOVER`: <https://docs.kernel.org/filesystems/ext4/super.html>
///
/// # Errors
/// When the device cannot be read.
pub fn needs_recovery(opened: &Opened) -> Result<bool> {
    const RECOVER: u8 = 4;
    let read = |at: u64, bytes: &mut [u8]| {
        fsid::read(opened.file(), at, bytes).map_err(|error| {
            Failure::environment(format!("cannot read {}", opened.node().display())).because(&error)
        })
    };
    let (mut magic, mut incompatible) = ([0; 2], [0; 4]);
    let ext = read(0x438, &mut magic)? && magic == [0x53, 0xef] && read(0x460, &mut incompatible)?;
    Ok(ext && incompatible[0] & RECOVER != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blkids_answer_is_read() {
        let text = "DEVNAME=/proc/self/fd/0\nLABEL=my\\ data\nUUID=1111-2222\nTYPE=vfat\nUSAGE=filesystem\n";
        assert_eq!(
            blkid_says(text).unwrap(),
            Signature {
                kind: "vfat".into(),
                uuid: Some("1111-2222".into()),
                label: Some("my data".into()),
                offset: None
            }
        );
        let table = blkid_says("DEVNAME=/proc/self/fd/0\nPTUUID=ab\nPTTYPE=gpt\n").unwrap();
        assert_eq!((table.kind.as_str(), table.uuid.as_deref()), ("gpt", Some("ab")));
        assert_eq!(blkid_says("DEVNAME=/proc/self/fd/0\n"), None);
    }

    #[test]
    fn what_the_table_says_of_a_partition_is_nothing_in_it() {
        let entry = "DEVNAME=/proc/self/fd/0\nPART_ENTRY_SCHEME=gpt\nPART_ENTRY_NUMBER=1\n";
        assert!(tells_of_the_partition_only(entry));
        for more in ["TYPE=ext4\n", "PTTYPE=dos\n", "USAGE=raid\n", "something\n", "\n"] {
            assert!(!tells_of_the_partition_only(&format!("{entry}{more}")), "{more}");
        }
        assert!(!tells_of_the_partition_only("DEVNAME=/proc/self/fd/0\n"));
        assert!(!tells_of_the_partition_only(""));
    }

    proptest! {
        #[test]
        fn one_byte_is_never_missed(len in 1_usize..20_000, at: prop::sample::Index, value in 1_u8..) {
            let mut bytes = vec![0; len];
            prop_assert_eq!(first_not_zero(&bytes), None);
            let at = at.index(len);
            bytes[at] = value;
            prop_assert_eq!(first_not_zero(&bytes), Some(at));
        }
    }
}

//! The tree gets what the bucket has. A file appears only when all of it came and was compared; nothing is deleted.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::files::{Local, Remote, find, shown};
use super::same::{By, Digest, cannot, settled, was_a_file};
use super::store::Store;
use super::{PullReport, UploadsRequest, fetch, told};
use crate::helper::content::{open_file, write_at};
use crate::helper::cursor::open_dir;
use crate::helper::fault::{Fault, Side, errno_of};
use crate::helper::meta::{Kind, Meta};
use crate::model::{Failure, Owner, Result};

/// What a file is called until all of it is there.
const HALF: &str = ".rehome-half-";
/// Where nothing says otherwise.
const FILE_MODE: u16 = 0o644;
const DIR_MODE: u16 = 0o755;

/// What is done about files that are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub dry_run: bool,
    pub only_missing: bool,
    pub since: Option<Timestamp>,
}

/// An object, and whether a file is in its place.
struct Item {
    path: Vec<u8>,
    remote: Remote,
    is_there: bool,
}

/// Whose files are, and how they may be read: as most of those that are there.
struct Manners {
    owner: Owner,
    file: u16,
    dir: u16,
}

/// Does it.
pub(super) fn pull(store: &Store<'_>, request: &UploadsRequest, how: How) -> Result<PullReport> {
    let local = Local::read(store, request)?;
    let manners = manners(&local);
    let found = find(store, &local, &mut |_, _, _| ())?;
    // What is there already, and what is only in the bucket.
    let there = local.files.iter().zip(found.remotes).filter_map(|(id, remote)| {
        remote.map(|remote| Item {
            path: local.tree.path(*id),
            remote,
            is_there: true,
        })
    });
    let new = found.extra.into_iter().map(|(path, remote)| Item {
        path: path.into_bytes(),
        remote,
        is_there: false,
    });
    let mut items: Vec<Item> = there.chain(new).collect();
    let bytes = items.iter().map(|item| item.remote.bytes).sum();
    store.cx.expect(bytes, items.len() as u64);
    let mut report = PullReport {
        objects: items.len() as u64,
        bytes,
        left_out: found.left_out,
        ..PullReport::default()
    };
    items.reverse();
    let root = local.root.as_fd();
    let hands = store.each(
        items,
        PullReport::default,
        |report, item| {
            let done = one(store, (root, item), (&manners, how));
            store.cx.did_files(1);
            // All content is told twice.
            store.cx.did_bytes(2 * item.remote.bytes);
            match done? {
                Done::Same(by) => report.same.count(by),
                Done::Kept => report.kept += 1,
                Done::Written(bytes) => {
                    report.got_bytes += bytes;
                    match item.is_there {
                        true => report.replaced += 1,
                        false => report.added += 1,
                    }
                }
            }
            Ok(())
        },
        |report, item, failure| report.failed.add(shown(&item.path), failure.to_string()),
    )?;
    for hand in hands {
        report.same.append(hand.same);
        report.kept += hand.kept;
        report.got_bytes += hand.got_bytes;
        report.added += hand.added;
        report.replaced += hand.replaced;
        report.failed.append(hand.failed);
    }
    if !how.dry_run {
        rustix::fs::syncfs(root).map_err(|errno| told(Fault::on_path("sync", &request.dir, errno)))?;
    }
    Ok(report)
}

enum Done {
    Same(By),
    Kept,
    /// So many bytes came.
    Written(u64),
}

fn one(
    store: &Store<'_>,
    (root, item): (BorrowedFd<'_>, &Item),
    (manners, how): (&Manners, How),
) -> Result<Done> {
    let (path, remote) = (item.path.as_slice(), &item.remote);
    let text = std::str::from_utf8(path)
        .map_err(|e| Failure::bug("a key of an object that is no text").because(&e))?;
    let key = format!("{}{text}", store.prefix);
    if item.is_there {
        if let Some(by) = same(store, (root, path, &key), remote)? {
            return Ok(Done::Same(by));
        }
        if how.only_missing {
            return Ok(Done::Kept);
        }
    }
    if let Some(since) = how.since
        && !is_wanted(store, (root, path, &key), remote, since)?
    {
        return Ok(Done::Kept);
    }
    match how.dry_run {
        true => Ok(Done::Written(remote.bytes)),
        false => write(store, (root, path, &key), manners).map(Done::Written),
    }
}

/// Whether an object was written after a moment, and the file in its place, if there is one, was not written later.
fn is_wanted(
    store: &Store<'_>,
    (root, path, key): (BorrowedFd<'_>, &[u8], &str),
    remote: &Remote,
    since: Timestamp,
) -> Result<bool> {
    let Some(written) = remote.modified.filter(|at| *at >= since) else {
        return Ok(false);
    };
    let there = directory(root, path, None).and_then(|(dir, name)| {
        Meta::of_entry(dir.as_fd(), name)
            .map_err(|errno| told(Fault::io(Side::Destination, "look at", path, errno)))
    });
    match there {
        // What is not there is not newer.
        Err(_) => Ok(true),
        Ok((meta, _)) if meta.mtime.sec > written.as_second() => Ok(false),
        // What was a file when it was sent is no newer than the file.
        Ok(_) => Ok(!was_a_file(store, key)?),
    }
}

/// How a file that is there was found to be the same as its object.
fn same(
    store: &Store<'_>,
    (root, path, key): (BorrowedFd<'_>, &[u8], &str),
    remote: &Remote,
) -> Result<Option<By>> {
    let failed = |errno| told(Fault::io(Side::Destination, "read", path, errno));
    let (dir, name) = directory(root, path, None)?;
    let file = open_file(dir.as_fd(), name).map_err(failed)?;
    let meta = Meta::of_fd(file.as_fd()).map_err(failed)?;
    if meta.kind != Kind::File || meta.size != remote.bytes {
        return Ok(None);
    }
    match Digest::read(store, file.as_fd(), (&meta, path), (Some(remote), false))? {
        Some(digest) => settled(store, key, &digest, remote),
        None => Err(Failure::environment(cannot("compare", path)).cause("somebody wrote to it meanwhile")),
    }
}

/// Brings an object; says how long it is.
fn write(
    store: &Store<'_>,
    (root, path, key): (BorrowedFd<'_>, &[u8], &str),
    manners: &Manners,
) -> Result<u64> {
    let failed = |errno| told(Fault::io(Side::Destination, "write", path, errno));
    let (dir, name) = directory(root, path, Some(manners))?;
    match Meta::of_entry(dir.as_fd(), name) {
        Err(Errno::NOENT) => {}
        Ok((meta, _)) if meta.kind == Kind::File => {}
        Ok((meta, _)) => {
            return Err(
                Failure::refused(cannot("write", path)).cause(format!("there is a {}", meta.kind.word()))
            );
        }
        Err(errno) => return Err(failed(errno)),
    }
    let half = format!("{HALF}{:016x}", super::files::hash(key) as u64);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(dir.as_fd(), half.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
    let written = fill(store, (&file, path, key), manners);
    let renamed = written.and_then(|bytes| {
        rustix::fs::renameat(dir.as_fd(), half.as_str(), dir.as_fd(), name)
            .map(|()| bytes)
            .map_err(failed)
    });
    if renamed.is_err()
        && let Err(errno) = rustix::fs::unlinkat(dir.as_fd(), half.as_str(), AtFlags::empty())
    {
        store
            .cx
            .note(format!("{half} beside {} is left: {errno}", shown(path)));
    }
    renamed
}

fn fill(store: &Store<'_>, (file, path, key): (&OwnedFd, &[u8], &str), manners: &Manners) -> Result<u64> {
    let failed = |errno| told(Fault::io(Side::Destination, "write", path, errno));
    let fetched = fetch::fetch(store, key, &mut |piece, at| {
        write_at(file.as_fd(), piece, at).map_err(failed)
    })?;
    let fetched = fetched
        .ok_or_else(|| Failure::environment(cannot("bring", path)).cause("it was deleted meanwhile"))?;
    if let Some(noted) = &fetched.noted
        && *noted != fetched.blake3.to_hex().as_str()
    {
        return Err(Failure::environment(cannot("bring", path))
            .cause("what came is not what was noted when it was written (BLAKE3)"));
    }
    let mode = Mode::from_raw_mode(manners.file.into());
    rustix::fs::fchmod(file, mode).map_err(failed)?;
    own(file, manners.owner).map_err(failed)?;
    if let Some(at) = fetched.mtime {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: at.as_second(),
                tv_nsec: at.subsec_nanosecond().into(),
            },
        };
        rustix::fs::futimens(file, &times).map_err(failed)?;
    }
    Ok(fetched.bytes)
}

fn own(file: impl AsFd, owner: Owner) -> Result<(), Errno> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(owner.uid),
        rustix::fs::Gid::from_raw(owner.gid),
    );
    rustix::fs::fchown(file, Some(uid), Some(gid))
}

/// The directory of a path, and the name in it. What is missing on the way is made, if `make` says how; no symlink is
/// followed.
fn directory<'p>(
    root: BorrowedFd<'_>,
    path: &'p [u8],
    make: Option<&Manners>,
) -> Result<(OwnedFd, &'p [u8])> {
    let failed = |errno| told(Fault::io(Side::Destination, "open the directory of", path, errno));
    let mut dir = root.try_clone_to_owned().map_err(|e| failed(errno_of(&e)))?;
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let name = names.pop().unwrap_or_default();
    for step in names {
        dir = match (open_dir(dir.as_fd(), step), make) {
            (Err(Errno::NOENT), Some(manners)) => {
                let mode = Mode::from_raw_mode(manners.dir.into());
                match rustix::fs::mkdirat(dir.as_fd(), step, mode) {
                    Ok(()) => {
                        let made = open_dir(dir.as_fd(), step).map_err(failed)?;
                        own(&made, manners.owner).map_err(failed)?;
                        made
                    }
                    // Another thread was faster.
                    Err(Errno::EXIST) => open_dir(dir.as_fd(), step).map_err(failed)?,
                    Err(errno) => return Err(failed(errno)),
                }
            }
            (opened, _) => opened.map_err(failed)?,
        };
    }
    Ok((dir, name))
}

fn manners(local: &Local) -> Manners {
    let root = local.tree.root;
    let mut owners: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let (mut files, mut dirs): (BTreeMap<u16, u64>, BTreeMap<u16, u64>) = Default::default();
    for (_, entry) in local.tree.entries() {
        let meta = entry.meta;
        match meta.kind {
            Kind::File => *files.entry(meta.mode).or_default() += 1,
            Kind::Dir => *dirs.entry(meta.mode).or_default() += 1,
            _ => continue,
        }
        *owners.entry((meta.uid, meta.gid)).or_default() += 1;
    }
    let (uid, gid) = most(&owners).unwrap_or((root.uid, root.gid));
    Manners {
        owner: Owner { uid, gid },
        file: most(&files).unwrap_or(FILE_MODE),
        dir: most(&dirs).unwrap_or(if root.mode == 0 { DIR_MODE } else { root.mode }),
    }
}

fn most<K: Copy>(counted: &BTreeMap<K, u64>) -> Option<K> {
    counted.iter().max_by_key(|(_, n)| **n).map(|(key, _)| *key)
}

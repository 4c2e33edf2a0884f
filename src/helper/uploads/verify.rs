//! Every file against its object, by content. Nothing is written.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::early::{find_and_compare, known, left_of};
use super::files::{Local, Remote, find, shown};
use super::same::{ATTEMPTS, By, Digest, always_written, settled, was_a_file};
use super::store::Store;
use super::{CompareReport, InUse, UploadsRequest, fetch, told};
use crate::helper::content::open_file;
use crate::helper::cursor::Cursor;
use crate::helper::fault::{Fault, Side};
use crate::helper::meta::Meta;
use crate::model::{Result, count};

/// Does it.
pub(super) fn verify(
    store: &Store<'_>,
    request: &UploadsRequest,
    (read, in_use): (bool, Option<InUse>),
) -> Result<CompareReport> {
    let local = Local::read(store, request)?;
    store.cx.expect(local.bytes, local.files.len() as u64);
    let (found, same) = match read {
        true => (
            find(store, &local, &mut |_, _, _| ())?,
            vec![false; local.files.len()],
        ),
        false => find_and_compare(store, &local)?,
    };
    let mut report = CompareReport {
        same: known(&same),
        files: local.files.len() as u64,
        bytes: local.bytes,
        left_out: local.left_out,
        ..CompareReport::default()
    };
    for (path, _) in &found.extra {
        report.extra.add(path.clone(), "no file belongs to it");
    }
    // They are files, and no object is theirs.
    report.missing.append(local.impossible.clone());
    let items = left_of(&local, found.remotes, &same);
    let hands = store.each(
        items,
        || {
            (
                Cursor::new(local.root.as_fd(), local.tree.root.dev),
                CompareReport::default(),
            )
        },
        |(cursor, report), (id, remote)| {
            let path = local.tree.path(*id);
            let meta = local.tree.entry(*id).meta;
            let (size, mtime) = (meta.size, meta.mtime.sec);
            let compared = match remote {
                None => Ok(None),
                Some(remote) => {
                    let node = local.tree.node(id.dir);
                    let failed = |errno| told(Fault::io(Side::Source, "open", &path, errno));
                    let dir = cursor.enter(node).map_err(failed)?;
                    let name = local.tree.name(*id);
                    let compared = one(store, (dir, &name, &path), (&local.key(store, *id), remote), read);
                    compared.map(Some)
                }
            };
            store.cx.did_files(1);
            store.cx.did_bytes(2 * size);
            match compared? {
                None => report
                    .missing
                    .add(shown(&path), format!("it has {}", count(size, "byte"))),
                Some(Ok(by)) => report.same.count(by),
                Some(Err(why)) => {
                    match was_written(store, &local.key(store, *id), (mtime, remote.as_ref()), in_use)? {
                        true => report.meanwhile += 1,
                        false => report.different.add(shown(&path), why),
                    }
                }
            }
            Ok(())
        },
        |(_, report), (id, _), failure| {
            report
                .failed
                .add(shown(&local.tree.path(*id)), failure.to_string());
        },
    )?;
    for (_, hand) in hands {
        report.same.append(hand.same);
        report.missing.append(hand.missing);
        report.different.append(hand.different);
        report.meanwhile += hand.meanwhile;
        report.failed.append(hand.failed);
    }
    Ok(report)
}

/// Whether the services wrote it where they write now: then the other one is as old as it should be.
fn was_written(
    store: &Store<'_>,
    key: &str,
    (mtime, remote): (i64, Option<&Remote>),
    in_use: Option<InUse>,
) -> Result<bool> {
    match in_use {
        Some(InUse { since, bucket: false }) => Ok(mtime >= since.as_second()),
        Some(InUse { since, bucket: true }) => {
            let new = remote.is_some_and(|remote| remote.modified.is_some_and(|at| at >= since));
            // What was sent from a file must have its content.
            Ok(new && !was_a_file(store, key)?)
        }
        None => Ok(false),
    }
}

/// How they were found to be the same, or in words what is different.
fn one(
    store: &Store<'_>,
    (dir, name, path): (BorrowedFd<'_>, &[u8], &[u8]),
    (key, remote): (&str, &Remote),
    read: bool,
) -> Result<Result<By, String>> {
    for _ in 0..ATTEMPTS {
        let failed = |errno| told(Fault::io(Side::Source, "read", path, errno));
        let file: OwnedFd = open_file(dir, name).map_err(failed)?;
        let meta = Meta::of_fd(file.as_fd()).map_err(failed)?;
        if meta.size != remote.bytes {
            return Ok(Err(format!(
                "the file has {}, the object {}",
                count(meta.size, "byte"),
                remote.bytes
            )));
        }
        let Some(digest) = Digest::read(store, file.as_fd(), (&meta, path), (Some(remote), false))? else {
            continue;
        };
        let same = match read {
            true => {
                let there = fetch::hash(store, key)?;
                (there == Some((digest.bytes, digest.blake3))).then_some(By::Reading)
            }
            false => settled(store, key, &digest, remote)?,
        };
        return Ok(same.ok_or_else(|| "the object has another content of the same size".to_owned()));
    }
    Err(always_written("compare", path))
}

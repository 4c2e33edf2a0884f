//! The bucket gets what the tree has: what is missing or different is sent, and nothing else.

use std::os::fd::AsFd;

use bytes::Bytes;

use super::early::{find_and_compare, known, left_of};
use super::fetch;
use super::files::{Local, Remote, shown};
use super::same::cannot;
use super::send::{Sender, Sent};
use super::store::Store;
use super::{SyncJob, SyncReport, Troubles, UploadsRequest, told};
use crate::helper::cursor::Cursor;
use crate::helper::fault::{Fault, Side, vanished};
use crate::model::{Failure, Result};
use crate::s3::{Checksum, ETag, Listed, md5, unique_name};

/// Where an object is written, read back and deleted to see how the storage takes one.
const TRIAL: &str = ".rehome-trial";
/// More than this share of the objects does not go because files did, in percent.
const MOST_DELETED: u64 = 10;

/// Does it.
pub(super) fn sync(store: &Store<'_>, request: &UploadsRequest, job: &SyncJob) -> Result<SyncReport> {
    let local = Local::read(store, request)?;
    store.cx.expect(local.bytes, local.files.len() as u64);
    let (found, same) = find_and_compare(store, &local)?;
    if job.delete {
        may_delete(&local, found.extra.len() as u64, job.shrink)?;
    }
    let (job, tells_md5) = match job.dry_run {
        true => (job.clone(), true),
        false => tried(store, job)?,
    };
    let spoils_backslashes = local.backslashes && !job.dry_run && !keeps_backslashes(store, &job)?;
    let sender = Sender {
        store,
        job: &job,
        tells_md5,
    };
    let device = local.tree.root.dev;
    let items = left_of(&local, found.remotes, &same);
    let hands = store.each(
        items,
        || (Cursor::new(local.root.as_fd(), device), SyncReport::default()),
        |(cursor, report), (id, remote)| {
            let path = local.tree.path(*id);
            let size = local.tree.entry(*id).meta.size;
            let node = local.tree.node(id.dir);
            let sent = match cursor.enter(node) {
                Ok(_) if spoils_backslashes && path.contains(&b'\\') => {
                    Err(Failure::environment(cannot("send", &path))
                        .cause("this storage makes a slash of the backslash in its name"))
                }
                Ok(dir) => {
                    let name = local.tree.name(*id);
                    sender.send(dir, (&name, &path, &local.key(store, *id)), remote.as_ref())
                }
                Err(errno) if vanished(errno) => Ok(Sent::Gone),
                Err(errno) => Err(told(Fault::io(Side::Source, "open", &path, errno))),
            };
            store.cx.did_files(1);
            // All content is told twice.
            store.cx.did_bytes(2 * size);
            let sent = sent?;
            if let Sent::Written { bytes, .. } = sent
                && !job.dry_run
            {
                store.wrote(remote.map(|remote| remote.bytes), bytes);
            }
            report.count(sent);
            Ok(())
        },
        |(_, report), (id, _), failure| {
            report
                .failed
                .add(shown(&local.tree.path(*id)), failure.to_string());
        },
    )?;
    let mut report = SyncReport {
        same: known(&same),
        files: local.files.len() as u64,
        bytes: local.bytes,
        left_out: local.left_out,
        extra: found.extra.len() as u64,
        pages: found.pages,
        failed: local.impossible,
        ..SyncReport::default()
    };
    for (_, of_a_thread) in hands {
        report.append(of_a_thread);
    }
    if job.delete && report.failed.is_empty() && report.gone == 0 {
        delete(store, found.extra, job.dry_run, &mut report)?;
    }
    Ok(report)
}

impl SyncReport {
    fn count(&mut self, sent: Sent) {
        match sent {
            Sent::Same(by) => self.same.count(by),
            Sent::Written { replaced, bytes } => {
                self.sent_bytes += bytes;
                match replaced {
                    true => self.replaced += 1,
                    false => self.added += 1,
                }
            }
            Sent::Newer => self.newer += 1,
            Sent::Gone => self.gone += 1,
        }
    }

    fn append(&mut self, other: Self) {
        self.same.append(other.same);
        self.added += other.added;
        self.replaced += other.replaced;
        self.sent_bytes += other.sent_bytes;
        self.newer += other.newer;
        self.gone += other.gone;
        self.failed.append(other.failed);
    }
}

/// An empty tree, or one that lost much, is more often a volume that is not the right one than one that was emptied.
fn may_delete(local: &Local, extra: u64, shrink: bool) -> Result<()> {
    let refused = |what: &str| {
        Err(Failure::refused(what)
            .data("nothing was sent and nothing was deleted")
            .hint("is it the right volume? To send without deleting: leave out --delete"))
    };
    if extra > 0 && local.files.is_empty() {
        return refused("the tree is empty, and the bucket would be emptied with it");
    }
    let all = extra + local.files.len() as u64;
    if extra * 100 > all * MOST_DELETED && !shrink {
        return refused(&format!(
            "{extra} of {all} objects have no file, and more than {MOST_DELETED} % are not deleted unless it is said"
        ))
        .map_err(|failure: Failure| failure.hint("if it is meant: --delete --allow-shrink"));
    }
    Ok(())
}

/// Writes an object, reads it back and deletes it: with `Content-MD5` first, and with the body signed where the storage does
/// not know that or makes something else of the body.
fn tried(store: &Store<'_>, job: &SyncJob) -> Result<(SyncJob, bool)> {
    let key = format!("{}{TRIAL}-{}", store.prefix, unique_name()?);
    let body = Bytes::from_static(b"rehome writes this, reads it back and deletes it\n");
    let sum = md5(&body);
    let mut last = None;
    for checksum in [Checksum::Md5, Checksum::Signature] {
        let mut job = job.clone();
        job.about.checksum = checksum;
        let wrote = store.patiently(|| store.wait(store.bucket.put(&key, body.clone(), &sum, &job.about)));
        let etag = match wrote {
            Ok(etag) => etag,
            Err(failure) => {
                // What is refused for another reason is refused again, and that is told.
                last.get_or_insert(failure);
                continue;
            }
        };
        let back = fetch::hash(store, &key);
        store.patiently(|| store.wait(store.bucket.delete(&key)))?;
        match back? {
            Some((_, hash)) if hash == blake3::hash(&body) => return Ok((job, etag == ETag::Whole(sum))),
            _ => {
                last = Some(
                    store
                        .bucket
                        .another(&key)
                        .cause("what the storage has is not what it was sent"),
                );
            }
        }
    }
    Err(last.unwrap_or_else(|| Failure::bug("no checksum was tried")))
}

/// Whether a key with a backslash is the key of what was written. SeaweedFS makes a slash of it: two files could be one object,
/// and nothing would say so before a verification does.
fn keeps_backslashes(store: &Store<'_>, job: &SyncJob) -> Result<bool> {
    let begin = format!("{}{TRIAL}-{}", store.prefix, unique_name()?);
    let key = format!("{begin}\\b");
    let body = Bytes::from_static(b"rehome looks what becomes of a backslash\n");
    let sum = md5(&body);
    store.patiently(|| store.wait(store.bucket.put(&key, body.clone(), &sum, &job.about)))?;
    let listed = store.patiently(|| {
        let mut kept = false;
        let mut each = |object: Listed<'_>| {
            kept |= object.key == key;
            Ok(())
        };
        store.wait(store.bucket.list(&begin, &mut each))?;
        Ok(kept)
    });
    store.patiently(|| store.wait(store.bucket.delete(&key)))?;
    listed
}

fn delete(
    store: &Store<'_>,
    extra: Vec<(String, Remote)>,
    dry_run: bool,
    report: &mut SyncReport,
) -> Result<()> {
    if dry_run {
        report.deleted = extra.len() as u64;
        return Ok(());
    }
    let hands = store.each(
        extra,
        || (0u64, Troubles::default()),
        |(deleted, _), (path, remote)| {
            let key = format!("{}{path}", store.prefix);
            store.patiently(|| store.wait(store.bucket.delete(&key)))?;
            store.deleted(remote.bytes);
            *deleted += 1;
            Ok(())
        },
        |(_, failed), (path, _), failure| failed.add(path.clone(), failure.to_string()),
    )?;
    for (deleted, failed) in hands {
        report.deleted += deleted;
        report.failed.append(failed);
    }
    Ok(())
}

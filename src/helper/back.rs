//! Reading back what was written, and what is proven by that.

use std::os::fd::AsFd as _;

use super::content::{self, Buffer, Reader};
use super::copy::Pass;
use super::crew::work_off;
use super::cursor::Cursor;
use super::fault::{Fault, Result, Side, escape};
use super::hash::Hash;
use super::known::Draft;
use super::manifest::{NO_LIST, Proof};
use super::meta::{Kind, Meta};
use super::tree::EntryId;

/// A file that was copied.
#[derive(Debug)]
pub struct Copied {
    /// Which.
    pub id: EntryId,
    /// What its content is.
    pub hash: Hash,
    /// The place of its list of block hashes, or [`NO_LIST`].
    pub list: u64,
    /// Length.
    pub size: u64,
    /// Whether the source was as it was walked, and long enough ago, before and after.
    pub trusted: bool,
    /// Whether it is still to be read back.
    pub unread: bool,
}

/// What is known of files that were copied.
#[derive(Debug, Default)]
pub struct Back {
    /// Files that are proven.
    pub proofs: Vec<(EntryId, Proof)>,
    /// Large files whose source is not to be trusted yet.
    pub drafts: Vec<(EntryId, Draft)>,
}

impl Back {
    /// Adds what others found out.
    pub fn extend(&mut self, other: Self) {
        self.proofs.extend(other.proofs);
        self.drafts.extend(other.drafts);
    }

    /// A file whose content at the destination is what it should be.
    pub fn add(&mut self, file: &Copied, meta: &Meta) {
        let proof = Proof {
            hash: file.hash,
            ino: meta.ino,
            ctime: meta.ctime,
            list: file.list,
        };
        if file.trusted {
            self.proofs.push((file.id, proof));
        } else if file.list != NO_LIST {
            self.drafts.push((file.id, Draft::of_untrusted(proof, file.size)));
        }
    }
}

/// One who reads back.
pub struct BackReader<'a> {
    pass: &'a Pass<'a>,
    cursor: Cursor<'a>,
    buffer: Buffer,
    /// What was found out.
    pub back: Back,
}

impl<'a> BackReader<'a> {
    /// Has read nothing yet.
    #[must_use]
    pub fn new(pass: &'a Pass<'a>) -> Self {
        Self {
            pass,
            cursor: pass.roots.hand().to,
            buffer: Buffer::default(),
            back: Back::default(),
        }
    }

    /// Reads a file back and compares it with what was written; or only looks at it, when that was done.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn file(&mut self, file: &Copied) -> Result<()> {
        let pass = self.pass;
        pass.cx.go_on()?;
        let path = || pass.tree.path(file.id);
        let failed = |errno| Fault::io(Side::Destination, "read back", &path(), errno);
        let dir = self
            .cursor
            .enter(&pass.tree.dir(file.id.dir).node)
            .map_err(failed)?;
        let name = pass.tree.name(file.id);
        let (meta, same) = if file.unread {
            let fd = content::open_file(dir, name).map_err(failed)?;
            let meta = Meta::of_fd(fd.as_fd()).map_err(failed)?;
            let reader = Reader {
                cx: pass.cx,
                side: Side::Destination,
                path: &path,
            };
            let content = content::hash_from_disk(reader, &fd, &meta, 0..meta.size, &mut self.buffer)?;
            (meta, content.hash() == file.hash)
        } else {
            let (meta, _) = Meta::of_entry(dir, name).map_err(failed)?;
            (meta, meta.kind == Kind::File)
        };
        if !same || meta.size != file.size {
            return Err(differs(&path()));
        }
        self.back.add(file, &meta);
        Ok(())
    }
}

/// What is there is not what was written.
#[must_use]
pub fn differs(path: &[u8]) -> Fault {
    Fault::new(
        super::protocol::FailClass::Differs,
        format!("{} is not what was written", escape(path)),
        "reading it back from the destination gave another content",
    )
}

/// Reads back what could not be read back while other files were copied.
///
/// # Errors
/// As [`BackReader::file`].
pub fn read_back(pass: &Pass<'_>, mut files: Vec<Copied>) -> Result<Back> {
    // The stack gives out the last first.
    files.reverse();
    let state = || BackReader::new(pass);
    let done = work_off(pass.cx, pass.jobs, files, state, |reader, file, _| {
        reader.file(&file)
    })?;
    let mut all = Back::default();
    for reader in done {
        all.extend(reader.back);
    }
    Ok(all)
}

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
use super::store::{self, Standing, Store};
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

/// Keeps what is known of a file whose content at the destination is what it should be.
///
/// # Errors
/// When there is no room for it.
pub fn keep(files: &Store, file: &Copied, there: &Meta) -> Result<()> {
    let proof = Proof {
        hash: file.hash,
        ino: there.ino,
        ctime: there.ctime,
        list: file.list,
    };
    let standing = if file.trusted {
        Standing::Proven
    } else if file.list != NO_LIST {
        Standing::Draft
    } else {
        return Ok(());
    };
    let draft = Draft::of_copy(proof, file.size);
    files.put(file.id, standing, &draft).map_err(store::failed)
}

/// One who reads back.
pub struct BackReader<'a> {
    pass: &'a Pass<'a>,
    files: &'a Store,
    cursor: Cursor<'a>,
    buffer: Buffer,
}

impl<'a> BackReader<'a> {
    /// Has read nothing yet.
    #[must_use]
    pub fn new(pass: &'a Pass<'a>, files: &'a Store) -> Self {
        Self {
            pass,
            files,
            cursor: pass.roots.hand().to,
            buffer: Buffer::default(),
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
        let dir = self.cursor.enter(pass.tree.node(file.id.dir)).map_err(failed)?;
        let name = pass.tree.name(file.id);
        let name = &*name;
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
        keep(self.files, file, &meta)
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
pub fn read_back(pass: &Pass<'_>, files: &Store, mut late: Vec<Copied>) -> Result<()> {
    // The stack gives out the last first.
    late.reverse();
    let state = || BackReader::new(pass, files);
    work_off(pass.cx, pass.jobs, late, state, |reader, file, _| {
        reader.file(&file)
    })
    .map(|_| ())
}

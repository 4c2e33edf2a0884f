//! What a pass knows from the passes before it: the manifest, read for the source as it is now, and written again.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::context::Context;
use super::fault::{Fault, Result};
use super::manifest::{self, Entry, Fingerprint, NO_LIST, Proof, Record, Unusable};
use super::meta::{Kind, Meta};
use super::moves::{Moves, Search};
use super::tree::{EntryId, NO_DIR, Tree};

/// From this length on a file has a list of block hashes, and is patched where that is possible: smaller ones are
/// written faster than compared.
pub const LARGE: u64 = 1 << 20;

/// Something known of files, by entry of the source. A sorted list: half the memory of a map.
#[derive(Debug)]
pub struct ById<T>(Vec<(EntryId, T)>);

/// What is known of the content of files that nobody touched.
pub type Proofs = ById<Proof>;

/// The proven state of a file at the destination, whatever became of the source: where it spares some work to know it.
pub type Earlier = ById<Draft>;

/// See [`Earlier`].
#[derive(Debug, Clone, Copy)]
pub struct Draft {
    /// What was proven.
    pub proof: Proof,
    /// The source when it was.
    source: Fingerprint,
}

impl Draft {
    /// Of what the manifest says.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        Self {
            proof: record.proof,
            source: record.source,
        }
    }

    /// Of a destination whose source was written to meanwhile.
    #[must_use]
    pub fn of_untrusted(proof: Proof, size: u64) -> Self {
        Self {
            proof,
            source: Fingerprint::of_nothing(size),
        }
    }

    /// The length of the content that was proven.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// Whether there is a list of block hashes.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.proof.list != NO_LIST
    }

    /// Whether a file of the source that is not as it was may have the same content, or much of it.
    #[must_use]
    pub fn is_worth_reading(&self, source: &Meta) -> bool {
        self.source.looks_like(source) || (self.is_listed() && source.size > LARGE)
    }

    /// Whether this is the destination as it was proven. Another name of the inode would change with it.
    #[must_use]
    pub fn is_at(&self, found: &Meta) -> bool {
        found.kind == Kind::File
            && found.nlink == 1
            && (found.ino, found.ctime, found.size) == (self.proof.ino, self.proof.ctime, self.size())
    }
}

impl<T> Default for ById<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ById<T> {
    /// Of a list in any order.
    #[must_use]
    pub fn new(mut list: Vec<(EntryId, T)>) -> Self {
        list.sort_unstable_by_key(|(id, _)| *id);
        list.shrink_to_fit();
        Self(list)
    }

    /// What is known of an entry, if anything is.
    #[must_use]
    pub fn get(&self, id: EntryId) -> Option<&T> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.0.get(at).map(|(_, known)| known)
    }

    /// Forgets some entries.
    pub fn forget(&mut self, mut stale: Vec<EntryId>) {
        stale.sort_unstable();
        self.0.retain(|(id, _)| stale.binary_search(id).is_err());
    }

    /// Adds entries of which nothing is known.
    pub fn add(&mut self, more: Vec<(EntryId, T)>) {
        self.0.extend(more);
        self.0.sort_unstable_by_key(|(id, _)| *id);
    }
}

/// What a manifest tells about the files of a tree.
#[derive(Debug, Default)]
pub struct Known {
    /// Files that nobody touched since.
    pub proofs: Proofs,
    /// Files that changed, and what their destination held before.
    pub earlier: Earlier,
    /// What has another path now.
    pub moves: Moves,
}

/// The mark of a pass that rewrites parts of files in place. While it lies there, the manifest before is no proof of
/// what a large file at the destination holds: neither inode nor times need tell, when the power fails at the wrong
/// moment.
pub struct Open;

impl Open {
    fn path(manifest: &Path) -> PathBuf {
        manifest.with_extension("open")
    }

    /// Durable before the first block is written.
    ///
    /// # Errors
    /// As writing and syncing a file.
    pub fn mark(manifest: &Path) -> Result<()> {
        let path = Self::path(manifest);
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let mark = || {
            File::create(&path)?.sync_all()?;
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        };
        mark().map_err(|error| Self::failed(&path, &error))
    }

    /// Removes it, once a manifest tells how the files are now.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn clear(manifest: &Path) -> Result<()> {
        let path = Self::path(manifest);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Self::failed(&path, &error)),
            _ => Ok(()),
        }
    }

    fn failed(path: &Path, error: &std::io::Error) -> Fault {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Fault::on_path("write", path, errno)
    }
}

/// What the manifest vouches for, of the files that are in the source now.
pub fn known(cx: &Context, manifest: &Path, tree: &Tree) -> Known {
    let (mut proofs, mut earlier) = (Vec::new(), Vec::new());
    let open = Open::path(manifest).exists();
    if open {
        cx.note("an earlier pass ended while it patched large files: they are copied again");
    }
    let mut search = Search::new(tree);
    let read = manifest::read(manifest, |path, entry| {
        let record = match entry {
            Entry::Dir { ino } => return search.dir(path, ino),
            Entry::File(record) => record,
        };
        let draft = Draft::of(&record);
        if open && draft.is_listed() {
            return;
        }
        let Some(id) = search.file(path, &record) else {
            return;
        };
        let meta = &tree.entry(id).meta;
        if meta.kind != Kind::File || tree.is_link(id) {
            return;
        }
        if Fingerprint::from(meta) == record.source {
            proofs.push((id, record.proof));
        } else if draft.is_worth_reading(meta) && meta.nlink == 1 {
            earlier.push((id, draft));
        }
    });
    match read {
        Ok(()) => Known {
            proofs: Proofs::new(proofs),
            earlier: Earlier::new(earlier),
            moves: search.finish(),
        },
        Err(Unusable::Missing) => Known::default(),
        Err(unusable) => {
            cx.note(format!(
                "the manifest is not used, everything is compared again: {unusable}"
            ));
            Known::default()
        }
    }
}

/// Writes what is proven, and the drafts: what is known of destinations whose source was written to meanwhile.
///
/// # Errors
/// As [`manifest::write`].
pub fn write_manifest(path: &Path, tree: &Tree, proofs: &Proofs, drafts: &Earlier) -> Result<()> {
    let dirs = tree.ids().filter(|id| tree.entry(*id).dir != NO_DIR);
    let dirs = dirs.map(|id| {
        let ino = tree.entry(id).meta.ino;
        (tree.path(id), Entry::Dir { ino })
    });
    let files = tree.ids().filter_map(|id| {
        let meta = &tree.entry(id).meta;
        let record = match (proofs.get(id), drafts.get(id)) {
            (Some(proof), _) => Record {
                source: Fingerprint::from(meta),
                proof: *proof,
            },
            (None, Some(draft)) => Record {
                source: draft.source,
                proof: draft.proof,
            },
            (None, None) => return None,
        };
        Some((tree.path(id), Entry::File(record)))
    });
    manifest::write(path, dirs.chain(files)).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Fault::on_path("write the manifest", path, errno)
    })
}

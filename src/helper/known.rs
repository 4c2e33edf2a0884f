//! What a pass knows from the passes before it: the manifest, read for the source as it is now, and written again.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::fault::{Fault, Result, errno_of};
use super::manifest::{self, Entry, Fingerprint, NO_LIST, Proof, Record, Unusable};
use super::meta::{Kind, Meta};
use super::moves::{Moves, Search};
use super::store::{self, Records, Standing, Store};
use super::tree::{EntryId, Tree};

/// From this length on a file has a list of block hashes, and is patched where that is possible: smaller ones are
/// written faster than compared.
pub const LARGE: u64 = 1 << 20;

/// The proven state of a file at the destination, and of the source when it was: where it spares some work to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// Of a destination that was just written. What the source is then, the tree knows.
    #[must_use]
    pub fn of_copy(proof: Proof, size: u64) -> Self {
        Self {
            proof,
            source: Fingerprint::of_nothing(size),
        }
    }

    /// As the manifest keeps it.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            source: self.source,
            proof: self.proof,
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

/// What is known of the files of a tree.
#[derive(Debug)]
pub struct Known {
    /// Of each file.
    pub files: Store,
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
        let mark = || {
            File::create(&path)?.sync_all()?;
            File::open(manifest::directory_of(&path))?.sync_all()
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
        let errno = errno_of(error);
        Fault::on_path("write", path, errno)
    }
}

/// What the manifest vouches for, of the files that are in the source now.
///
/// # Errors
/// When there is no room beside the manifest to keep it.
pub fn known(cx: &Context, manifest: &Path, tree: &Tree) -> Result<Known> {
    let nothing = || {
        let files = Store::new(manifest, tree).map_err(store::failed)?;
        let moves = Moves::default();
        Ok(Known { files, moves })
    };
    let open = Open::path(manifest).exists();
    if open {
        cx.note("an earlier pass ended while it patched large files: they are copied again");
    }
    let mut known: Known = nothing()?;
    let mut search = Search::new(tree);
    let mut files = known.files.filler();
    let read = manifest::read(manifest, |path, entry| {
        let record = match entry {
            Entry::Dir { ino } => {
                search.dir(path, ino);
                return Ok(());
            }
            Entry::File(record) => record,
        };
        let draft = Draft::of(&record);
        if open && draft.is_listed() {
            return Ok(());
        }
        let Some((id, meta)) = search.file(path, &record) else {
            return Ok(());
        };
        if meta.kind != Kind::File || tree.is_link(id) {
            return Ok(());
        }
        if Fingerprint::from(&meta) == record.source {
            files.put(id, Standing::Proven, &draft)
        } else if draft.is_worth_reading(&meta) && meta.nlink == 1 {
            files.put(id, Standing::Earlier, &draft)
        } else {
            Ok(())
        }
    });
    let read = read.and_then(|()| files.finish().map_err(Unusable::from));
    match read {
        Ok(()) => {
            known.moves = search.finish();
            Ok(known)
        }
        Err(Unusable::Missing) => Ok(known),
        Err(unusable) => {
            cx.note(format!(
                "the manifest is not used, everything is compared again: {unusable}"
            ));
            nothing()
        }
    }
}

/// What is in a tree, and what is not proven of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sum {
    /// Bytes of all files, those with several names counted once.
    pub bytes: u64,
    /// Files whose content is not proven.
    pub dirty: u64,
    /// Their bytes.
    pub dirty_bytes: u64,
}

/// Writes down what is known of the files, for the next pass, and counts what is not.
///
/// # Errors
/// When the manifest cannot be written.
pub fn write_manifest(path: &Path, tree: &Tree, files: &Store) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut records = Records::default();
    manifest::write(path, |out| {
        for (id, ino) in tree.inodes().skip(1) {
            out.entry(&tree.node(id).path(b""), &Entry::Dir { ino })?;
        }
        for id in 0..tree.counts().len() as u32 {
            let dir = tree.dir(id);
            let known = files.of_dir(id, dir.entries.len(), &mut records)?;
            let mut path = dir.node.path_below();
            let parent = path.len();
            for (slot, (entry, known)) in (0..).zip(dir.entries.iter().zip(known.iter())) {
                if entry.meta.kind != Kind::File || tree.is_link(EntryId { dir: id, slot }) {
                    continue;
                }
                sum.bytes += entry.meta.size;
                if store::proof(known).is_none() {
                    sum.dirty += 1;
                    sum.dirty_bytes += entry.meta.size;
                }
                let record = match known {
                    Some((Standing::Proven, draft)) => Record {
                        source: Fingerprint::from(&entry.meta),
                        ..draft.record()
                    },
                    Some((Standing::Draft, draft)) => draft.record(),
                    Some((Standing::Earlier, _)) | None => continue,
                };
                path.truncate(parent);
                path.extend_from_slice(dir.name(entry));
                out.entry(&path, &Entry::File(record))?;
            }
        }
        Ok(())
    })
    .map_err(|error| {
        let errno = errno_of(&error);
        Fault::on_path("write the manifest", path, errno)
    })?;
    Ok(sum)
}

//! Lists of block hashes of large files, on disk beside the manifest: what lets a pass rewrite the blocks that changed
//! instead of the whole file.
//!
//! The file is only ever appended to. A list is believed when it hashes to what the manifest has for the file's
//! content; so a torn or mixed-up file costs a full copy and nothing else.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::hash::{Hash, hash_of_list};

/// The store.
#[derive(Debug)]
pub struct BlockLists {
    file: File,
    end: Mutex<u64>,
}

impl BlockLists {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let end = Mutex::new(file.metadata()?.len());
        Ok(Self { file, end })
    }

    /// Appends a list; returns its place.
    ///
    /// # Errors
    /// As pwrite(2).
    pub fn add(&self, list: &[Hash]) -> io::Result<u64> {
        let at = {
            let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
            let at = *end;
            *end += size_of_val(list) as u64;
            at
        };
        self.file.write_all_at(list.as_flattened(), at)?;
        Ok(at)
    }

    /// The list of so many blocks at a place, if it is the one that hashes to `root`.
    #[must_use]
    pub fn get(&self, at: u64, blocks: u64, root: &Hash) -> Option<Vec<Hash>> {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is allocated for a place that a damaged manifest invents.
        let len = blocks.checked_mul(size_of::<Hash>() as u64)?;
        if at.checked_add(len)? > end {
            return None;
        }
        let mut list = vec![Hash::default(); usize::try_from(blocks).ok()?];
        self.file.read_exact_at(list.as_flattened_mut(), at).ok()?;
        (hash_of_list(&list) == *root).then_some(list)
    }

    /// Makes what was appended durable, before a manifest points at it.
    ///
    /// # Errors
    /// As fsync(2).
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_found_again_and_no_other_is_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blocks");
        let store = BlockLists::open(&path).unwrap();
        let (a, b) = (vec![[1; 32], [2; 32]], vec![[3; 32]; 3]);
        let (at_a, at_b) = (store.add(&a).unwrap(), store.add(&b).unwrap());
        store.sync().unwrap();
        let again = BlockLists::open(&path).unwrap();
        for store in [&store, &again] {
            assert_eq!(store.get(at_a, 2, &hash_of_list(&a)).as_ref(), Some(&a));
            assert_eq!(store.get(at_b, 3, &hash_of_list(&b)).as_ref(), Some(&b));
            assert_eq!(store.get(at_a, 2, &hash_of_list(&b)), None);
            assert_eq!(store.get(at_b, 2, &hash_of_list(&b)), None);
            assert_eq!(store.get(u64::MAX - 5, 3, &hash_of_list(&b)), None);
            assert_eq!(store.get(0, u64::MAX, &hash_of_list(&b)), None);
        }
        // A torn end.
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(at_b + 40)
            .unwrap();
        let torn = BlockLists::open(&path).unwrap();
        assert_eq!(torn.get(at_b, 3, &hash_of_list(&b)), None);
        assert_eq!(torn.get(at_a, 2, &hash_of_list(&a)), Some(a));
    }
}

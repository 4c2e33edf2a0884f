//! The files of a tree that belong into a bucket, and which objects are theirs.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use super::store::Store;
use super::{Held, Troubles, UploadsRequest, told};
use crate::helper::cursor::open_root;
use crate::helper::fault::{Fault, Side};
use crate::helper::meta::Kind;
use crate::helper::tree::{EntryId, Tree};
use crate::helper::walk::{Manner, Walk, walk};
use crate::model::{Failure, Result};
use crate::s3::{ETag, Listed, key_of, path_of};

/// A tree, open.
pub(super) struct Local {
    pub root: OwnedFd,
    pub tree: Tree,
    /// Its files that belong there, by their paths.
    pub files: Vec<EntryId>,
    pub bytes: u64,
    /// Entries that are neither files nor directories.
    pub left_out: u64,
    /// Files that can be no objects.
    pub impossible: Troubles,
    filter: Filter,
    /// Whether there is a backslash in the path of one.
    pub backslashes: bool,
}

/// What is known of an object from a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remote {
    pub bytes: u64,
    pub etag: ETag,
    pub modified: Option<Timestamp>,
}

/// Which paths are meant.
pub(super) struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Filter {
    pub fn new(request: &UploadsRequest) -> Result<Self> {
        let include = (!request.include.is_empty())
            .then(|| globs(&request.include))
            .transpose()?;
        Ok(Self {
            include,
            exclude: globs(&request.exclude)?,
        })
    }

    pub fn takes(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
        self.include.as_ref().is_none_or(|set| set.is_match(path)) && !self.exclude.is_match(path)
    }
}

/// As in `.gitignore` and rsync: a `*` does not reach over a `/`, and a pattern without one is about names anywhere.
fn globs(patterns: &[String]) -> Result<GlobSet> {
    let cannot = |pattern: &str, e: &globset::Error| {
        Failure::usage(format!("the pattern {pattern:?} cannot be understood")).because(e)
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let below = match pattern.trim_end_matches('/').contains('/') {
            true => pattern.trim_start_matches('/').to_owned(),
            false => format!("**/{pattern}"),
        };
        // A directory is everything in it.
        for glob in [
            below.trim_end_matches('/').to_owned(),
            format!("{}/**", below.trim_end_matches('/')),
        ] {
            let glob = GlobBuilder::new(&glob).literal_separator(true).build();
            set.add(glob.map_err(|e| cannot(pattern, &e))?);
        }
    }
    set.build().map_err(|e| cannot(&patterns.join(" "), &e))
}

impl Local {
    /// Walks the tree.
    pub fn read(store: &Store<'_>, request: &UploadsRequest) -> Result<Self> {
        let root =
            open_root(&request.dir).map_err(|errno| told(Fault::on_path("open", &request.dir, errno)))?;
        let walked = Walk {
            root: root.as_fd(),
            side: Side::Source,
            manner: Manner::Live,
            jobs: store.jobs,
        };
        let tree = walk(store.cx, walked).map_err(told)?;
        let filter = Filter::new(request)?;
        let (mut files, mut bytes, mut left_out, mut backslashes) = (Vec::new(), 0, 0, false);
        let mut impossible = Troubles::default();
        for (id, entry) in tree.entries() {
            match entry.meta.kind {
                Kind::Dir => {}
                Kind::File => {
                    let path = tree.path(id);
                    if !filter.takes(&path) {
                        continue;
                    }
                    match key_of(&store.prefix, &path) {
                        Ok(_) => {
                            files.push(id);
                            bytes += entry.meta.size;
                            backslashes |= path.contains(&b'\\');
                        }
                        Err(why) => impossible.add(shown(&path), why),
                    }
                }
                _ => {
                    left_out += 1;
                    store.cx.note(format!(
                        "{} is a {}, and becomes no object",
                        shown(&tree.path(id)),
                        entry.meta.kind.word()
                    ));
                }
            }
        }
        for mount in &tree.mounts {
            store.cx.note(format!(
                "{} is another mount, and is not looked into",
                shown(mount)
            ));
        }
        Ok(Self {
            root,
            tree,
            files,
            bytes,
            left_out,
            impossible,
            filter,
            backslashes,
        })
    }

    /// The key of a file of it.
    pub fn key(&self, store: &Store<'_>, id: EntryId) -> String {
        // Those that have none are not among the files.
        key_of(&store.prefix, &self.tree.path(id)).unwrap_or_default()
    }
}

/// What the bucket has of the files of a tree, in their order; and what else it has below the prefix.
pub(super) struct Found {
    pub remotes: Vec<Option<Remote>>,
    /// The objects that no file belongs to, by their paths.
    pub extra: Vec<(String, Remote)>,
    /// Keys that are no paths of files.
    pub left_out: u64,
    pub pages: u64,
}

/// Lists the bucket once, and says at once which object a file has. Keys are held as hashes: a key has up to a kilobyte.
pub(super) fn find(
    store: &Store<'_>,
    local: &Local,
    seen: &mut (dyn FnMut(usize, &str, &Remote) + Send),
) -> Result<Found> {
    let names = local.files.iter().zip(0u32..);
    let places: HashMap<u128, u32> = names.map(|(id, at)| (hash(&local.key(store, *id)), at)).collect();
    store.patiently(|| {
        let mut found = Found {
            remotes: vec![None; local.files.len()],
            extra: Vec::new(),
            left_out: 0,
            pages: 0,
        };
        let mut held = Held::default();
        let mut each = |object: Listed<'_>| {
            held.objects += 1;
            held.bytes += object.bytes;
            let Some(path) = path_of(&store.prefix, object.key) else {
                found.left_out += 1;
                return Ok(());
            };
            let remote = Remote {
                bytes: object.bytes,
                etag: object.etag,
                modified: object.modified,
            };
            match places.get(&hash(object.key)) {
                Some(at) => {
                    let at = *at as usize;
                    seen(at, object.key, &remote);
                    found.remotes[at] = Some(remote);
                }
                None if local.filter.takes(path.as_bytes()) => found.extra.push((path.to_owned(), remote)),
                None => {}
            }
            Ok(())
        };
        let pages = store.wait(store.bucket.list(store.prefix.as_str(), &mut each))?;
        found.pages = pages;
        store.listed(held);
        Ok(found)
    })
}

/// 128 bits of BLAKE3: no two keys of a bucket have the same.
pub(super) fn hash(key: &str) -> u128 {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    u128::from_le_bytes(short)
}

/// A path for people: as it is if it is text, escaped if not.
pub(super) fn shown(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => crate::helper::fault::show(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let owned = |all: &[&str]| -> Vec<String> { all.iter().map(|&one| one.to_owned()).collect() };
        Filter {
            include: (!include.is_empty()).then(|| globs(&owned(include)).unwrap()),
            exclude: globs(&owned(exclude)).unwrap(),
        }
    }

    #[test]
    fn patterns_are_those_that_people_know() {
        let thumbs = filter(&[], &["*.tmp", "cache/", "/avatars/*.jpg"]);
        for (path, taken) in [
            ("a.jpg", true),
            ("a.tmp", false),
            ("x/y/a.tmp", false),
            ("cache/a", false),
            ("x/cache/y/a", false),
            ("cached/a", true),
            ("avatars/a.jpg", false),
            ("avatars/old/a.jpg", true),
            ("x/avatars/a.jpg", true),
        ] {
            assert_eq!(thumbs.takes(path.as_bytes()), taken, "{path}");
        }
        let only = filter(&["docs"], &["*.bak"]);
        assert!(
            only.takes(b"docs/a")
                && only.takes(b"x/docs/a/b")
                && !only.takes(b"docs/a.bak")
                && !only.takes(b"a")
        );
        assert!(globs(&["a[".to_owned()]).is_err());
    }
}

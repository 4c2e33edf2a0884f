//! Totals of a tree, and the datastores in it by the files that only they write.

use std::os::fd::AsFd as _;
use std::path::Path;

use super::content::open_file;
use super::context::Context;
use super::crew::jobs;
use super::cursor::{Cursor, open_root};
use super::fault::{Fault, Result, Side, escape, show};
use super::meta::{Kind, Meta};
use super::protocol::{DatastoreSign, Scan};
use super::tree::{Directory, Entry, EntryId, NO_DIR, Tree};
use super::uploads::puts;
use super::walk::{Manner, Walk, walk};
use crate::model::Owner;

/// Levels below the root in which a server's data directory is looked for: the deepest that is common is
/// `18/docker` of PostgreSQL's image.
const LEVELS: u32 = 3;
/// SQLite databases that are named.
const SQLITE: usize = 10;
/// Mount points that are named.
const MOUNTS: usize = 20;

/// Scans.
///
/// # Errors
/// When the root cannot be read; what cannot be read below is listed.
pub fn scan(cx: &Context, dir: &Path) -> Result<Scan> {
    let root = open_root(dir).map_err(|errno| Fault::on_path("open", dir, errno))?;
    let walk_it = Walk {
        root: root.as_fd(),
        side: Side::Source,
        manner: Manner::Lenient,
        jobs: jobs(0),
    };
    let tree = walk(cx, walk_it)?;
    let mut scan = Scan {
        dirs: 1,
        allocated: tree.root.blocks * 512,
        root_owner: Some(Owner {
            uid: tree.root.uid,
            gid: tree.root.gid,
        }),
        root_mode: tree.root.mode.into(),
        newest: tree.root.mtime.sec,
        mounts_inside: tree.mounts.iter().take(MOUNTS).map(|path| show(path)).collect(),
        unreadable: tree.unreadable.clone(),
        ..Scan::default()
    };
    for (id, Entry { meta, .. }) in tree.entries() {
        scan.newest = scan.newest.max(meta.mtime.sec);
        if meta.kind == Kind::File {
            scan.as_objects.objects += 1;
            scan.as_objects.bytes = scan.as_objects.bytes.saturating_add(meta.size);
            scan.as_objects.puts += puts(meta.size);
        }
        if tree.is_link(id) {
            scan.hard_links += 1;
            continue;
        }
        scan.allocated = scan.allocated.saturating_add(meta.blocks.saturating_mul(512));
        match meta.kind {
            Kind::File => {
                scan.files += 1;
                scan.bytes = scan.bytes.saturating_add(meta.size);
            }
            Kind::Dir => scan.dirs += 1,
            Kind::Symlink => scan.symlinks += 1,
            Kind::Fifo | Kind::Char | Kind::Block => scan.special += 1,
            Kind::Socket => scan.sockets += 1,
        }
    }
    let mut search = Search {
        cx,
        tree: &tree,
        cursor: Cursor::new(root.as_fd(), tree.root.dev),
        found: Vec::new(),
    };
    search.all()?;
    scan.datastores = search.found;
    Ok(scan)
}

struct Search<'a> {
    cx: &'a Context,
    tree: &'a Tree,
    cursor: Cursor<'a>,
    found: Vec<DatastoreSign>,
}

impl Search<'_> {
    fn all(&mut self) -> Result<()> {
        let mut waiting = vec![0];
        let mut sqlite = 0;
        while let Some(id) = waiting.pop() {
            self.cx.go_on()?;
            let dir = self.tree.dir(id);
            if dir.node.depth <= LEVELS
                && let Some(sign) = self.server(&dir)
            {
                // What a server keeps in its own directory is its own.
                self.found.push(sign);
                continue;
            }
            for (slot, entry) in dir.entries.iter().enumerate() {
                let entry_id = EntryId {
                    dir: id,
                    slot: slot as u32,
                };
                if sqlite < SQLITE
                    && may_be_sqlite(&entry.meta)
                    && self.starts(entry_id, b"SQLite format 3\0")
                {
                    sqlite += 1;
                    let path = escape(&self.tree.path(entry_id));
                    self.found.push(DatastoreSign {
                        kind: "sqlite".to_owned(),
                        path,
                        version: None,
                    });
                }
            }
            waiting.extend(
                dir.entries
                    .iter()
                    .rev()
                    .map(|entry| entry.dir)
                    .filter(|dir| *dir != NO_DIR),
            );
        }
        self.found
            .sort_unstable_by(|a, b| (&a.path, &a.kind).cmp(&(&b.path, &b.kind)));
        Ok(())
    }

    /// A database server's data directory.
    fn server(&mut self, dir: &Directory) -> Option<DatastoreSign> {
        let slot = |name: &[u8]| {
            dir.find(name).map(|slot| EntryId {
                dir: dir.node.id,
                slot: slot as u32,
            })
        };
        let has = |name: &[u8], kind| slot(name).is_some_and(|id| self.tree.entry(id).meta.kind == kind);
        let within = |name: &[u8], file: &[u8]| {
            let below = slot(name)
                .map(|id| self.tree.entry(id).dir)
                .filter(|dir| *dir != NO_DIR);
            below.is_some_and(|below| self.tree.dir(below).find(file).is_some())
        };
        let (kind, version_file): (&str, Option<&[u8]>) =
            if has(b"PG_VERSION", Kind::File) && within(b"global", b"pg_control") {
                ("postgres", Some(b"PG_VERSION"))
            } else if has(b"ibdata1", Kind::File)
                || (has(b"mysql", Kind::Dir)
                    && (has(b"auto.cnf", Kind::File) || has(b"aria_log_control", Kind::File)))
            {
                let names: [&[u8]; 2] = [b"mariadb_upgrade_info", b"mysql_upgrade_info"];
                ("mysql", names.into_iter().find(|name| has(name, Kind::File)))
            } else if has(b"WiredTiger", Kind::File) && has(b"storage.bson", Kind::File) {
                ("mongodb", None)
            } else if has(b"appendonlydir", Kind::Dir) || self.redis_file(dir) {
                ("redis", None)
            } else {
                return None;
            };
        let version = version_file.and_then(slot).and_then(|id| self.first_line(id));
        Some(DatastoreSign {
            kind: kind.to_owned(),
            path: escape(&dir.node.path(b"")),
            version,
        })
    }

    /// A dump, or an append-only file (which begins with a dump or with a command).
    fn redis_file(&mut self, dir: &Directory) -> bool {
        dir.entries.iter().enumerate().any(|(slot, entry)| {
            let id = EntryId {
                dir: dir.node.id,
                slot: slot as u32,
            };
            let name = dir.name(entry);
            if entry.meta.kind != Kind::File {
                return false;
            }
            (name == b"dump.rdb" || name.ends_with(b".aof")) && self.starts(id, b"REDIS")
                || (name.ends_with(b".aof") && self.starts(id, b"*2\r\n$6\r\nSELECT"))
        })
    }

    fn first_line(&mut self, id: EntryId) -> Option<String> {
        let mut buffer = [0; 64];
        let head = self.head(id, &mut buffer)?;
        let line = head
            .split(|byte| byte.is_ascii_control())
            .next()
            .unwrap_or_default();
        Some(escape(line.trim_ascii()))
    }

    fn starts(&mut self, id: EntryId, magic: &[u8]) -> bool {
        let mut buffer = [0; 64];
        self.head(id, &mut buffer)
            .is_some_and(|head| head.starts_with(magic))
    }

    /// The first bytes of a file; `None` if it cannot be read, for then it is no sign of anything.
    fn head<'b>(&mut self, id: EntryId, buffer: &'b mut [u8; 64]) -> Option<&'b [u8]> {
        let dir = self.cursor.enter(self.tree.node(id.dir)).ok()?;
        let file = open_file(dir, &self.tree.name(id)).ok()?;
        if Meta::of_fd(file.as_fd()).ok()?.kind != Kind::File {
            return None;
        }
        let len = rustix::io::pread(&file, &mut buffer[..], 0).ok()?;
        buffer.get(..len)
    }
}

/// Databases are whole pages of at least 512 bytes: so few files have to be opened.
/// <https://www.sqlite.org/fileformat.html>
fn may_be_sqlite(meta: &Meta) -> bool {
    meta.kind == Kind::File && meta.size >= 512 && meta.size.is_multiple_of(512)
}

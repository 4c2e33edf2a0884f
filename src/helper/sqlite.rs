//! SQLite databases: copied by its own online backup interface, never as files, and put back.
//!
//! A copy of the files would miss what is still in the log beside them, or be of two moments at once. The backup
//! interface takes SQLite's own locks, which hold between containers as they do between processes.
//! <https://www.sqlite.org/backup.html>

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::context::Context;
use super::fault::{Fault, Result, show_path};
use super::place::components;
use super::protocol::{FailClass, SqliteLoad, SqliteReport};
use crate::model::Owner;

/// The name of a copy in the scratch directory.
const COPY: &str = "copy.sqlite";
/// Pages that are copied at once while writers wait. After that they have their turn.
const PAGES: i32 = 2000;
/// Their turn.
const TURN: Duration = Duration::from_millis(5);
/// So often a copy begins anew because somebody wrote. Then the writers wait until it is done.
const ANEW: u32 = 20;
/// A database that is locked for longer is not copied.
const LOCKED: Duration = Duration::from_secs(60);
/// What is wrong with a database is told in so many lines.
const FAULTS: usize = 20;
/// A piece of a database on its way to the helper is never longer.
const PIECE: u32 = 4 << 20;

/// Copies the database `path` below `dir` into `scratch`, and checks the copy.
///
/// # Errors
/// When it cannot be opened, stays locked, or is damaged. [`FailClass::ReadOnly`] when SQLite would have to write beside
/// it to read it: what its log has is not in it yet, and nobody has it open.
pub fn copy(cx: &Context, dir: &Path, path: &Path, scratch: &Path) -> Result<SqliteReport> {
    components(path)?;
    let file = dir.join(path);
    let failed = |error: rusqlite::Error| database("copy", &file, &error);
    let meta = std::fs::metadata(&file).map_err(|e| io("read", &file, &e))?;
    let source = open(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let target = scratch.join(COPY);
    let create = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut copy = open(&target, create).map_err(failed)?;
    copy_pages(cx, &source, &mut copy, &file)?;
    drop(source);
    let mut report = look(&copy, &file)?;
    copy.close().map_err(|(_, error)| failed(error))?;
    report.owner = Some(Owner {
        uid: meta.uid(),
        gid: meta.gid(),
    });
    report.mode = meta.mode() & 0o7777;
    let mut hasher = blake3::Hasher::new();
    report.bytes = File::open(&target)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(|e| io("read", &target, &e))?;
    report.blake3 = hasher.finalize().to_hex().to_string();
    Ok(report)
}

/// Writes the copy that [`copy`] made.
///
/// # Errors
/// When it cannot be read, or nobody listens.
pub fn send(scratch: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    std::io::copy(&mut File::open(scratch.join(COPY))?, out)?;
    out.flush()
}

/// Takes a database from `input`, checks it, and puts it in its place. What is beside the old one, its log, goes with it:
/// it would be taken for that of the new one. Nothing is changed before all of it was there and well.
///
/// It comes in pieces, each after its length; the last is empty. Without that it did not come to its end.
///
/// # Errors
/// When it does not come whole, is damaged, or cannot be written.
pub fn load(request: &SqliteLoad, input: &mut dyn Read) -> Result<SqliteReport> {
    components(&request.path)?;
    let place = request.dir.join(&request.path);
    let partial = beside(&place, ".rehome-partial");
    let loaded = receive(&partial, input).and_then(|(bytes, blake3)| {
        let mut report = check_file(&partial, &place)?;
        report.bytes = bytes;
        report.blake3 = blake3;
        if request
            .rows
            .as_ref()
            .is_some_and(|rows| *rows != SqliteReport::hash(&report.rows))
        {
            return Err(Fault::new(
                FailClass::Differs,
                format!("{} has other rows than were noted", show_path(&place)),
                format!("they are {:?}", report.rows),
            ));
        }
        let put = || {
            if let Some(owner) = request.owner {
                std::os::unix::fs::chown(&partial, Some(owner.uid), Some(owner.gid))?;
            }
            std::fs::set_permissions(&partial, std::fs::Permissions::from_mode(request.mode))?;
            File::open(&partial)?.sync_all()?;
            for log in ["-wal", "-shm", "-journal"] {
                gone(&beside(&place, log))?;
            }
            std::fs::rename(&partial, &place)?;
            File::open(place.parent().unwrap_or(&place))?.sync_all()
        };
        put().map_err(|e| io("write", &place, &e))?;
        Ok(report)
    });
    for left in ["", "-wal", "-shm", "-journal"] {
        gone(&beside(&partial, left)).map_err(|e| io("remove", &partial, &e))?;
    }
    loaded
}

/// Checks the database `path` below `dir`, which nobody has open.
///
/// # Errors
/// When it cannot be read, or is damaged.
pub fn check(dir: &Path, path: &Path) -> Result<SqliteReport> {
    components(path)?;
    let file = dir.join(path);
    check_file(&file, &file)
}

fn receive(partial: &Path, input: &mut dyn Read) -> Result<(u64, String)> {
    let (mut bytes, mut hasher) = (0, blake3::Hasher::new());
    let take = || {
        let mut file = File::create(partial)?;
        let mut piece = Vec::new();
        loop {
            let mut length = [0; 4];
            input.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length == 0 {
                return file.sync_all();
            }
            if length > PIECE {
                return Err(std::io::Error::other("a piece that is too long"));
            }
            piece.resize(length as usize, 0);
            input.read_exact(&mut piece)?;
            file.write_all(&piece)?;
            hasher.update(&piece);
            bytes += u64::from(length);
        }
    };
    let taken: std::io::Result<()> = { take }();
    match taken {
        Ok(()) => Ok((bytes, hasher.finalize().to_hex().to_string())),
        Err(error) => Err(io("receive", partial, &error)),
    }
}

fn check_file(file: &Path, named: &Path) -> Result<SqliteReport> {
    let failed = |error: rusqlite::Error| database("open", named, &error);
    // Not read-only: in its place a log would be read as well, and that takes the right to write beside it.
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let report = look(&connection, named)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(report)
}

fn open(file: &Path, how: OpenFlags) -> rusqlite::Result<Connection> {
    let how = how | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(file, how)?;
    connection.busy_timeout(LOCKED)?;
    // There is no other place that could be written.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn copy_pages(cx: &Context, source: &Connection, copy: &mut Connection, file: &Path) -> Result<()> {
    let failed = |error: rusqlite::Error| database("copy", file, &error);
    let journal: String = source
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .map_err(failed)?;
    if journal == "wal" {
        // Readers of a log block nobody: one read for all of it is one moment, and no writer makes it begin anew.
        source
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_master;")
            .map_err(failed)?;
    }
    let page: i64 = source
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .map_err(failed)?;
    let backup = Backup::new(source, copy).map_err(failed)?;
    let (mut pages, mut left, mut anew) = (PAGES, i32::MAX, 0);
    let mut locked: Option<Instant> = None;
    loop {
        cx.go_on()?;
        match backup.step(pages).map_err(failed)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {
                locked = None;
                let now = backup.progress().remaining;
                let done = if now < left && left != i32::MAX {
                    left - now
                } else {
                    0
                };
                cx.did_bytes(u64::from(done.unsigned_abs()) * page.unsigned_abs());
                anew += u32::from(now >= left);
                if anew > ANEW {
                    cx.note(format!(
                        "{} is written to all the time: its writers waited while it was copied",
                        show_path(file)
                    ));
                    pages = -1;
                }
                left = now;
            }
            _ => {
                if locked.get_or_insert_with(Instant::now).elapsed() > LOCKED {
                    return Err(Fault::new(
                        FailClass::Other,
                        format!("cannot copy {}", show_path(file)),
                        format!("somebody keeps it locked, for more than {} s", LOCKED.as_secs()),
                    ));
                }
            }
        }
        // SQLite has no queue: without this no writer would come between.
        std::thread::sleep(TURN);
    }
}

/// Looks at every page of a database, and counts its rows.
fn look(connection: &Connection, file: &Path) -> Result<SqliteReport> {
    let failed = |error: rusqlite::Error| database("check", file, &error);
    let lines = |query: &str| -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(query)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    };
    let faults = lines(&format!("PRAGMA integrity_check({FAULTS})")).map_err(failed)?;
    if faults != ["ok"] {
        return Err(Fault::new(
            FailClass::Source,
            format!("the database {} is damaged", show_path(file)),
            faults.join("; "),
        ));
    }
    let mut report = SqliteReport::default();
    let tables = lines(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY 1",
    )
    .map_err(failed)?;
    for table in tables {
        let query = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let rows: i64 = connection
            .query_row(&query, [], |row| row.get(0))
            .map_err(failed)?;
        report.rows.insert(table, rows.unsigned_abs());
    }
    let foreign = connection
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut check| {
            let mut rows = check.query([])?;
            let mut count = 0_u64;
            while rows.next()?.is_some() {
                count += 1;
            }
            Ok(count)
        });
    let foreign = match foreign {
        Ok(count) => count.to_string(),
        // A key to a table that is not there at all.
        Err(error) => format!("cannot be checked: {error}"),
    };
    report.facts.insert("foreign keys broken".to_owned(), foreign);
    for pragma in ["user_version", "application_id", "encoding"] {
        let value = connection
            .pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
            .map_err(failed)?;
        let value = match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            _ => continue,
        };
        report.facts.insert(pragma.to_owned(), value);
    }
    Ok(report)
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn gone(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn io(verb: &str, path: &Path, error: &std::io::Error) -> Fault {
    match error.raw_os_error() {
        Some(errno) => Fault::on_path(verb, path, rustix::io::Errno::from_raw_os_error(errno)),
        None => Fault::new(
            FailClass::Other,
            format!("cannot {verb} {}", show_path(path)),
            error.to_string(),
        ),
    }
}

fn database(verb: &str, file: &Path, error: &rusqlite::Error) -> Fault {
    let class = match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => FailClass::ReadOnly,
        Some(ErrorCode::DiskFull) => FailClass::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => FailClass::Source,
        _ => FailClass::Other,
    };
    Fault::new(
        class,
        format!("cannot {verb} {}", show_path(file)),
        error.to_string(),
    )
}

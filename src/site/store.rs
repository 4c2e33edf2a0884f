//! `sites.db` in the state directory: SQLite, one table, with migrations.
//!
//! Its journal is SQLite's own of old (`DELETE`) and no write-ahead log: a change is one row and rare, and so all of it is
//! one file, which `cp` and a backup can take, with no other beside it whose mode has to be right.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, TransactionBehavior};

use super::{MadeOf, Published, Site, Storage};
use crate::model::{Failure, Result, SiteName};

/// The steps from one format to the next. The number of those that were taken is in `user_version`; a step is never
/// changed once it was released.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE sites (
        name TEXT NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('project', 'image', 'imported')),
        directory TEXT,
        image TEXT,
        host_port INTEGER,
        port INTEGER,
        health TEXT,
        service TEXT,
        storage TEXT NOT NULL CHECK (storage IN ('off', 'on', 'panel')),
        data TEXT,
        made TEXT NOT NULL
    ) STRICT;
"];

/// Somebody else writes a row at most.
const BUSY: Duration = Duration::from_secs(10);
const COLUMNS: &str = "name, kind, directory, image, host_port, port, health, service, storage, data, made";

/// The database, open.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// What it is called in the state directory.
    pub const FILE: &'static str = "sites.db";

    /// Opens it, and makes it if it is not there: readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be opened, is no database of sites, or was written by a newer Rehome.
    pub fn open(path: &Path) -> Result<Self> {
        // Made here and not by SQLite, for its mode: what SQLite makes beside it gets the same.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| cannot("open", path).because(&error))?;
        Self::connect(path)
    }

    /// Opens it if it is there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_if_there(path: &Path) -> Result<Option<Self>> {
        match path.try_exists() {
            Ok(true) => Self::connect(path).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(cannot("open", path).because(&error)),
        }
    }

    fn connect(path: &Path) -> Result<Self> {
        let failed = |error: rusqlite::Error| told("open", path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
        };
        store.migrate()?;
        Ok(store)
    }

    fn migrate(&mut self) -> Result<()> {
        let known = MIGRATIONS.len();
        if self.format()? == known {
            return Ok(());
        }
        let path = self.path.clone();
        let failed = |error: rusqlite::Error| told("open", &path, &error);
        // Two that begin at once: the second waits, and then finds nothing to do.
        let change = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let format: usize = change
            .query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))
            .map_err(failed)? as usize;
        if format > known {
            return Err(
                Failure::refused(format!("{} was written by a newer Rehome", path.display()))
                    .cause(format!("it has format {format}, and this one knows {known}"))
                    .data("nothing was changed")
                    .hint("use that version"),
            );
        }
        for step in &MIGRATIONS[format..] {
            change.execute_batch(step).map_err(failed)?;
        }
        change
            .pragma_update(None, "user_version", known as u32)
            .map_err(failed)?;
        change.commit().map_err(failed)
    }

    fn format(&self) -> Result<usize> {
        self.connection
            .query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))
            .map(|format| format as usize)
            .map_err(|error| told("open", &self.path, &error))
    }

    /// Every site, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn list(&self) -> Result<Vec<Site>> {
        let failed = |error: rusqlite::Error| told("read", &self.path, &error);
        let mut asked = self
            .connection
            .prepare(&format!("SELECT {COLUMNS} FROM sites ORDER BY name"))
            .map_err(failed)?;
        let rows = asked.query_map([], site).map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// A site.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn find(&self, name: &SiteName) -> Result<Option<Site>> {
        self.connection
            .query_row(
                &format!("SELECT {COLUMNS} FROM sites WHERE name = ?1"),
                [name.as_str()],
                site,
            )
            .optional()
            .map_err(|error| told("read", &self.path, &error))
    }

    /// Adds a site, or says anew what one that was only imported is.
    ///
    /// # Errors
    /// Refused when there is another of this name; when it cannot be written.
    pub fn add(&self, site: &Site) -> Result<()> {
        let (kind, image, port, health) = match &site.made_of {
            MadeOf::Project => ("project", None, None, None),
            MadeOf::Image { image, port, health } => {
                ("image", Some(image.as_str()), Some(*port), health.as_deref())
            }
            MadeOf::Imported => ("imported", None, None, None),
        };
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let written = self.connection.execute(
            &format!(
                "INSERT INTO sites ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, directory = excluded.directory,
                    image = excluded.image, host_port = excluded.host_port, port = excluded.port,
                    health = excluded.health, service = excluded.service
                 WHERE sites.kind = 'imported' AND excluded.kind <> 'imported'"
            ),
            rusqlite::params![
                site.name.as_str(),
                kind,
                text(&site.directory),
                image,
                port.map(|port| port.host),
                port.map(|port| port.container),
                health,
                site.service.as_ref().map(|service| service.as_str()),
                site.persistent_storage.as_str(),
                text(&site.data),
                site.made.to_string(),
            ],
        );
        match written {
            Ok(0) => Err(there_is_one(&site.name)),
            Ok(_) => Ok(()),
            Err(error) => Err(told("write", &self.path, &error)),
        }
    }

    /// Says whether the data of a site outlives its containers, and where it is.
    ///
    /// # Errors
    /// When there is no such site, or it cannot be written.
    pub fn keep(&self, name: &SiteName, storage: Storage, data: Option<&Path>) -> Result<()> {
        let data = data.map(|path| path.to_string_lossy().into_owned());
        let written = self.connection.execute(
            "UPDATE sites SET storage = ?2, data = ?3 WHERE name = ?1",
            rusqlite::params![name.as_str(), storage.as_str(), data],
        );
        match written {
            Ok(0) => Err(Failure::environment(format!("there is no site {name} any more"))),
            Ok(_) => Ok(()),
            Err(error) => Err(told("write", &self.path, &error)),
        }
    }

    /// Forgets a site; that it is not there is fine.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove(&self, name: &SiteName) -> Result<()> {
        self.connection
            .execute("DELETE FROM sites WHERE name = ?1", [name.as_str()])
            .map(|_| ())
            .map_err(|error| told("write", &self.path, &error))
    }
}

/// That a name is taken.
#[must_use]
pub(super) fn there_is_one(name: &SiteName) -> Failure {
    Failure::refused(format!("there is a site {name} already"))
        .data("nothing was changed")
        .hint(format!("what it is: rehome site show {name}"))
}

fn site(row: &Row<'_>) -> rusqlite::Result<Site> {
    let strange = |column: usize, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    let path = |column| {
        row.get::<_, Option<String>>(column)
            .map(|path| path.map(PathBuf::from))
    };
    let made_of = match row.get::<_, String>(1)?.as_str() {
        "image" => MadeOf::Image {
            image: row.get(3)?,
            port: Published {
                host: row.get(4)?,
                container: row.get(5)?,
            },
            health: row.get(6)?,
        },
        "imported" => MadeOf::Imported,
        _ => MadeOf::Project,
    };
    let service: Option<String> = row.get(7)?;
    Ok(Site {
        name: SiteName::new(row.get::<_, String>(0)?).map_err(|error| strange(0, Box::new(error)))?,
        made_of,
        directory: path(2)?,
        service: service
            .map(crate::model::ServiceName::new)
            .transpose()
            .map_err(|error| strange(7, Box::new(error)))?,
        persistent_storage: match row.get::<_, String>(8)?.as_str() {
            "on" => Storage::On,
            "panel" => Storage::Panel,
            _ => Storage::Off,
        },
        data: path(9)?,
        made: row
            .get::<_, String>(10)?
            .parse::<Timestamp>()
            .map_err(|error| strange(10, Box::new(error)))?,
    })
}

fn cannot(verb: &str, path: &Path) -> Failure {
    Failure::environment(format!("cannot {verb} {}", path.display()))
}

fn told(verb: &str, path: &Path, error: &rusqlite::Error) -> Failure {
    let failure = cannot(verb, path).because(error).data("nothing was changed");
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => failure.hint(format!(
            "move it away and add the sites again: their data and their projects are not in it ({})",
            path.display()
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            failure.hint("somebody else writes to it: try again")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::model::ServiceName;

    fn name(text: &str) -> SiteName {
        SiteName::new(text).unwrap()
    }

    fn a_site(text: &str) -> Site {
        Site {
            name: name(text),
            made_of: MadeOf::Project,
            directory: Some("/srv/it's $HOME".into()),
            service: Some(ServiceName::new("web").unwrap()),
            persistent_storage: Storage::Off,
            data: None,
            made: "2026-11-22T20:00:00Z".parse().unwrap(),
        }
    }

    fn an_image(text: &str) -> Site {
        Site {
            made_of: MadeOf::Image {
                image: "ghost:5".to_owned(),
                port: Published {
                    host: 65535,
                    container: 2368,
                },
                health: Some("/ok".to_owned()),
            },
            ..a_site(text)
        }
    }

    #[test]
    fn what_was_added_is_read_by_another_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Store::FILE);
        assert!(Store::open_if_there(&path).unwrap().is_none() && !path.exists());
        let store = Store::open(&path).unwrap();
        store.add(&a_site("shop")).unwrap();
        store.add(&an_image("blog")).unwrap();
        let again = Store::open_if_there(&path).unwrap().unwrap();
        assert_eq!(again.list().unwrap(), [an_image("blog"), a_site("shop")]);
        assert_eq!(again.find(&name("other")).unwrap(), None);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let files = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, 1, "one file is all of it");
    }

    #[test]
    fn a_name_is_taken_once_and_an_imported_one_is_said_later() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join(Store::FILE)).unwrap();
        let imported = Site {
            made_of: MadeOf::Imported,
            directory: None,
            service: None,
            persistent_storage: Storage::Panel,
            data: Some("/var/deploy/data/shop".into()),
            ..a_site("shop")
        };
        store.add(&imported).unwrap();
        assert!(store.add(&imported).is_err(), "imported twice");
        store.add(&a_site("shop")).unwrap();
        let known = store.find(&name("shop")).unwrap().unwrap();
        assert_eq!(known.made_of, MadeOf::Project);
        assert_eq!(
            (known.persistent_storage, known.data),
            (Storage::Panel, imported.data)
        );
        let refused = store.add(&an_image("shop")).unwrap_err();
        assert_eq!(refused.what, "there is a site shop already");
        assert_eq!(
            store.find(&name("shop")).unwrap().unwrap().made_of,
            MadeOf::Project
        );
    }

    #[test]
    fn what_is_kept_and_what_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join(Store::FILE)).unwrap();
        store.add(&a_site("shop")).unwrap();
        let data = Path::new("/var/deploy/data/shop");
        store.keep(&name("shop"), Storage::On, Some(data)).unwrap();
        let known = store.find(&name("shop")).unwrap().unwrap();
        assert_eq!(
            (known.persistent_storage, known.data.as_deref()),
            (Storage::On, Some(data))
        );
        store.remove(&name("shop")).unwrap();
        store.remove(&name("shop")).unwrap();
        assert!(store.list().unwrap().is_empty());
        assert!(store.keep(&name("shop"), Storage::Off, None).is_err());
    }

    #[test]
    fn a_newer_format_and_what_is_no_database_are_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Store::FILE);
        drop(Store::open(&path).unwrap());
        // Written by SQLite itself, as a newer Rehome would.
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 7)
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = Store::open(&path).unwrap_err();
        assert_eq!(refused.causes, ["it has format 7, and this one knows 1"]);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::write(&path, "x".repeat(5000)).unwrap();
        let refused = Store::open(&path).unwrap_err();
        assert!(refused.hints[0].starts_with("move it away"), "{refused:?}");
    }

    #[test]
    fn two_that_make_it_at_once_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(Store::FILE);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || Store::open(path).unwrap().add(&a_site(&format!("s{n}"))).unwrap());
            }
        });
        assert_eq!(Store::open(&path).unwrap().list().unwrap().len(), 8);
    }
}

//! What is special about a database: how it is recognised, how it is stopped, what proves that it is the same one.
//!
//! Facts and rules only; asking a server or reading a file is done by `observe` and `steps`.

pub mod dump;
mod postgres;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::helper::protocol::DatastoreSign;
use crate::model::{ServiceName, VolumeKey};

pub use postgres::{Version as PostgresVersion, is_clean_state};

/// The databases that Rehome knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis and Valkey.
    Redis,
    /// MongoDB.
    Mongodb,
    /// SQLite, inside an application's own files.
    Sqlite,
}

impl Kind {
    /// The signal that stops it quickly and cleanly, where that is not the one the engine sends anyway.
    ///
    /// PostgreSQL: SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
    /// <https://www.postgresql.org/docs/current/server-shutdown.html>
    #[must_use]
    pub fn stop_signal(self) -> Option<&'static str> {
        match self {
            Kind::Postgres => Some("SIGINT"),
            Kind::Mysql | Kind::Redis | Kind::Mongodb | Kind::Sqlite => None,
        }
    }

    /// How long it may take to stop. A server that writes out its memory is never killed for being slow (trap 8).
    #[must_use]
    pub fn grace(self) -> Option<Duration> {
        match self {
            Kind::Postgres | Kind::Mysql | Kind::Redis | Kind::Mongodb => Some(Duration::from_secs(120)),
            // It has no server: the service that uses it stops as it always does.
            Kind::Sqlite => None,
        }
    }

    /// The ports that its server listens on, unless it is told otherwise.
    #[must_use]
    pub fn ports(self) -> &'static [u16] {
        match self {
            Kind::Postgres => &[5432],
            Kind::Mysql => &[3306, 33060],
            Kind::Redis => &[6379],
            Kind::Mongodb => &[27017],
            Kind::Sqlite => &[],
        }
    }

    /// The database that is usually behind a port: of a server, or of a proxy before one.
    #[must_use]
    pub fn of_port(port: u16) -> Option<Self> {
        [Kind::Postgres, Kind::Mysql, Kind::Redis, Kind::Mongodb]
            .into_iter()
            .find(|kind| kind.ports().contains(&port))
    }

    /// Whether a service's image or command line looks like this server.
    fn runs_in(self, image: &str, command: &[String], env_names: &[&str]) -> bool {
        let words: &[&str] = match self {
            Kind::Postgres => &["postgres", "postgis", "timescaledb", "pgvector"],
            Kind::Mysql => &["mysql", "mariadb", "mysqld", "mariadbd", "percona"],
            Kind::Redis => &["redis", "redis-server", "valkey", "valkey-server", "keydb"],
            Kind::Mongodb => &["mongo", "mongod", "mongodb"],
            Kind::Sqlite => return false,
        };
        let environment: &[&str] = match self {
            Kind::Postgres => &["PG_MAJOR", "PGDATA"],
            Kind::Mysql => &["MYSQL_MAJOR", "MARIADB_VERSION"],
            Kind::Redis => &["REDIS_VERSION"],
            Kind::Mongodb => &["MONGO_VERSION", "MONGO_MAJOR"],
            Kind::Sqlite => &[],
        };
        let repository = image.rsplit('/').next().unwrap_or(image);
        let repository = repository.split([':', '@']).next().unwrap_or(repository);
        let program = command.iter().take(2).map(|c| c.rsplit('/').next().unwrap_or(c));
        words.contains(&repository)
            || program.clone().any(|p| words.contains(&p))
            || environment.iter().any(|name| env_names.contains(name))
    }

    /// The server that a service runs, by its image, command line and environment names.
    #[must_use]
    pub fn of_service(image: &str, command: &[String], env_names: &[&str]) -> Option<Self> {
        [Kind::Postgres, Kind::Mysql, Kind::Redis, Kind::Mongodb]
            .into_iter()
            .find(|kind| kind.runs_in(image, command, env_names))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Postgres => "PostgreSQL",
            Kind::Mysql => "MySQL",
            Kind::Redis => "Redis",
            Kind::Mongodb => "MongoDB",
            Kind::Sqlite => "SQLite",
        })
    }
}

/// A database recognised by its files in a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datastore {
    /// Which.
    pub kind: Kind,
    /// The volume.
    pub volume: VolumeKey,
    /// Its data directory (SQLite: its file) relative to the volume's root.
    pub path: String,
    /// What its version file says.
    pub version: Option<String>,
    /// The service that runs its server, if one mounts the volume.
    pub service: Option<ServiceName>,
}

impl Datastore {
    /// Takes a sign that the helper found; `None` if it names a kind that this version does not know.
    #[must_use]
    pub fn from_sign(sign: &DatastoreSign, volume: VolumeKey) -> Option<Self> {
        let kind = match sign.kind.as_str() {
            "postgres" => Kind::Postgres,
            "mysql" => Kind::Mysql,
            "redis" => Kind::Redis,
            "mongodb" => Kind::Mongodb,
            "sqlite" => Kind::Sqlite,
            _ => return None,
        };
        Some(Self {
            kind,
            volume,
            path: sign.path.clone(),
            version: sign.version.clone(),
            service: None,
        })
    }
}

impl fmt::Display for Datastore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        if !self.path.is_empty() {
            write!(f, " in {}", self.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_recognised_by_image_program_or_environment() {
        let none: &[&str] = &[];
        assert_eq!(
            Kind::of_service("postgres:15-alpine", &[], none),
            Some(Kind::Postgres)
        );
        assert_eq!(
            Kind::of_service("registry.example:5000/infra/postgres@sha256:1", &[], none),
            Some(Kind::Postgres)
        );
        assert_eq!(
            Kind::of_service("mydb", &["/usr/bin/redis-server".into()], none),
            Some(Kind::Redis)
        );
        assert_eq!(
            Kind::of_service("mydb", &[], &["PATH", "PG_MAJOR"]),
            Some(Kind::Postgres)
        );
        assert_eq!(Kind::of_service("mariadb", &[], none), Some(Kind::Mysql));
        // A client that mentions a database is none.
        assert_eq!(
            Kind::of_service("app", &["wait-for".into(), "--".into(), "postgres".into()], none),
            None
        );
    }
}

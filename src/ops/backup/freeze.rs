//! `backup freeze`: a moment in which a snapshot of the volume may be taken.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::app::state_dir;
use super::super::places::block_volumes;
use super::super::site::dirs_of;
use super::super::{App, Options};
use crate::block::freeze::{self, StoodStill, Target};
use crate::datastore::Kind;
use crate::engine::Container;
use crate::model::{Failure, Home, Result, ServiceName, VolumeKey};
use crate::observe::Depth;

pub use crate::block::freeze::watch;

/// How long a database may take to write down what it has in memory.
const CHECKPOINT: Duration = Duration::from_secs(300);

/// What `rehome backup freeze` is asked for.
#[derive(Debug, Clone)]
pub struct FreezeRequest {
    /// The file system that this is on; that of the project's data if it is not said.
    pub at: Option<PathBuf>,
    /// How long it may stand still.
    pub limit: Duration,
    /// What is run meanwhile.
    pub command: Vec<OsString>,
}

/// What would stand still.
pub struct PlannedFreeze {
    /// The file system.
    pub target: Target,
    /// Volumes, and directories of sites, whose data is there.
    pub volumes: Vec<VolumeKey>,
    /// Those of the project whose data is elsewhere, and so not in the snapshot.
    pub elsewhere: Vec<VolumeKey>,
    /// Databases that are checkpointed before.
    pub servers: Vec<(ServiceName, Kind)>,
    request: FreezeRequest,
    program: PathBuf,
}

/// How it went.
#[derive(Debug)]
pub struct FreezeReport {
    /// How the command ended, and how long everything stood still.
    pub stood: StoodStill,
    /// What was done before, and what the snapshot is worth.
    pub worth: Vec<String>,
}

/// Finds out what would stand still, and refuses what must not.
///
/// # Errors
/// When the engine is another machine's; when no file system is meant, or several are; as [`Target::of`].
pub async fn plan_freeze(
    options: &Options,
    app: Option<&App>,
    request: FreezeRequest,
) -> Result<PlannedFreeze> {
    let refused = |what: &str| Failure::refused(what).data("nothing was frozen, and the command was not run");
    if request.limit.is_zero() || request.limit > Duration::from_secs(3600) {
        return Err(Failure::usage(
            "--limit is more than nothing, and at most an hour",
        ));
    }
    let (mut homes, mut servers) = (Vec::new(), Vec::new());
    if let Some(app) = app {
        if !app.engine.host().is_local() {
            return Err(refused("the engine is on another machine: run this there"));
        }
        let depth = Depth {
            scan: Some(Vec::new()),
            tolerant: true,
            ..Depth::default()
        };
        let world = app.look(&app.looking(), &depth).await?;
        homes.extend(world.volumes.iter().map(|v| (v.key.clone(), v.home.clone())));
        let block = block_volumes()?;
        homes.extend(dirs_of(app)?.into_iter().map(|site| {
            let home = match block.iter().any(|point| site.dir.starts_with(point)) {
                true => Home::Block { dir: site.dir },
                false => Home::Other {
                    what: "the directory of a site".to_owned(),
                },
            };
            (site.name.key(), home)
        }));
        let up = world.services.iter().filter(|service| service.is_up());
        servers.extend(up.filter_map(|service| Some((service.name.clone(), service.server?))));
    }
    let program = std::env::current_exe()
        .map_err(|e| Failure::environment("cannot find out where this program is").because(&e))?;
    let state = state_dir(options)?;
    let needed = [
        ("the state directory", state.path()),
        ("this program", program.as_path()),
    ];
    let target = match &request.at {
        Some(at) => Target::of(at, &needed)?,
        None => the_one(&homes, &needed)?,
    };
    let (mut volumes, mut elsewhere) = (Vec::new(), Vec::new());
    for (key, home) in homes {
        let there = match &home {
            Home::Block { dir } => Target::of(dir, &[]).is_ok_and(|other| other.source == target.source),
            _ => false,
        };
        if there { &mut volumes } else { &mut elsewhere }.push(key);
    }
    Ok(PlannedFreeze {
        target,
        volumes,
        elsewhere,
        servers,
        request,
        program,
    })
}

/// The file system of all data on block storage, if it is one.
fn the_one(homes: &[(VolumeKey, Home)], needed: &[(&str, &Path)]) -> Result<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for (_, home) in homes {
        if let Home::Block { dir } = home {
            let target = Target::of(dir, needed)?;
            if !targets.iter().any(|known| known.source == target.source) {
                targets.push(target);
            }
        }
    }
    let refused = |what: String| {
        Failure::refused(what)
            .data("nothing was frozen, and the command was not run")
            .hint("say which: --at DIRECTORY")
    };
    match targets.len() {
        1 => Ok(targets.remove(0)),
        0 => Err(refused("no data of this project is on block storage".to_owned())),
        n => Err(refused(format!(
            "the data of this project is on {n} file systems"
        ))),
    }
}

impl PlannedFreeze {
    /// Does it.
    ///
    /// # Errors
    /// As [`freeze::run`].
    pub async fn carry_out(self, app: Option<&App>) -> Result<FreezeReport> {
        let mut worth = vec![format!(
            "the snapshot has {} ({}) as it was at one moment, as after a power cut: crash-consistent",
            self.target.at.display(),
            self.target.source
        )];
        for (service, kind) in &self.servers {
            let done = match app {
                Some(app) => checkpoint(app, service, *kind).await,
                None => Ok(None),
            };
            worth.push(match done {
                Ok(Some(what)) => format!("{kind} of `{service}`: {what} just before; {}", recovers(*kind)),
                Ok(None) => format!("{kind} of `{service}`: {}", recovers(*kind)),
                Err(failure) => format!(
                    "{kind} of `{service}` was not asked to write down what it has in memory ({failure}); {}",
                    recovers(*kind)
                ),
            });
        }
        if app.is_none() {
            worth.push(
                "no database was asked to write down what it has in memory: no project is known here"
                    .to_owned(),
            );
        }
        if !self.elsewhere.is_empty() {
            let names: Vec<&str> = self.elsewhere.iter().map(VolumeKey::as_str).collect();
            worth.push(format!(
                "not in it, because they are elsewhere: {}",
                names.join(", ")
            ));
        }
        let request = &self.request;
        let stood = freeze::run(&self.target, request.limit, &self.program, &request.command).await?;
        Ok(FreezeReport { stood, worth })
    }
}

/// What a server does with data as a power cut leaves it.
fn recovers(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "PostgreSQL recovers from its WAL when it starts on it",
        Kind::Mysql => "InnoDB recovers from its redo log; tables of MyISAM may need a repair",
        Kind::Redis => "Redis begins with what it saved last",
        Kind::Mongodb => "MongoDB recovers from its journal",
        Kind::Sqlite => "SQLite rolls back or forward by its journal",
    }
}

/// Has a server write down what it has in memory, so that little is left to recover. Says what was done.
async fn checkpoint(app: &App, service: &ServiceName, kind: Kind) -> Result<Option<&'static str>> {
    let containers = app.engine.project_containers(&app.project.name).await?;
    let up = |c: &&Container| c.service.as_ref() == Some(service) && c.state.is_up();
    let Some(container) = containers.iter().find(up) else {
        return Err(Failure::environment("it does not run"));
    };
    // Each reads its password where it is: in the container.
    let (script, said) = match kind {
        Kind::Postgres => (
            r#"exec psql -U "${POSTGRES_USER:-postgres}" -d postgres -w -qtAX -c CHECKPOINT"#,
            "CHECKPOINT",
        ),
        Kind::Mysql => (
            r#"p=${MYSQL_ROOT_PASSWORD:-$MARIADB_ROOT_PASSWORD}
               f=${MYSQL_ROOT_PASSWORD_FILE:-$MARIADB_ROOT_PASSWORD_FILE}
               [ -n "$p" ] || [ -z "$f" ] || p=$(cat "$f")
               export MYSQL_PWD="$p"
               c=$(command -v mariadb || command -v mysql) || exit 127
               exec "$c" -u root -e 'FLUSH LOCAL ENGINE LOGS'"#,
            "FLUSH ENGINE LOGS",
        ),
        // In the background: clients are not made to wait. What is over is not waited for.
        Kind::Redis => (
            r#"r=$(redis-cli BGSAVE) || exit 1
               case $r in Background*) ;; *) echo "$r" >&2; exit 1;; esac
               while redis-cli INFO persistence | grep -q rdb_bgsave_in_progress:1; do sleep 0.2; done
               redis-cli INFO persistence | grep -q rdb_last_bgsave_status:ok"#,
            "BGSAVE",
        ),
        Kind::Mongodb | Kind::Sqlite => return Ok(None),
    };
    let command = ["sh", "-c", script].map(str::to_owned);
    let ended = app
        .engine
        .exec(&container.id, &command, None, CHECKPOINT, &mut |_| {})
        .await?;
    match ended.code {
        0 => Ok(Some(said)),
        code => {
            let why = ended.stderr.trim().lines().last().unwrap_or_default().to_owned();
            Err(Failure::environment(format!("{said} ended with {code}")).cause(why))
        }
    }
}

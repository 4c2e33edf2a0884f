//! `backup schedule`: backups by themselves.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::App;
use super::super::app::state_dir;
use crate::block::boot::{self, Piece, Standing, systemd_runs};
use crate::block::sysroot::Sysroot;
use crate::block::timers::{self, Call};
use crate::compose::FoundBy;
use crate::model::{Failure, Result, shell_path};

/// What `rehome backup schedule` is asked for.
#[derive(Debug, Clone, Default)]
pub struct ScheduleRequest {
    /// When, instead of what the configuration says.
    pub at: Option<String>,
    /// Take it back.
    pub remove: bool,
    /// The machine's files are below this.
    pub sysroot: Option<PathBuf>,
}

/// What is written or removed, for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScheduleFile {
    /// As the machine knows it.
    pub path: PathBuf,
    /// What is done: `write`, `replace`, `link`, `remove`, or `nothing`.
    pub action: &'static str,
    /// Its text, or where it leads.
    pub text: String,
}

/// What would be done, ready to be.
pub struct PlannedSchedule {
    /// Each file.
    pub files: Vec<ScheduleFile>,
    /// When it is next, as systemd says it.
    pub next: Option<String>,
    /// What should be known.
    pub notes: Vec<String>,
    sysroot: Sysroot,
    write: Vec<Piece>,
    remove: Vec<Piece>,
}

impl PlannedSchedule {
    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.iter().all(|file| file.action == "nothing")
    }

    /// Does it.
    ///
    /// # Errors
    /// When a file cannot be written or removed, or systemd does not take it: the same command again goes on.
    pub async fn carry_out(&self, app: &App) -> Result<()> {
        let project = &app.project.name;
        let was_there = self
            .remove
            .iter()
            .any(|piece| matches!(piece, Piece::Link { .. }));
        if self.write.is_empty() && was_there {
            timers::switch(&self.sysroot, project, false).await?;
        }
        for piece in &self.remove {
            boot::remove(&self.sysroot, piece)?;
        }
        for piece in &self.write {
            boot::write(&self.sysroot, piece)?;
        }
        boot::reload(&self.sysroot).await?;
        if self.write.iter().any(|piece| matches!(piece, Piece::Link { .. })) {
            timers::switch(&self.sysroot, project, true).await?;
        }
        Ok(())
    }
}

/// Finds out what has to be written or removed.
///
/// # Errors
/// When nothing says when; when systemd or cron cannot; when there is a file in the place that Rehome did not write.
pub async fn schedule(app: &App, request: &ScheduleRequest) -> Result<PlannedSchedule> {
    let sysroot = Sysroot::new(request.sysroot.as_deref());
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    let (mut write, mut next) = (Vec::new(), None);
    if !request.remove {
        let Some(at) = request.at.as_ref().or(app.settings.backup.schedule.as_ref()) else {
            return Err(
                Failure::usage("when? neither --at nor `backup.schedule` of rehome.yml says it")
                    .data("nothing was changed")
                    .hint("rehome backup schedule --at 02:00"),
            );
        };
        if app.settings.backup.to.is_empty() {
            return Err(
                Failure::usage("where to? `backup.to` of rehome.yml names no place")
                    .data("nothing was changed")
                    .hint("backup: { to: [ { dir: /var/backups/NAME } ] }"),
            );
        }
        if request.at.is_some() && request.at != app.settings.backup.schedule {
            notes.push(format!(
                "write it into rehome.yml too, so that the doctor knows how old a backup may be: backup: {{ schedule: \"{at}\" }}"
            ));
        }
        notes.extend(only_in_this_shell(app)?);
        next = timers::next(at).await?;
        let call = call(app)?;
        write = match systemd_runs(&sysroot) {
            true => timers::units(&call, at)?,
            false => {
                let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
                next = None;
                vec![timers::cron(&call, at, &machine)?]
            }
        };
    }
    for piece in &write {
        let standing = boot::standing(&sysroot, piece)?;
        files.push(ScheduleFile {
            path: piece.path().to_owned(),
            action: match (standing, piece) {
                (Standing::There, _) => "nothing",
                (Standing::Foreign, _) => return Err(foreign(piece.path())),
                (_, Piece::Link { .. }) => "link",
                (Standing::Missing, _) => "write",
                (Standing::Outdated, _) => "replace",
            },
            text: match piece {
                Piece::File { text, .. } => text.clone(),
                Piece::Link { to, .. } => to.display().to_string(),
            },
        });
    }
    // What is not written any more goes: all of it, or what the other kind left.
    let mut remove = timers::all(&app.project.name);
    remove.retain(|piece| write.iter().all(|other| other.path() != piece.path()));
    let mut going = Vec::new();
    for piece in remove {
        if matches!(
            boot::standing(&sysroot, &piece)?,
            Standing::There | Standing::Outdated
        ) {
            files.push(ScheduleFile {
                path: piece.path().to_owned(),
                action: "remove",
                text: String::new(),
            });
            going.push(piece);
        }
    }
    Ok(PlannedSchedule {
        files,
        next,
        notes,
        sysroot,
        write,
        remove: going,
    })
}

fn foreign(path: &Path) -> Failure {
    Failure::refused(format!("{} is not Rehome's", path.display()))
        .data("nothing was changed")
        .hint(format!(
            "move it away if it is not needed: mv {0} {0}.old",
            shell_path(path)
        ))
}

/// Rehome's own call for this project, everything said but the command.
///
/// # Errors
/// When it cannot be found out.
pub(super) fn own_words(app: &App) -> Result<Vec<OsString>> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::environment("cannot find out where this program is").because(&e))?;
    let located = &app.located;
    let mut words: Vec<OsString> = vec![program.into()];
    let mut option = |name: &str, value: OsString| {
        words.push(name.into());
        words.push(value);
    };
    option("--project-directory", located.directory.clone().into());
    option("--project-name", app.project.name.as_str().into());
    // Where Compose finds them itself, a move changes them in `.env`: they are looked for anew each time.
    if !matches!(located.found_by, FoundBy::Dotenv | FoundBy::Default) {
        for file in &located.files {
            option("--file", file.clone().into());
        }
    }
    for file in &located.env_files {
        option("--env-file", file.clone().into());
    }
    for profile in &located.profiles {
        option("--profile", profile.into());
    }
    if !app.engine.host().is_default() {
        option("--host", app.engine.host().url.clone().into());
    }
    if let Some(config) = &app.settings.path {
        option("--config", app.options.project.cwd.join(config).into());
    }
    option("--state-dir", state_dir(&app.options)?.path().into());
    Ok(words)
}

/// The call of a timer.
fn call(app: &App) -> Result<Call> {
    let located = &app.located;
    let env = &app.options.project.env;
    let usual = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    Ok(Call {
        project: app.project.name.clone(),
        directory: located.directory.clone(),
        words: own_words(app)?,
        path: env.get("PATH").cloned().unwrap_or_else(|| usual.to_owned()),
        home: env.get("HOME").cloned().unwrap_or_else(|| "/root".to_owned()),
    })
}

/// A timer has nothing of the environment of whoever makes it: variables that are only there are said.
fn only_in_this_shell(app: &App) -> Result<Vec<String>> {
    let backup = &app.settings.backup;
    let files = app.located.variables(&std::collections::BTreeMap::new())?;
    let mut names: Vec<&str> = vec!["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"];
    names.extend(backup.ping_from.as_deref());
    names.extend(backup.passphrase_from());
    names.extend(backup.restic_password_from.as_deref());
    names.extend(app.settings.notify.iter().filter_map(|n| n.url_from.as_deref()));
    let lost = names
        .into_iter()
        .filter(|name| app.options.project.env.contains_key(*name) && !files.contains_key(*name));
    Ok(lost
        .map(|name| {
            format!(
                "{name} is set in this shell only, and a timer does not have it: write it into {}",
                app.located.dotenv.display()
            )
        })
        .collect())
}

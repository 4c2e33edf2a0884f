//! Backups by themselves: a service and a timer of systemd, or a line of cron where there is no systemd. Everything is said
//! in them, nothing looked for; files that Rehome did not write are left alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::boot::{MARK, Piece, UNITS, exec_word, fill, plain, word};
use super::sysroot::Sysroot;
use super::tool::Tool;
use crate::model::{Failure, ProjectName, Result, Weekly, shell_word};

const SERVICE: &str = include_str!("../../templates/rehome-backup.service");
const TIMER: &str = include_str!("../../templates/rehome-backup.timer");
const CRON: &str = include_str!("../../templates/rehome-backup.cron");
/// Minutes by which cron's lines differ from machine to machine.
const SPREAD: u8 = 15;

/// What is called, and where from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The project.
    pub project: ProjectName,
    /// Its directory.
    pub directory: PathBuf,
    /// The program by its path, and all options that say which project.
    pub words: Vec<OsString>,
    /// Where programs are.
    pub path: String,
    /// The home of the user that it runs as: credentials of S3 may be there.
    pub home: String,
}

impl Call {
    fn with(&self, more: &[&str], say: impl Fn(&OsString) -> Result<String>) -> Result<String> {
        let more = more.iter().map(OsString::from);
        let words: Result<Vec<_>> = self.words.iter().cloned().chain(more).map(|w| say(&w)).collect();
        Ok(words?.join(" "))
    }
}

const CREATE: [&str; 2] = ["backup", "create"];
const PRUNE: [&str; 3] = ["backup", "prune", "--yes"];

/// What the timer is called.
#[must_use]
pub fn timer_name(project: &ProjectName) -> String {
    // No project has a dot in its name: no other unit of ours has this one.
    format!("rehome-backup.{project}.timer")
}

fn service_path(project: &ProjectName) -> PathBuf {
    Path::new(UNITS).join(format!("rehome-backup.{project}.service"))
}

fn cron_path(project: &ProjectName) -> PathBuf {
    // cron reads no file with a dot in its name.
    Path::new("/etc/cron.d").join(format!("rehome-backup-{project}"))
}

/// The service, the timer, and the link that starts it at boot.
///
/// # Errors
/// When something cannot be said in a unit.
pub fn units(call: &Call, calendar: &str) -> Result<Vec<Piece>> {
    let exec = |word: &OsString| exec_word(word);
    let values = [
        ("mark", MARK.to_owned()),
        ("project", call.project.to_string()),
        ("directory", plain(call.directory.as_os_str())?),
        ("path", word(format!("PATH={}", call.path).as_ref())?),
        ("home", word(format!("HOME={}", call.home).as_ref())?),
        ("create", call.with(&CREATE, exec)?),
        ("prune", call.with(&PRUNE, exec)?),
        ("calendar", calendar.to_owned()),
    ];
    let timer = Path::new(UNITS).join(timer_name(&call.project));
    Ok(vec![
        Piece::File {
            path: service_path(&call.project),
            text: fill(SERVICE, &values)?,
        },
        Piece::File {
            path: timer.clone(),
            text: fill(TIMER, &values)?,
        },
        Piece::Link {
            path: Path::new(UNITS)
                .join("timers.target.wants")
                .join(timer_name(&call.project)),
            to: timer,
        },
    ])
}

/// The file of cron.
///
/// # Errors
/// When cron cannot say it.
pub fn cron(call: &Call, calendar: &str, machine: &str) -> Result<Piece> {
    let cannot = |what: String| {
        Failure::refused(what)
            .cause("there is no systemd here, and cron knows only lines and fields")
            .data("nothing was changed")
    };
    let Some(weekly) = Weekly::read(calendar) else {
        return Err(cannot(format!("cron cannot say {calendar:?}"))
            .hint("a time of the day, as 02:00, or with days before it, as Mon..Fri 02:00"));
    };
    // In a line of cron `%` is a new line, and a file has no other way to have one.
    let line = |text: &str| match text.contains(char::is_control) {
        true => Err(cannot(format!("{text:?} cannot stand in a line of cron"))),
        false => Ok(shell_word(text).replace('%', "\\%")),
    };
    let say = |word: &OsString| {
        let text = word
            .to_str()
            .ok_or_else(|| cannot(format!("{} is no UTF-8", word.to_string_lossy())))?;
        line(text)
    };
    let unquoted = |text: &str| match text.contains(['"', '\'', '\n']) {
        true => Err(cannot(format!("{text:?} cannot stand in a file of cron"))),
        false => Ok(text.to_owned()),
    };
    let seed = blake3::hash(format!("{machine} {}", call.project).as_bytes());
    let later = seed.as_bytes()[0] % SPREAD;
    let text = fill(
        CRON,
        &[
            ("mark", MARK.to_owned()),
            ("project", call.project.to_string()),
            ("later", later.to_string()),
            ("path", unquoted(&call.path)?),
            ("home", unquoted(&call.home)?),
            ("when", weekly.cron(later)),
            ("directory", say(&call.directory.as_os_str().to_owned())?),
            ("create", call.with(&CREATE, say)?),
            ("prune", call.with(&PRUNE, say)?),
        ],
    )?;
    Ok(Piece::File {
        path: cron_path(&call.project),
        text,
    })
}

/// Everything that a schedule of this project may have left, whichever kind it was.
#[must_use]
pub fn all(project: &ProjectName) -> Vec<Piece> {
    let timer = Path::new(UNITS).join(timer_name(project));
    let file = |path: PathBuf| Piece::File {
        path,
        text: String::new(),
    };
    vec![
        Piece::Link {
            path: Path::new(UNITS)
                .join("timers.target.wants")
                .join(timer_name(project)),
            to: timer.clone(),
        },
        file(timer),
        file(service_path(project)),
        file(cron_path(project)),
    ]
}

/// What systemd says of a calendar expression: when it is next. `None` where it cannot be asked.
///
/// # Errors
/// When it understands it not.
pub async fn next(calendar: &str) -> Result<Option<String>> {
    let asked = Tool::new("systemd-analyze", ["calendar", "--iterations=1", calendar]);
    let ended = match asked.ask().await {
        Ok(ended) => ended,
        // It is not installed.
        Err(failure) => {
            tracing::debug!(%failure, "systemd-analyze");
            return Ok(None);
        }
    };
    if !ended.success {
        return Err(
            Failure::usage(format!("{calendar:?} is no time that systemd understands"))
                .cause(ended.stderr.trim())
                .data("nothing was changed")
                .hint("as 02:00, or Mon..Fri 02:00; more is in systemd.time(7)"),
        );
    }
    let said = ended.stdout;
    let next = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Next elapse:"));
    Ok(next.map(|text| text.trim().to_owned()))
}

/// Has systemd begin or end with the timer, where it runs.
///
/// # Errors
/// When systemctl fails.
pub async fn switch(sysroot: &Sysroot, project: &ProjectName, on: bool) -> Result<()> {
    let runs = sysroot.is_machine() && super::boot::systemd_runs(sysroot);
    if !runs {
        return Ok(());
    }
    let word = if on { "restart" } else { "stop" };
    Tool::new("systemctl", [word, &timer_name(project)]).run().await?;
    Ok(())
}

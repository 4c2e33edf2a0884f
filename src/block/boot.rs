//! Boot safety where systemd runs: the Docker engine does not start before the volume is mounted, and the stack comes up
//! when the volume appears.
//!
//! **Why the whole engine waits.** The mount has `nofail`, so the machine boots without it. The engine starts containers
//! by itself, by their restart policies, and cannot be told to leave out one stack. `After=` alone would only let it wait
//! for the device's timeout; containers would then be refused one by one by the missing sub-directory, and those that
//! mount the root of the volume would start on the bare mount point. `RequiresMountsFor=` stops all of that, and with it
//! every other container of the host: [`blast_radius`] says so before it is written, and nobody has to take it.
//!
//! **Why no path unit.** A unit that a mount wants is started when the mount appears, also when somebody mounts it by
//! hand: systemd catches up on the dependencies of a unit that became active without a job of its own.
//!
//! Unit files are made from `templates/`, begin with a mark, and are never written over a file without it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::fsid::FsUuid;
use super::sysroot::Sysroot;
use super::tool::Tool;
use super::units::{escape, unit_name};
use crate::model::{Failure, ProjectName, Result, ServiceName, shell_path, shell_word};

/// What the first line of our files begins with.
pub(super) const MARK: &str = "Written by rehome";
/// Where units of the administrator are.
pub(super) const UNITS: &str = "/etc/systemd/system";
/// The engine's own unit.
const ENGINE: &str = "docker.service";
/// The program itself, as distributions install it.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
/// Units that one mount wants.
const WANTED: usize = 1000;
/// Units of the administrator.
const ENTRIES: usize = 10_000;
/// A longer file is not ours.
const LIMIT: u64 = 64 << 10;

const DROP_IN: &str = include_str!("../../templates/docker-mounts.conf");
const STACK: &str = include_str!("../../templates/rehome-stack.service");

/// Whether systemd is what started this machine: sd_booted(3). An image has not been started: there it is whether it has a
/// systemd to be started by.
#[must_use]
pub fn systemd_runs(sysroot: &Sysroot) -> bool {
    let has = |path: &str| sysroot.real(path).is_ok_and(|path| path.exists());
    has("/run/systemd/system") || !sysroot.is_machine() && SYSTEMD.iter().any(|path| has(path))
}

/// Something that has to be on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A file with this text.
    File {
        /// As the machine knows it.
        path: PathBuf,
        /// All of it.
        text: String,
    },
    /// A symlink, as `systemctl enable` makes it.
    Link {
        /// As the machine knows it.
        path: PathBuf,
        /// Where it leads.
        to: PathBuf,
    },
}

impl Piece {
    /// As the machine knows it.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Piece::File { path, .. } | Piece::Link { path, .. } => path,
        }
    }
}

/// What makes the engine wait for the mount.
///
/// # Errors
/// When the path cannot be said in a unit file.
pub fn engine_waits(target: &Path) -> Result<Piece> {
    let text = fill(
        DROP_IN,
        &[
            ("mark", MARK.to_owned()),
            ("target", plain(target.as_os_str())?),
            ("mounts", word(target.as_os_str())?),
        ],
    )?;
    Ok(Piece::File {
        path: Path::new(UNITS)
            .join(format!("{ENGINE}.d"))
            .join(format!("rehome-{}.conf", escape(target))),
        text,
    })
}

/// What starts the engine when the volume is mounted after the boot: an engine that could not start for want of the volume
/// does not try again by itself. `None` where the engine does not start at boot either.
///
/// # Errors
/// When systemd's directories cannot be read.
pub fn engine_comes_up(sysroot: &Sysroot, target: &Path) -> Result<Option<Piece>> {
    let link = Path::new(UNITS)
        .join(format!("{}.wants", unit_name(target, "mount")))
        .join(ENGINE);
    let enabled = Path::new(UNITS).join("multi-user.target.wants").join(ENGINE);
    // One that is there already may lead elsewhere: it does the same.
    for known in [&link, &enabled] {
        let at = sysroot.entry(known)?;
        match std::fs::read_link(&at) {
            Ok(to) => {
                return Ok(Some(Piece::Link {
                    path: link.clone(),
                    to,
                }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // No link: whose it is is told by how it stands.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                return Err(Failure::environment(format!("cannot read {}", at.display())).because(&error));
            }
        }
    }
    Ok(None)
}

/// What mounts the volume when it is attached after the boot: systemd gives up waiting for it after the timeout of fstab's
/// line, and starts nothing of itself when the disk appears.
#[must_use]
pub fn mounted_when_it_comes(target: &Path, uuid: &FsUuid) -> Piece {
    let device = unit_name(&Path::new("/dev/disk/by-uuid").join(uuid.to_string()), "device");
    let mount = unit_name(target, "mount");
    Piece::Link {
        path: Path::new(UNITS).join(format!("{device}.wants")).join(&mount),
        // The name alone counts; this is where the generator puts the unit.
        to: Path::new("/run/systemd/generator").join(&mount),
    }
}

/// What the drop-in means for everything else on the host, a sentence each. `comes_up` is whether the engine is started
/// when the volume is mounted later.
#[must_use]
pub fn blast_radius(target: &Path, comes_up: bool) -> Vec<String> {
    let unit = shell_word(&unit_name(target, "mount"));
    let (target, word) = (target.display(), shell_path(target));
    vec![
        format!(
            "while {target} is not mounted, the Docker engine does not start at boot: no container of this host runs"
        ),
        format!(
            "`systemctl stop {unit}` stops the Docker engine, and all containers with it; `umount {word}` does not"
        ),
        if comes_up {
            format!(
                "when {target} is mounted later, the engine is started, and with it every container that restarts by itself"
            )
        } else {
            format!(
                "when {target} is mounted later, nothing starts the engine, which does not start at boot by itself either: systemctl start docker"
            )
        },
    ]
}

/// A stack and how it is brought up: everything said, nothing looked for (trap 29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// `docker` with `compose` after it, or `docker-compose`; the first is an absolute path.
    pub program: Vec<String>,
    /// The engine, if it is not where docker looks: `unix:///run/user/1000/docker.sock`.
    pub engine: Option<String>,
    /// Its name.
    pub project: ProjectName,
    /// The project's directory.
    pub directory: PathBuf,
    /// Every Compose file, the override too; none if Compose finds them itself in the directory and its `.env`, which a
    /// move changes.
    pub files: Vec<PathBuf>,
    /// Every `--env-file`.
    pub env_files: Vec<PathBuf>,
    /// The active profiles.
    pub profiles: Vec<String>,
    /// The services that run: what was stopped stays stopped.
    pub services: Vec<ServiceName>,
}

impl Stack {
    /// The call of Compose. It starts the containers that are there and makes none, so a boot deploys no change: not even
    /// after a move, when these files may be those from before it and what they make would be on the old homes.
    fn command(&self) -> Result<String> {
        let mut words = Vec::new();
        if let Some(engine) = &self.engine {
            words.push("/usr/bin/env".into());
            words.push(format!("DOCKER_HOST={engine}").into());
        }
        words.extend(self.program.iter().map(|word| word.clone().into()));
        let mut option = |name: &str, value: &OsStr| {
            words.push(name.into());
            words.push(value.to_owned());
        };
        option("--project-directory", self.directory.as_os_str());
        option("-p", self.project.as_str().as_ref());
        for file in &self.files {
            option("-f", file.as_os_str());
        }
        for file in &self.env_files {
            option("--env-file", file.as_os_str());
        }
        for profile in &self.profiles {
            option("--profile", profile.as_ref());
        }
        words.push("start".into());
        words.extend(self.services.iter().map(|service| service.as_str().into()));
        let words: Result<Vec<_>> = words.iter().map(|word| exec_word(word)).collect();
        Ok(words?.join(" "))
    }
}

/// What brings a stack up when the mount appears: the unit, and the link that makes the mount want it. `sentinel` is the
/// path of the volume's sentinel.
///
/// # Errors
/// When something cannot be said in a unit file, or no service is named.
pub fn stack_comes_up(target: &Path, sentinel: &Path, stack: &Stack) -> Result<Vec<Piece>> {
    if stack.services.is_empty() || stack.program.is_empty() {
        return Err(Failure::bug(
            "a stack without services or Compose is not brought up",
        ));
    }
    let mount_unit = unit_name(target, "mount");
    let name = format!("rehome-{}.service", stack.project);
    let text = fill(
        STACK,
        &[
            ("mark", MARK.to_owned()),
            ("project", stack.project.to_string()),
            ("target", plain(target.as_os_str())?),
            ("mounts", word(target.as_os_str())?),
            ("sentinel", plain(sentinel.as_os_str())?),
            ("directory", plain(stack.directory.as_os_str())?),
            ("command", stack.command()?),
            ("mount_unit", mount_unit.clone()),
        ],
    )?;
    let file = Path::new(UNITS).join(&name);
    Ok(vec![
        Piece::File {
            path: file.clone(),
            text,
        },
        Piece::Link {
            path: Path::new(UNITS).join(format!("{mount_unit}.wants")).join(&name),
            to: file,
        },
    ])
}

/// How a piece stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there, to the byte.
    There,
    /// It is not there.
    Missing,
    /// There is one of ours that says something else.
    Outdated,
    /// There is something that Rehome did not make.
    Foreign,
}

/// Looks how a piece stands.
///
/// # Errors
/// When its place cannot be read.
pub fn standing(sysroot: &Sysroot, piece: &Piece) -> Result<Standing> {
    let at = sysroot.entry(piece.path())?;
    let look = || -> io::Result<Standing> {
        let meta = match std::fs::symlink_metadata(&at) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Missing),
            Err(error) => return Err(error),
        };
        match piece {
            Piece::File { text, .. } if meta.is_file() && meta.len() <= LIMIT => {
                let found = std::fs::read(&at)?;
                Ok(if found == text.as_bytes() {
                    Standing::There
                } else if found.starts_with(format!("# {MARK}").as_bytes()) {
                    Standing::Outdated
                } else {
                    Standing::Foreign
                })
            }
            Piece::Link { to, .. } if meta.is_symlink() && std::fs::read_link(&at)? == *to => {
                Ok(Standing::There)
            }
            Piece::File { .. } | Piece::Link { .. } => Ok(Standing::Foreign),
        }
    };
    look().map_err(|error| Failure::environment(format!("cannot read {}", at.display())).because(&error))
}

/// Writes a piece, unless it is there to the byte. False if it was.
///
/// # Errors
/// When something is in its place that Rehome did not make; when it cannot be written.
pub fn write(sysroot: &Sysroot, piece: &Piece) -> Result<bool> {
    let at = sysroot.entry(piece.path())?;
    match standing(sysroot, piece)? {
        Standing::There => return Ok(false),
        Standing::Missing | Standing::Outdated => {}
        Standing::Foreign => {
            return Err(Failure::refused(format!("{} is not Rehome's", at.display()))
                .data("it was left as it is")
                .hint("move it away if it is not needed, or leave systemd out: --no-systemd"));
        }
    }
    let failed =
        |error: io::Error| Failure::environment(format!("cannot write {}", at.display())).because(&error);
    if let Some(above) = at.parent() {
        std::fs::create_dir_all(above).map_err(failed)?;
    }
    match piece {
        Piece::File { text, .. } => crate::state::replace_durably(&at, text.as_bytes())?,
        Piece::Link { to, .. } => std::os::unix::fs::symlink(to, &at).map_err(failed)?,
    }
    Ok(true)
}

/// The pieces for a mount point that are there and Rehome's, whatever they say.
///
/// # Errors
/// When systemd's directories cannot be read.
pub fn ours(sysroot: &Sysroot, target: &Path) -> Result<Vec<Piece>> {
    let read = |path: PathBuf| -> Result<Option<Piece>> {
        let at = sysroot.entry(&path)?;
        let failed =
            |error: io::Error| Failure::environment(format!("cannot read {}", at.display())).because(&error);
        let meta = match std::fs::symlink_metadata(&at) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if !meta.is_file() || meta.len() > LIMIT {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&at).map_err(failed)?;
        Ok(text
            .starts_with(&format!("# {MARK}"))
            .then_some(Piece::File { path, text }))
    };
    let mut found = Vec::new();
    let waits = read(engine_waits(target)?.path().to_owned())?;
    if waits.is_some() {
        // The link has no mark: it is ours as long as the drop-in is there that it goes with.
        let link = engine_comes_up(sysroot, target)?;
        let there = |piece: &Piece| Ok::<_, Failure>(standing(sysroot, piece)? == Standing::There);
        if let Some(link) = link
            && there(&link)?
        {
            found.push(link);
        }
    }
    found.extend(waits);
    found.extend(devices_that_mount(sysroot, target)?);
    let wants = Path::new(UNITS).join(format!("{}.wants", unit_name(target, "mount")));
    let entries = match std::fs::read_dir(sysroot.real(&wants)?) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => {
            return Err(Failure::environment(format!("cannot read {}", wants.display())).because(&error));
        }
    };
    for entry in entries.take(WANTED) {
        let entry = entry.map_err(|error| {
            Failure::environment(format!("cannot read {}", wants.display())).because(&error)
        })?;
        let file = Path::new(UNITS).join(entry.file_name());
        if let Some(piece) = read(file.clone())? {
            found.push(Piece::Link {
                path: wants.join(entry.file_name()),
                to: file,
            });
            found.push(piece);
        }
    }
    Ok(found)
}

/// The links of devices that mount something at a place.
fn devices_that_mount(sysroot: &Sysroot, target: &Path) -> Result<Vec<Piece>> {
    let failed = |error: io::Error| Failure::environment(format!("cannot read {UNITS}")).because(&error);
    let mount = unit_name(target, "mount");
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(sysroot.real(UNITS)?) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries.take(ENTRIES) {
        let name = entry.map_err(failed)?.file_name();
        let bytes = name.as_bytes();
        if bytes.starts_with(br"dev-disk-by\x2duuid-") && bytes.ends_with(b".device.wants") {
            let path = Path::new(UNITS).join(&name).join(&mount);
            if let Ok(to) = std::fs::read_link(sysroot.entry(&path)?) {
                found.push(Piece::Link { path, to });
            }
        }
    }
    Ok(found)
}

/// Takes a piece away, and the directory that it alone was in. False if there was none of ours.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(sysroot: &Sysroot, piece: &Piece) -> Result<bool> {
    let at = sysroot.entry(piece.path())?;
    if !matches!(standing(sysroot, piece)?, Standing::There | Standing::Outdated) {
        return Ok(false);
    }
    let failed =
        |error: io::Error| Failure::environment(format!("cannot remove {}", at.display())).because(&error);
    std::fs::remove_file(&at).map_err(failed)?;
    let own = at.parent().filter(|dir| {
        let ends = |end: &[u8]| dir.as_os_str().as_bytes().ends_with(end);
        ends(b".service.d") || ends(b".mount.wants") || ends(b".device.wants")
    });
    match own.map(std::fs::remove_dir) {
        None | Some(Ok(())) => Ok(true),
        Some(Err(error)) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(true),
        Some(Err(error)) => Err(failed(error)),
    }
}

/// Whether systemd, where it runs, has not read yet what is written about the mount or the engine.
///
/// # Errors
/// When systemctl fails.
pub async fn outdated(sysroot: &Sysroot, target: &Path) -> Result<bool> {
    if !sysroot.is_machine() || !systemd_runs(sysroot) {
        return Ok(false);
    }
    let unit = unit_name(target, "mount");
    let args = ["show", "--property=NeedDaemonReload", "--value", ENGINE, &unit];
    let said = Tool::new("systemctl", args).run().await?;
    Ok(said.lines().any(|line| line == "yes"))
}

/// Whether the engine is a service of systemd by its usual name: that of a snap has another one, and a user's own engine
/// is none of the machine's. Of an image it is believed.
///
/// # Errors
/// When systemctl fails.
pub async fn engine_is_known(sysroot: &Sysroot) -> Result<bool> {
    if !sysroot.is_machine() || !systemd_runs(sysroot) {
        return Ok(true);
    }
    let args = ["show", "--property=LoadState", "--value", ENGINE];
    Ok(Tool::new("systemctl", args).run().await?.trim() == "loaded")
}

/// Has systemd read its units and fstab again, where it runs. False where it does not.
///
/// # Errors
/// When systemctl fails.
pub async fn reload(sysroot: &Sysroot) -> Result<bool> {
    if !sysroot.is_machine() || !systemd_runs(sysroot) {
        return Ok(false);
    }
    Tool::new("systemctl", ["daemon-reload"]).run().await?;
    Ok(true)
}

/// Puts values in the place of `{{names}}`.
///
/// # Errors
/// A bug, when the template has a name that nobody gave a value.
pub fn fill(template: &str, values: &[(&str, String)]) -> Result<String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let known = after
            .split_once("}}")
            .and_then(|(name, rest)| Some((values.iter().find(|(known, _)| *known == name)?, rest)));
        let Some(((_, value), after)) = known else {
            return Err(Failure::bug(format!(
                "a template has no value at `{{{{{after:.20}`"
            )));
        };
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// A path that is the whole value of a setting: only specifiers are escaped, blanks are its own.
pub(super) fn plain(value: &OsStr) -> Result<String> {
    let text = value.to_str().filter(|text| {
        // systemd takes a backslash at the end of a line for more to come, and trims blanks there.
        text.starts_with('/') && !text.contains(char::is_control) && !text.ends_with([' ', '\\'])
    });
    text.map(|text| text.replace('%', "%%"))
        .ok_or_else(|| unsayable(value))
}

/// One word of a setting that takes several.
pub(super) fn word(value: &OsStr) -> Result<String> {
    let text = value
        .to_str()
        .filter(|text| !text.contains(char::is_control))
        .ok_or_else(|| unsayable(value))?;
    let text = text.replace('%', "%%");
    let simple = |c: char| c.is_alphanumeric() || "/._-:=@%,+".contains(c);
    if !text.is_empty() && text.chars().all(simple) {
        return Ok(text);
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// One word of a command line; `$` begins a variable there.
pub(super) fn exec_word(value: &OsStr) -> Result<String> {
    Ok(word(value)?.replace('$', "$$"))
}

fn unsayable(value: &OsStr) -> Failure {
    Failure::refused(format!(
        "{} cannot be said in a unit of systemd",
        value.to_string_lossy()
    ))
    .hint("leave systemd out: --no-systemd")
}

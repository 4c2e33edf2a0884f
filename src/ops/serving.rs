//! `serve unit`: the service of systemd that the server runs as.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use super::Options;
use super::app::state_dir;
use crate::block::boot::{self, Piece, Standing};
use crate::block::serving::{self, Serving};
use crate::block::sysroot::Sysroot;
use crate::engine;
use crate::model::{Failure, Result, shell_path};

/// Variables that say where things are; the service has nothing else of whoever makes it.
const KEPT: [&str; 3] = ["PATH", "HOME", "DEPLOY_DATA_PATH"];

/// The unit, and how it stands.
#[derive(Debug, Serialize)]
pub struct PlannedUnit {
    /// As the machine knows it.
    pub path: PathBuf,
    /// What is done to write it: `write`, `replace` or `nothing`; `refuse` where Rehome did not write what is there.
    pub action: &'static str,
    /// All of it.
    pub text: String,
    #[serde(skip)]
    sysroot: Sysroot,
}

/// Says it, with this program, its state directory and engine, and `arguments` of the server behind them.
///
/// # Errors
/// When a part of it cannot be found out, or cannot be said in a unit.
pub fn unit(options: &Options, arguments: Vec<OsString>, sysroot: Option<PathBuf>) -> Result<PlannedUnit> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::environment("cannot find out where this program is").because(&e))?;
    let mut words: Vec<OsString> = vec![program.into()];
    let host = engine::resolve_host(&options.engine)?;
    if !host.is_default() {
        words.extend(["--host".into(), host.url.into()]);
    }
    words.extend(["--state-dir".into(), state_dir(options)?.path().into()]);
    words.push("serve".into());
    words.extend(arguments);
    let env = &options.project.env;
    let kept = KEPT
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), env.get(*name)?.clone())));
    let piece = serving::unit(&Serving {
        words,
        environment: kept.collect(),
    })?;
    let sysroot = Sysroot::new(sysroot.as_deref());
    let action = match boot::standing(&sysroot, &piece)? {
        Standing::There => "nothing",
        Standing::Missing => "write",
        Standing::Outdated => "replace",
        Standing::Foreign => "refuse",
    };
    let Piece::File { path, text } = piece else {
        return Err(Failure::bug("a unit that is no file"));
    };
    Ok(PlannedUnit {
        path,
        action,
        text,
        sysroot,
    })
}

impl PlannedUnit {
    /// Whether it may be written.
    ///
    /// # Errors
    /// When there is no systemd, or a unit in its place that Rehome did not write.
    pub fn check(&self) -> Result<()> {
        let refused = |what: String| Failure::refused(what).data("nothing was changed");
        if !boot::systemd_runs(&self.sysroot) {
            return Err(refused("systemd does not run here".to_owned())
                .hint("print it for another machine: rehome serve unit"));
        }
        if self.action == "refuse" {
            let path = shell_path(&self.path);
            return Err(refused(format!("{} is not Rehome's", self.path.display()))
                .hint(format!("move it away if it is not needed: mv {path} {path}.old")));
        }
        Ok(())
    }

    /// Writes it, and has systemd read it. Nothing is started.
    ///
    /// # Errors
    /// When it cannot be written, or systemd does not take it: the same command again goes on.
    pub async fn write(&self) -> Result<()> {
        self.check()?;
        let piece = Piece::File {
            path: self.path.clone(),
            text: self.text.clone(),
        };
        boot::write(&self.sysroot, &piece)?;
        boot::reload(&self.sysroot).await?;
        Ok(())
    }
}

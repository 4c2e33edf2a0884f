//! `deploy.git: pull`: the repository that the project's files are in goes forward to what its branch follows, and back
//! again if the deployment does not come about.
//!
//! It never merges, and never touches a file that somebody changed: git refuses both, and so does this, in words.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::App;
use crate::child;
use crate::model::{Failure, Result, count};

/// A slow remote and much that is new.
const LIMIT: Duration = Duration::from_secs(600);

/// A repository that went forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    directory: PathBuf,
    /// The commit before.
    before: String,
    /// The commit now.
    after: String,
}

/// Goes forward. `None` when there is nothing new, or nothing is to be pulled; with `dry_run` it only fetches, and says
/// what would come.
///
/// # Errors
/// When there is no repository, tracked files were changed, or there is no way straight forward.
pub(super) async fn pull(app: &App, dry_run: bool) -> Result<Option<Pulled>> {
    let git = Git {
        directory: &app.located.directory,
        env: &app.options.project.env,
    };
    git.run(&["rev-parse", "--is-inside-work-tree"])
        .await
        .map_err(|failure| {
            failure.inside("`deploy.git: pull` stands in rehome.yml, and there is no repository")
        })?;
    let changed = git
        .run(&["status", "--porcelain", "--untracked-files=no"])
        .await?;
    if !changed.is_empty() {
        let files: Vec<_> = changed.lines().take(10).map(str::trim).collect();
        return Err(
            Failure::refused("tracked files were changed: git pulls nothing over them")
                .cause(files.join(", "))
                .data("nothing was changed")
                .hint("look at them: git diff; then commit them, or take them back"),
        );
    }
    git.run(&["fetch", "--quiet"]).await?;
    let new = git.run(&["log", "--oneline", "HEAD..@{upstream}"]).await?;
    let before = git.run(&["rev-parse", "HEAD"]).await?;
    if new.is_empty() {
        return Ok(None);
    }
    let commits = count(new.lines().count() as u64, "commit");
    let events = &app.options.events;
    if dry_run {
        events.info(format!(
            "git would go forward by {commits}; the plan below is that of the files as they are"
        ));
        for line in new.lines().take(20) {
            events.info(format!("  {line}"));
        }
        return Ok(None);
    }
    git.run(&["merge", "--ff-only", "--quiet", "@{upstream}"])
        .await
        .map_err(|failure| {
            failure
                .inside("git cannot go straight forward")
                .data("nothing was changed")
                .hint("this branch has commits of its own: git log @{upstream}..HEAD")
        })?;
    let after = git.run(&["rev-parse", "HEAD"]).await?;
    events.info(format!("git went forward by {commits}, to {}", short(&after)));
    Ok(Some(Pulled {
        directory: app.located.directory.clone(),
        before,
        after,
    }))
}

impl Pulled {
    /// Goes back, unless somebody went elsewhere meanwhile; says so. Whether it did.
    pub(super) async fn take_back(&self, app: &App) -> bool {
        let events = &app.options.events;
        let git = Git {
            directory: &self.directory,
            env: &app.options.project.env,
        };
        let back = async {
            let now = git.run(&["rev-parse", "HEAD"]).await?;
            if now != self.after {
                return Err(Failure::environment(format!(
                    "the repository is at {} by now",
                    short(&now)
                )));
            }
            git.run(&["reset", "--keep", "--quiet", &self.before]).await
        };
        match back.await {
            Ok(_) => {
                events.info(format!("git went back to {}", short(&self.before)));
                true
            }
            Err(failure) => {
                let said = [&[failure.what], failure.causes.as_slice()].concat().join(": ");
                events.warn(format!(
                    "the files stay at {}: {said}; to go back: git reset --keep {}",
                    short(&self.after),
                    self.before
                ));
                false
            }
        }
    }
}

/// The first digits of a commit.
fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

struct Git<'a> {
    directory: &'a Path,
    env: &'a std::collections::BTreeMap<String, String>,
}

impl Git<'_> {
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(self.directory)
            .args(arguments)
            .env_clear()
            .envs(self.env)
            // Nobody is there to be asked for a password.
            .env("GIT_TERMINAL_PROMPT", "0");
        let what = format!("git {}", arguments.join(" "));
        let ended = child::run(command, Stdio::null(), LIMIT, &mut |_| {})
            .await
            .map_err(|broken| broken.failure(&what, LIMIT))?;
        if ended.success {
            return Ok(ended.stdout.trim().to_owned());
        }
        Err(Failure::refused(format!("`{what}` failed"))
            .cause(ended.stderr.trim())
            .data("nothing was changed"))
    }
}

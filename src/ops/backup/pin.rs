//! `backup pin` and `backup unpin`.

use super::super::App;
use super::places::{self, blocking};
use crate::backup::catalogue;
use crate::backup::format::BackupId;
use crate::model::{Failure, Result};

/// Keeps a backup from being pruned, or lets it be pruned again, wherever it is. Says in which places.
///
/// # Errors
/// When no place of the configuration has it, or one does not answer.
pub fn pin(app: &App, id: &BackupId, pinned: bool) -> Result<Vec<String>> {
    let project = &app.project.name;
    let mut done = Vec::new();
    for opened in places::open(app, &[])? {
        let store = opened.store.as_ref();
        let there = blocking(|| -> Result<bool> {
            if catalogue::one(store, project, id)?.is_none() {
                return Ok(false);
            }
            match pinned {
                true => catalogue::pin(store, project, id)?,
                false => catalogue::unpin(store, project, id)?,
            }
            Ok(true)
        });
        if there.map_err(|failure| told(failure, &done))? {
            done.push(opened.place.to_string());
        }
    }
    match done.is_empty() {
        true => Err(
            Failure::refused(format!("no place has a backup {id} of {project}"))
                .data("nothing was changed")
                .hint("which there are: rehome backup list"),
        ),
        false => Ok(done),
    }
}

fn told(failure: Failure, done: &[String]) -> Failure {
    match done {
        [] => failure.data("nothing was changed"),
        done => failure.data(format!("it is done in {}, and nowhere else", done.join(", "))),
    }
}

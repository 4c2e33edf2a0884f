//! `rehome backup`.

use super::super::args::{Backup, BackupCommand, BackupCreate, BackupRestore, BackupVerify, Quiet};
use super::super::{Cx, Ending};
use crate::model::config::{Consistency, Place};
use crate::model::{Failure, Result};
use crate::ops::App;
use crate::ops::backup::{self, CreateRequest, RestoreRequest, VerifyRequest};

pub(super) async fn run(cx: &Cx, args: Backup) -> Result<Ending> {
    match args.command {
        BackupCommand::Create(args) => create(cx, args).await,
        BackupCommand::Verify(args) => verify(cx, args).await,
        BackupCommand::Restore(args) => restore(cx, args).await,
        _ => Err(Failure::bug("not there yet")),
    }
}

async fn create(cx: &Cx, args: BackupCreate) -> Result<Ending> {
    let app = cx.open().await?;
    let request = CreateRequest {
        only: args.only,
        exclude: args.exclude,
        consistency: args.consistency.map(consistency),
        to: here(&app, args.to),
        pin: args.pin,
        metrics: args.metrics.map(|file| app.options.project.cwd.join(file)),
        dry_run: args.dry_run,
    };
    backup::create(&app, &request).await?;
    Ok(Ending::Done)
}

async fn verify(cx: &Cx, args: BackupVerify) -> Result<Ending> {
    let app = cx.open().await?;
    let request = VerifyRequest {
        id: args.which.id,
        drill: args.drill,
        from: here(&app, args.from).pop(),
        identities: args.identity,
    };
    backup::verify(&app, &request).await?;
    Ok(Ending::Done)
}

async fn restore(cx: &Cx, args: BackupRestore) -> Result<Ending> {
    let app = cx.open().await?;
    let request = RestoreRequest {
        id: args.which.id,
        from: here(&app, args.from).pop(),
        only: args.only,
        database: args.database,
        path: args.path,
        into: args.into,
        safety_backup: !args.no_safety_backup,
        identities: args.identity,
        dry_run: args.dry_run,
    };
    backup::restore(&app, &request).await?;
    Ok(Ending::Done)
}

/// Directories that were typed are those of where it was typed.
fn here(app: &App, places: impl IntoIterator<Item = Place>) -> Vec<Place> {
    let cwd = &app.options.project.cwd;
    places.into_iter().map(|place| place.from_here(cwd)).collect()
}

fn consistency(said: Quiet) -> Consistency {
    match said {
        Quiet::Live => Consistency::Live,
        Quiet::Pause => Consistency::Pause,
        Quiet::Stop => Consistency::Stop,
    }
}

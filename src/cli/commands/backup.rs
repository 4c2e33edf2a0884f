//! `rehome backup`.

use super::super::args::{Backup, BackupCommand, BackupCreate, BackupRestore, BackupVerify, Quiet};
use super::super::{Cx, Ending};
use super::move_;
use crate::model::config::{Consistency, Place};
use crate::model::{Failure, Result};
use crate::ops::App;
use crate::{plan, ui};
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
    let planned = backup::plan_create(&app, &request).await?;
    let text = || plan::backup::render(&planned.plan.facts);
    if args.dry_run {
        cx.answer(&planned.plan, text)?;
        return Ok(Ending::Done);
    }
    // Nothing is replaced: it asks nobody, and runs by night.
    cx.talk(&text());
    let finish = planned.run(&app).await?;
    move_::end(cx, &finish)
}

async fn verify(cx: &Cx, args: BackupVerify) -> Result<Ending> {
    let app = cx.open().await?;
    let request = VerifyRequest {
        id: args.which.id,
        drill: args.drill,
        from: here(&app, args.from).pop(),
        identities: args.identity,
    };
    let report = backup::verify(&app, &request)?;
    if !request.drill {
        cx.answer(&report, || verified(&report))?;
        return Ok(Ending::Done);
    }
    cx.talk(&verified(&report));
    let planned = backup::plan_drill(&app, &request, &report.id).await?;
    let finish = planned.run(&app).await?;
    move_::end(cx, &finish)
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
    let planned = backup::plan_restore(&app, &request).await?;
    let text = plan::backup::render_restore(&planned.plan.facts);
    if request.dry_run {
        cx.answer(&planned.plan, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&text);
    if !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let finish = planned.run(&app).await?;
    move_::end(cx, &finish)
}

fn verified(report: &backup::VerifyReport) -> String {
    let places = report.places.iter().map(|(place, said)| format!("  {place}: {said}\n"));
    format!("Backup {} of {}\n{}", report.id, report.project, places.collect::<String>())
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

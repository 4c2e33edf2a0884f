//! `rehome move`.

use super::super::args::{BlockDelta, Move, Verification};
use super::super::{Cx, Ending, exit};
use crate::event::Outcome;
use crate::model::{Failure, Result};
use crate::ops::backup::{CreateRequest, plan_create};
use crate::ops::{App, Finish, MoveRequest, PageRequest, plan_move};
use crate::steps::{CopyProof, Copying};
use crate::{plan, ui};

pub(super) async fn run(cx: &Cx, args: Move) -> Result<Ending> {
    let (dry_run, backup) = (args.dry_run, args.backup);
    let request = request(args);
    let app = cx.open().await?;
    match backup && !dry_run {
        true => after_a_backup(cx, &app, &request).await,
        false => execute(cx, &app, &request, dry_run).await,
    }
}

/// A backup, and then the move: one question about both. The backup is a run of its own, and the move is planned again
/// after it, from what is there then.
async fn after_a_backup(cx: &Cx, app: &App, request: &MoveRequest) -> Result<Ending> {
    // What speaks against the move is said before anything is saved. Its lock goes with it.
    let move_text = plan::render(&plan_move(app, request).await?.plan);
    let backup = plan_create(app, &CreateRequest::default()).await?;
    cx.talk(&plan::backup::render(&backup.plan.facts));
    cx.talk(&ui::fill_notes(&move_text, ui::width()));
    if !ui::confirm("Do both?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let saved = backup.run(app).await?;
    let ending = end(cx, &saved)?;
    if saved.outcome != Outcome::Done {
        cx.talk("There is no backup, so nothing is moved.");
        return Ok(ending);
    }
    let finish = plan_move(app, request).await?.run(app).await?;
    end(cx, &finish)
}

/// Plans, shows, asks, runs.
pub(super) async fn execute(cx: &Cx, app: &App, request: &MoveRequest, dry_run: bool) -> Result<Ending> {
    let planned = plan_move(app, request).await?;
    let text = plan::render(&planned.plan);
    if dry_run {
        cx.answer(&planned.plan, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&ui::fill_notes(&text, ui::width()));
    if !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let finish = planned.run(app).await?;
    end(cx, &finish)
}

/// Says how a run ended.
pub(super) fn end(cx: &Cx, finish: &Finish) -> Result<Ending> {
    let code = exit::of(finish.outcome);
    cx.events.tell(finish.event(code));
    if finish.outcome == Outcome::RolledBack && finish.failure.is_none() {
        cx.talk(&format!(
            "run {} was taken back; everything is as it was before",
            finish.run
        ));
    }
    if !finish.summary.is_empty() {
        cx.talk(&format!("\n{}", finish.summary.join("\n")));
    }
    Ok(Ending::Code(code))
}

fn request(args: Move) -> MoveRequest {
    MoveRequest {
        to: args.to,
        only: args.only,
        exclude: args.exclude,
        map: args
            .maps
            .into_iter()
            .map(|p| (p.volume, p.value.as_str().into()))
            .collect(),
        owners: args.owners.into_iter().map(|p| (p.volume, p.value)).collect(),
        offline: args.offline,
        no_hooks: args.no_hooks,
        stop_timeout: args.stop_timeout,
        max_downtime: args.max_downtime,
        copying: Copying {
            jobs: args.jobs.0,
            bandwidth: args.bandwidth.map_or(0, |rate| rate.0),
            proof: match args.verify {
                Verification::Readback => CopyProof::ReadBack,
                Verification::Stream => CopyProof::Stream,
                Verification::Full => CopyProof::Full,
            },
            whole_files: args.block_delta == BlockDelta::Off,
        },
        maintenance: match args.maintenance_page {
            Some(file) => Some(PageRequest::File(file)),
            None => args.maintenance.then_some(PageRequest::BuiltIn),
        },
        without_data: args.without_data,
        loss: args.loss.into(),
        dry_run: args.dry_run,
    }
}

//! `rehome deploy`.

use super::super::args::Deploy;
use super::super::{Cx, Ending};
use super::move_;
use crate::model::{Failure, Result};
use crate::ops::{App, DeployRequest, PlannedDeploy, plan_deploy};
use crate::{plan, ui};

pub(super) async fn run(cx: &Cx, args: Deploy) -> Result<Ending> {
    let mut app = cx.open().await?;
    let request = DeployRequest {
        only: args.services,
        first: args.first,
        no_pull: args.no_pull,
        no_build: args.no_build,
        no_cache: args.no_cache,
        no_backup: args.no_backup,
        no_hooks: args.no_hooks,
        despite: args.despite,
        allow_data_loss: args.allow_data_loss,
        dry_run: args.dry_run,
    };
    let planned = plan_deploy(&mut app, &request).await?;
    execute(cx, &app, planned, args.dry_run).await
}

/// Shows, asks, runs.
pub(super) async fn execute(cx: &Cx, app: &App, planned: PlannedDeploy, dry_run: bool) -> Result<Ending> {
    let text = plan::deploy::render(&planned.plan);
    if dry_run {
        cx.answer(&planned.plan, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&ui::fill_notes(&text, ui::width()));
    let confirmed = ui::confirm("Do this?", cx.global.yes);
    if !matches!(confirmed, Ok(true)) {
        planned.leave(app).await;
        confirmed?;
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let finish = planned.run(app).await?;
    move_::end(cx, &finish)
}

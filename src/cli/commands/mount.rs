//! `rehome mount`.

use super::super::args::{MadeFs, Mount};
use super::super::{Cx, Ending};
use crate::block::format::FileSystem;
use crate::event::{Event, Outcome};
use crate::model::{Failure, Result};
use crate::ops::{App, MountReport, MountRequest, mount};
use crate::ui;

pub(super) async fn run(cx: &Cx, args: Mount) -> Result<Ending> {
    let request = MountRequest {
        device: (args.device.as_os_str() != "auto").then_some(args.device),
        at: args.at,
        fs: match args.fs {
            MadeFs::Ext4 => FileSystem::Ext4,
            MadeFs::Xfs => FileSystem::Xfs,
        },
        label: args.label,
        options: args.options,
        full: args.full,
        systemd: !args.no_systemd,
        sysroot: args.sysroot,
    };
    let options = cx.options()?;
    // The volume of a machine that has no project yet is mounted as well.
    let app = match App::open(options.clone()).await {
        Ok(app) => Some(app),
        Err(failure) => {
            cx.talk(&format!("No directories are made for a project: {failure}\n"));
            None
        }
    };
    let planned = mount(&options, app.as_ref(), &request).await?;
    let text = planned.text();
    if args.dry_run {
        cx.answer(&planned.told(), || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&text);
    if !planned.plan.actions.is_empty() && !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let report = planned.carry_out().await?;
    cx.events.tell(Event::Finished {
        run: None,
        outcome: Outcome::Done,
        exit: 0,
        failure: None,
        report: None,
    });
    cx.talk(&ending(&report));
    Ok(Ending::Done)
}

fn ending(report: &MountReport) -> String {
    let at = report.at.display();
    if report.done.is_empty() {
        return format!("{at} is mounted already, and nothing was left to do.");
    }
    format!("{at} is mounted. Move the data there: rehome move --to {at}")
}

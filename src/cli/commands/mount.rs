//! `rehome mount`.

use super::super::args::{MadeFs, Mount};
use super::super::{Cx, Ending};
use crate::block::format::FileSystem;
use crate::event::{Event, Outcome};
use crate::model::{Failure, Kind, Result, shell_path};
use crate::ops::{App, MountReport, MountRequest, mount, unmount};
use crate::plan::mount::{Told, render};
use crate::ui;

pub(super) async fn run(cx: &Cx, args: Mount) -> Result<Ending> {
    if args.undo {
        return undo(cx, &args).await;
    }
    let dry_run = args.dry_run;
    let request = request(args);
    let options = cx.options()?;
    // The volume of a machine that has no project yet is mounted as well.
    let app = match App::open(options.clone()).await {
        Ok(app) => Some(app),
        // A mistake in what was said is not passed over.
        Err(failure) if failure.kind == Kind::Usage => return Err(failure),
        Err(failure) => {
            cx.talk(&format!("No directories are made for a project: {failure}\n"));
            None
        }
    };
    let planned = mount(&options, app.as_ref(), &request).await?;
    if show(cx, &planned.told(), dry_run)? {
        return Ok(Ending::Done);
    }
    heed(cx)?;
    let report = planned.carry_out().await?;
    finished(cx, &report)?;
    cx.talk(&ending(&report));
    Ok(Ending::Done)
}

async fn undo(cx: &Cx, args: &Mount) -> Result<Ending> {
    let planned = unmount(&cx.options()?, &args.at, args.sysroot.as_deref()).await?;
    if show(cx, &planned.told(), args.dry_run)? {
        return Ok(Ending::Done);
    }
    heed(cx)?;
    let done = planned.carry_out().await?;
    finished(cx, &serde_json::json!({ "at": args.at, "done": done }))?;
    Ok(Ending::Done)
}

/// Shows a plan and asks. True if that was all: it was a dry run.
fn show(cx: &Cx, told: &Told, dry_run: bool) -> Result<bool> {
    let text = render(told);
    if dry_run {
        cx.answer(told, || text)?;
        return Ok(true);
    }
    cx.talk(&ui::fill_notes(&text, ui::width()));
    if !told.actions.is_empty() && !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    Ok(false)
}

/// A Ctrl-C at the question is no yes, whatever was typed after it.
fn heed(cx: &Cx) -> Result<()> {
    if cx.interrupt.is_raised() {
        return Err(Failure::interrupted("stopped at the question").data("nothing was changed"));
    }
    Ok(())
}

fn finished<T: serde::Serialize>(cx: &Cx, report: &T) -> Result<()> {
    let report = serde_json::to_value(report)
        .map_err(|e| Failure::bug("a report that cannot be written as JSON").because(&e))?;
    cx.events.tell(Event::Finished {
        run: None,
        outcome: Outcome::Done,
        exit: 0,
        failure: None,
        report: Some(report),
    });
    Ok(())
}

fn request(args: Mount) -> MountRequest {
    MountRequest {
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
    }
}

fn ending(report: &MountReport) -> String {
    let at = report.at.display();
    if report.done.is_empty() {
        return format!("{at} is mounted already, and nothing was left to do.");
    }
    format!(
        "{at} is mounted. Move the data there: rehome move --to {}",
        shell_path(&report.at)
    )
}

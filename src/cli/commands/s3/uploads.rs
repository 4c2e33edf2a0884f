//! `rehome s3 setup`, `check`, `sync`, `verify` and `pull`.

use super::super::move_;
use super::wanted;
use crate::cli::args::{S3Check, S3Common, S3Pull, S3Setup, S3Switch, S3Sync, S3Transfer, S3Verify};
use crate::cli::{Cx, Ending, exit};
use crate::helper::protocol::{Compared, PullReport, SyncReport, Troubles, UploadsCompared};
use crate::model::{ByteSize, Failure, Kind, Result, count};
use crate::ops::s3::{PullRequest, Reach, SyncRequest, Transfer};
use crate::plan::uploads::{Direction, render};
use crate::s3::{Done, Examined, Finding, Setting, SetupReport};
use crate::ui;

/// So many of a kind are shown; `--json` has a thousand.
const SHOWN: usize = 20;

async fn reach(cx: &Cx, common: S3Common) -> Result<Reach> {
    Reach::open(cx.options()?, wanted(common)).await
}

fn transfer(args: S3Transfer) -> Transfer {
    Transfer {
        include: args.include,
        exclude: args.exclude,
        concurrency: args.concurrency,
        bandwidth: args.bandwidth,
    }
}

pub(super) async fn set_up(cx: &Cx, args: S3Setup) -> Result<Ending> {
    let reach = reach(cx, args.common).await?;
    let report = reach.set_up(args.dry_run).await?;
    let color = cx.color.for_stdout();
    cx.answer(&report, || {
        settings_told(&report, &reach.place(), args.dry_run, color)
    })?;
    Ok(Ending::Done)
}

fn settings_told(report: &SetupReport, place: &str, dry_run: bool, color: bool) -> String {
    let mut table = ui::Table::new(&[place, ""]);
    for one in &report.settings {
        let done = match (one.done, dry_run) {
            (Done::Already, _) => "already so",
            (Done::Set, true) => "would be set",
            (Done::Set, false) => "set",
            (Done::Unsupported, _) => "not on this storage",
            (Done::Forgotten, _) => "not kept",
            (Done::Denied, _) => "not allowed",
            (Done::TakenBack, _) => "taken back",
        };
        table.row([one.name.clone(), done.to_owned()]);
    }
    let mut out = table.render(color);
    // That a storage does not have something is no news worth its own words.
    let worth = |one: &&Setting| matches!(one.done, Done::Forgotten | Done::Denied | Done::TakenBack);
    for one in report.settings.iter().filter(worth) {
        if let Some(why) = &one.why {
            out.push_str(&format!("\n! {}: {}\n", one.name, ui::clean(why)));
        }
    }
    if !report.canary.is_empty() {
        out.push_str(&format!(
            "\nTried with an object of its own: {}.\n",
            report.canary.join("; ")
        ));
        out.push_str("Next: rehome s3 sync\n");
    }
    out
}

pub(super) async fn check(cx: &Cx, args: S3Check) -> Result<Ending> {
    let reach = reach(cx, args.common).await?;
    let found = reach.check().await?;
    let color = cx.color.for_stdout();
    cx.answer(&found, || examined(&found, &reach.place(), color))?;
    match found.iter().any(|one| one.finding == Finding::Error) {
        true => Ok(Ending::Code(exit::code(Kind::Refused))),
        false => Ok(Ending::Done),
    }
}

fn examined(found: &[Examined], place: &str, color: bool) -> String {
    let mut table = ui::Table::new(&["", place, ""]);
    for one in found {
        let mark = match one.finding {
            Finding::Good => "✓",
            Finding::Warning => "!",
            Finding::Error => "✗",
        };
        table.row([mark.to_owned(), one.name.clone(), one.said.clone()]);
    }
    let mut out = table.render(color);
    let hints = found.iter().flat_map(|one| &one.hints);
    for hint in hints {
        out.push_str(&format!("\n→ {hint}"));
    }
    out
}

pub(super) async fn sync(cx: &Cx, args: S3Sync) -> Result<Ending> {
    let reach = reach(cx, args.common).await?;
    let request = SyncRequest {
        transfer: transfer(args.transfer),
        delete: args.delete,
        shrink: args.allow_shrink,
        dry_run: args.dry_run,
    };
    let (volume, report) = reach.sync(&request).await?;
    let place = reach.place();
    cx.answer(&report, || synced(&report, volume.as_str(), &place, &request))?;
    Ok(ended(report.failed.is_empty()))
}

/// A failed file is a failed run (trap 34).
fn ended(whole: bool) -> Ending {
    match whole {
        true => Ending::Done,
        false => Ending::Code(exit::code(Kind::Environment)),
    }
}

fn synced(report: &SyncReport, volume: &str, place: &str, request: &SyncRequest) -> String {
    let would = |done: &str, would: &str| match request.dry_run {
        true => would.to_owned(),
        false => done.to_owned(),
    };
    let files = count(report.files, "file");
    let mut out = match (report.failed.is_empty(), request.dry_run) {
        (true, false) => format!(
            "✓ {place} has what {volume} has: {files}, {}\n",
            ByteSize(report.bytes)
        ),
        (true, true) => format!("{volume}: {files}, {}\n", ByteSize(report.bytes)),
        (false, _) => format!("✗ {} of {files} did not arrive in {place}\n", report.failed.count),
    };
    let sent = report.added + report.replaced;
    out.push_str(&format!(
        "  {:<12} {} ({}): {} new, {} another there\n",
        would("sent", "would send"),
        count(sent, "file"),
        ByteSize(report.sent_bytes),
        report.added,
        report.replaced
    ));
    out.push_str(&format!("  {:<12} {}\n", "the same", compared(report.same)));
    if report.newer > 0 {
        out.push_str(&format!(
            "  {:<12} {}, as they are\n",
            "newer there",
            count(report.newer, "object")
        ));
    }
    match (report.extra, report.deleted) {
        (0, _) => {}
        (extra, 0) => out.push_str(&format!(
            "  {:<12} {} without a file, left there (--delete)\n",
            "only there",
            count(extra, "object")
        )),
        (_, deleted) => out.push_str(&format!(
            "  {:<12} {} without a file\n",
            would("deleted", "would delete"),
            count(deleted, "object")
        )),
    }
    if report.left_out > 0 {
        let entries = count(report.left_out, "entry");
        out.push_str(&format!("  {:<12} {entries} that are no files\n", "left out"));
    }
    if report.gone > 0 {
        out.push_str(&format!(
            "  {:<12} {} while they were about to be read\n",
            "went away",
            count(report.gone, "file")
        ));
    }
    troubles(&mut out, "did not arrive", &report.failed);
    match (report.failed.is_empty(), request.dry_run) {
        (false, _) => out
            .push_str("Nothing is lost: the volume was only read. The same command tries what is missing.\n"),
        (true, false) => out.push_str("Next: rehome s3 verify\n"),
        (true, true) => {}
    }
    out
}

fn compared(same: Compared) -> String {
    let how = [
        (same.by_etag, "by the storage's MD5"),
        (same.by_note, "by the BLAKE3 that was noted"),
        (same.by_reading, "by reading"),
    ];
    let how: Vec<String> = how
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, by)| format!("{n} {by}"))
        .collect();
    match how.is_empty() {
        true => "0 files".to_owned(),
        false => format!(
            "{}, compared by content: {}",
            count(same.total(), "file"),
            how.join(", ")
        ),
    }
}

fn troubles(out: &mut String, what: &str, troubles: &Troubles) {
    if troubles.is_empty() {
        return;
    }
    out.push_str(&format!("\n{} {what}:\n", troubles.count));
    for one in troubles.first.iter().take(SHOWN) {
        out.push_str(&format!("  {}: {}\n", ui::clean(&one.path), ui::clean(&one.why)));
    }
    let beyond = troubles.count.saturating_sub(SHOWN as u64);
    if beyond > 0 {
        out.push_str(&format!("  … and {beyond} more (--json lists a thousand)\n"));
    }
}

pub(super) async fn verify(cx: &Cx, args: S3Verify) -> Result<Ending> {
    let reach = reach(cx, args.common).await?;
    let (volume, report) = reach.verify(&transfer(args.transfer), args.read).await?;
    let place = reach.place();
    cx.answer(&report, || verified(&report, volume.as_str(), &place))?;
    let differs = [&report.missing, &report.different, &report.extra];
    if !report.failed.is_empty() {
        return Ok(ended(false));
    }
    match differs.iter().all(|one| one.is_empty()) {
        true => Ok(Ending::Done),
        false => Ok(Ending::Code(exit::code(Kind::Refused))),
    }
}

fn verified(report: &UploadsCompared, volume: &str, place: &str) -> String {
    let files = count(report.files, "file");
    let different = report.missing.count + report.different.count + report.extra.count + report.failed.count;
    let mut out = match different {
        0 => format!(
            "✓ every file of {volume} is in {place}: {files}, {}\n",
            ByteSize(report.bytes)
        ),
        _ => format!("✗ {volume} ({files}) and {place} are not the same\n"),
    };
    out.push_str(&format!("  the same     {}\n", compared(report.same)));
    if report.left_out > 0 {
        out.push_str(&format!(
            "  left out     {} that are no files\n",
            count(report.left_out, "entry")
        ));
    }
    troubles(&mut out, "not in the bucket", &report.missing);
    troubles(&mut out, "different", &report.different);
    troubles(&mut out, "only in the bucket", &report.extra);
    troubles(&mut out, "could not be compared", &report.failed);
    if report.missing.count + report.different.count > 0 {
        out.push_str("\nNext: rehome s3 sync\n");
    }
    out
}

pub(super) async fn pull(cx: &Cx, args: S3Pull) -> Result<Ending> {
    let reach = reach(cx, args.common).await?;
    let request = PullRequest {
        transfer: transfer(args.transfer),
        to: args.to,
        only_missing: args.only_missing,
        dry_run: args.dry_run,
    };
    let (to, report) = reach.pull(&request).await?;
    let place = reach.place();
    cx.answer(&report, || pulled(&report, &to, &place, request.dry_run))?;
    Ok(ended(report.failed.is_empty()))
}

fn pulled(report: &PullReport, to: &str, place: &str, dry_run: bool) -> String {
    let objects = count(report.objects, "object");
    let mut out = match (report.failed.is_empty(), dry_run) {
        (true, false) => format!(
            "✓ {to} has what {place} has: {objects}, {}\n",
            ByteSize(report.bytes)
        ),
        (true, true) => format!("{place}: {objects}, {}\n", ByteSize(report.bytes)),
        (false, _) => format!("✗ {} of {objects} did not arrive in {to}\n", report.failed.count),
    };
    let came = count(report.added + report.replaced, "file");
    let word = if dry_run { "would bring" } else { "brought" };
    out.push_str(&format!(
        "  {word:<12} {came} ({}): {} new, {} another there\n",
        ByteSize(report.got_bytes),
        report.added,
        report.replaced
    ));
    out.push_str(&format!("  {:<12} {}\n", "the same", compared(report.same)));
    if report.kept > 0 {
        out.push_str(&format!(
            "  {:<12} {} that are another in the bucket\n",
            "left",
            count(report.kept, "file")
        ));
    }
    if report.left_out > 0 {
        out.push_str(&format!(
            "  {:<12} {} that are no paths of files\n",
            "left out",
            count(report.left_out, "key")
        ));
    }
    troubles(&mut out, "did not arrive", &report.failed);
    out
}

/// Shows, asks, runs.
pub(super) async fn switch(cx: &Cx, args: S3Switch, direction: Direction) -> Result<Ending> {
    let reach = reach(cx, args.common).await?;
    let planned = reach.plan_switch(direction, args.dry_run).await?;
    let text = render(&planned.plan);
    if args.dry_run {
        cx.answer(&planned.plan, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&ui::fill_notes(&text, ui::width()));
    if !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let finish = planned.run(&reach).await?;
    move_::end(cx, &finish)
}

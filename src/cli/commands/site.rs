//! `rehome site`.

use super::super::args::{SiteAdd, SiteArgs, SiteCommand, SiteImport, SiteRemove};
use super::super::{Cx, Ending, exit};
use super::move_;
use crate::model::{ByteSize, Failure, Kind, Result, SiteName, count};
use crate::ops::site::{
    AddReport, AddRequest, PlannedImport, PlannedRemove, PlannedStorage, SiteMoveRequest, SiteReport, Sites,
    StorageRequest, What,
};
use crate::plan::site::render;
use crate::site::place::Measured;
use crate::site::{MadeOf, Site, Storage};
use crate::ui;

/// So many lines of a kind are shown; `--json` has all.
const SHOWN: usize = 50;

pub(super) async fn run(cx: &Cx, args: SiteArgs) -> Result<Ending> {
    let sites = Sites::new(cx.options()?)?;
    match args.command {
        SiteCommand::Add(args) => add(cx, &sites, args).await,
        SiteCommand::List => list(cx, &sites),
        SiteCommand::Show(args) => show(cx, &sites, &args.name),
        SiteCommand::Enable(args) => {
            let request = StorageRequest {
                name: args.name,
                on: true,
                owner: args.owner,
                dry_run: args.dry_run,
            };
            storage_switch(cx, &sites, &request).await
        }
        SiteCommand::Disable(args) => {
            let request = StorageRequest {
                name: args.name,
                on: false,
                owner: None,
                dry_run: args.dry_run,
            };
            storage_switch(cx, &sites, &request).await
        }
        SiteCommand::Move(args) => {
            let request = SiteMoveRequest {
                name: args.name,
                to: args.to,
                offline: args.offline,
                dry_run: args.dry_run,
            };
            execute(cx, sites.plan_move(&request).await?, request.dry_run).await
        }
        SiteCommand::Remove(args) => remove(cx, &sites, args).await,
        SiteCommand::Import(args) => import(cx, &sites, &args),
    }
}

async fn add(cx: &Cx, sites: &Sites, args: SiteAdd) -> Result<Ending> {
    let what = match (args.project, args.image, args.port) {
        (Some(directory), _, _) => What::Project {
            directory,
            service: args.service,
        },
        (None, Some(image), Some(port)) => What::Image {
            image,
            port,
            health: args.health,
        },
        _ => return Err(Failure::bug("a site that is neither a project nor an image")),
    };
    let request = AddRequest {
        name: args.name,
        what,
        dry_run: args.dry_run,
    };
    let report = sites.add(&request).await?;
    cx.answer(&report, || told_add(&report, args.dry_run))?;
    Ok(Ending::Done)
}

fn told_add(report: &AddReport, dry_run: bool) -> String {
    let site = &report.site;
    let mut out = match dry_run {
        true => format!("Site {} would be {}\n", site.name, made_of(site)),
        false => format!("Site {} is {}\n", site.name, made_of(site)),
    };
    for (path, text) in &report.files {
        let verb = if dry_run {
            "would be written"
        } else {
            "was written"
        };
        out += &format!("{} {verb}:\n", path.display());
        for line in text.lines() {
            out += &format!("    {line}\n");
        }
    }
    out
}

/// What a site is, in words.
fn made_of(site: &Site) -> String {
    let directory = site.directory.as_ref().map(|dir| dir.display().to_string());
    let directory = directory.unwrap_or_default();
    let service = site.service.as_ref().map(ToString::to_string);
    match (&site.made_of, service) {
        (MadeOf::Project, Some(service)) => format!("service {service} of the project in {directory}"),
        (MadeOf::Project, None) => format!("the project in {directory}"),
        (MadeOf::Image { image, port, .. }, _) => {
            format!(
                "image {image} on 127.0.0.1:{}, its project in {directory}",
                port.host
            )
        }
        (MadeOf::Imported, _) => "one of a panel, and its project is not known yet".to_owned(),
    }
}

fn list(cx: &Cx, sites: &Sites) -> Result<Ending> {
    let all = sites.list()?;
    cx.answer(&all, || told_list(&all, cx.color.for_stdout()))?;
    Ok(Ending::Done)
}

fn told_list(all: &[SiteReport], color: bool) -> String {
    if all.is_empty() {
        return "no sites".to_owned();
    }
    let now = jiff::Timestamp::now();
    let mut table = ui::Table::new(&[
        "SITE", "STORAGE", "DATA", ">SIZE", ">FILES", "OWNER", ">CHANGED", ">BACKUP", "IS",
    ]);
    for report in all {
        let of = |say: &dyn Fn(&Measured) -> String| match (&report.measured, &report.unseen) {
            (Some(measured), _) => say(measured),
            (None, Some(_)) => "?".to_owned(),
            (None, None) => "–".to_owned(),
        };
        let site = &report.site;
        table.row([
            site.name.to_string(),
            storage(site.persistent_storage).to_owned(),
            site.data
                .as_ref()
                .map_or_else(|| "–".to_owned(), |path| path.display().to_string()),
            of(&size),
            of(&|measured| measured.files.to_string()),
            of(&|measured| measured.owner.to_string()),
            of(&|measured| ago(now, measured.changed)),
            last_backup(report, now),
            what(site),
        ]);
    }
    table.render(color)
}

fn last_backup(report: &SiteReport, now: jiff::Timestamp) -> String {
    report
        .backups
        .first()
        .map_or_else(|| "–".to_owned(), |last| ago(now, last.began))
}

/// A site in one line, for the status of its project.
pub(super) fn line(report: &SiteReport) -> String {
    let (site, now) = (&report.site, jiff::Timestamp::now());
    let data = match (&site.data, &report.measured, &report.unseen) {
        (None, ..) => "no directory".to_owned(),
        (Some(data), Some(measured), _) => format!("{}, {}", data.display(), size(measured)),
        (Some(data), None, Some(why)) => format!("{}, which cannot be looked at: {why}", data.display()),
        (Some(data), None, None) => format!("{}, which is NOT THERE", data.display()),
    };
    let last = last_backup(report, now);
    format!(
        "Site {}: storage {}, {data}, last backup {last}",
        site.name,
        storage(site.persistent_storage)
    )
}

fn storage(storage: Storage) -> &'static str {
    match storage {
        Storage::Off => "off",
        Storage::On => "on",
        Storage::Panel => "on (panel)",
    }
}

fn what(site: &Site) -> String {
    match (&site.made_of, &site.directory) {
        (MadeOf::Image { image, .. }, _) => image.clone(),
        (MadeOf::Imported, _) | (_, None) => "not known yet".to_owned(),
        (MadeOf::Project, Some(directory)) => directory.display().to_string(),
    }
}

fn size(measured: &Measured) -> String {
    match measured.complete {
        true => ByteSize(measured.bytes).to_string(),
        false => format!("> {}", ByteSize(measured.bytes)),
    }
}

fn ago(now: jiff::Timestamp, at: jiff::Timestamp) -> String {
    match now.duration_since(at).as_secs() {
        ..0 => "in the future".to_owned(),
        seconds @ 0..7200 => format!("{} min ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

fn show(cx: &Cx, sites: &Sites, name: &SiteName) -> Result<Ending> {
    let report = sites.show(name)?;
    cx.answer(&report, || told_show(&report))?;
    Ok(Ending::Done)
}

fn told_show(report: &SiteReport) -> String {
    let site = &report.site;
    let mut out = format!("{} is {}\n", site.name, made_of(site));
    out += &format!("added: {:.0}\n", site.made);
    out += &format!("persistent storage: {}\n", storage(site.persistent_storage));
    let Some(data) = &site.data else {
        return out + "data: it never had a directory\n";
    };
    let now = jiff::Timestamp::now();
    out += &match (&report.measured, &report.unseen) {
        (Some(measured), _) => format!(
            "data: {}, {} in {}, owner {}, changed {}\n",
            data.display(),
            size(measured),
            count(measured.files, "file"),
            measured.owner,
            ago(now, measured.changed)
        ),
        (None, Some(why)) => format!("data: {}, which cannot be looked at: {why}\n", data.display()),
        (None, None) => format!("data: {}, which is not there\n", data.display()),
    };
    for backup in &report.backups {
        let verified = backup.verified.map_or_else(
            || "not verified".to_owned(),
            |at| format!("verified {}", ago(now, at)),
        );
        out += &format!(
            "backup: {}, {}, in {}, {verified}\n",
            backup.id,
            ago(now, backup.began),
            backup.places.join(", ")
        );
    }
    if report.backups.is_empty() {
        out += "backup: Rehome knows of none that it is in\n";
    }
    if site.persistent_storage == Storage::Off {
        out += "The containers of the site do not have it; it stays where it is.\n";
    }
    out
}

async fn storage_switch(cx: &Cx, sites: &Sites, request: &StorageRequest) -> Result<Ending> {
    execute(cx, sites.plan_storage(request).await?, request.dry_run).await
}

/// Shows, asks, runs.
async fn execute(cx: &Cx, planned: PlannedStorage, dry_run: bool) -> Result<Ending> {
    let text = render(&planned.plan);
    if dry_run {
        cx.answer(&planned.plan, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&ui::fill_notes(&text, ui::width()));
    if !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let finish = planned.run().await?;
    move_::end(cx, &finish)
}

async fn remove(cx: &Cx, sites: &Sites, args: SiteRemove) -> Result<Ending> {
    let planned = sites.plan_remove(&args.name, args.delete_data).await?;
    if args.dry_run {
        let answer = serde_json::json!({
            "site": planned.site,
            "deletes": planned.deletes,
            "left": planned.left,
            "files": planned.files,
        });
        cx.answer(&answer, || told_remove(&planned))?;
        return Ok(Ending::Done);
    }
    cx.talk(&told_remove(&planned));
    let typed = match &planned.deletes {
        Some(_) => {
            let question = format!("Type the name of the site ({}) to delete its data:", args.name);
            Some(ui::typed_again(&question, args.typed.as_deref(), "--typed NAME")?)
        }
        None if !ui::confirm("Forget it?", cx.global.yes)? => {
            return Err(Failure::refused("not confirmed").data("nothing was changed"));
        }
        None => None,
    };
    let report = sites.remove(planned, typed.as_deref()).await?;
    cx.answer(&report, || match (&report.data, report.deleted) {
        (Some(data), true) => format!(
            "site {} is forgotten, and {} is deleted",
            report.name,
            data.display()
        ),
        (Some(data), false) => {
            format!(
                "site {} is forgotten; its data stays in {}",
                report.name,
                data.display()
            )
        }
        (None, _) => format!("site {} is forgotten", report.name),
    })?;
    Ok(Ending::Done)
}

fn told_remove(planned: &PlannedRemove) -> String {
    let site = &planned.site;
    let mut out = format!("Site {} is forgotten: {}\n", site.name, made_of(site));
    for file in &planned.files {
        out += &format!("  {} is removed\n", file.display());
    }
    match (&site.data, &planned.deletes) {
        (Some(data), Some(measured)) => {
            out += &format!(
                "  {} is DELETED: {} in {}. Nothing brings it back.\n",
                data.display(),
                size(measured),
                count(measured.files, "file")
            );
        }
        (Some(data), None) => out += &format!("  {} stays\n", data.display()),
        (None, _) => {}
    }
    for path in &planned.left {
        out += &format!("  {} stays: it was put aside\n", path.display());
    }
    out
}

fn import(cx: &Cx, sites: &Sites, args: &SiteImport) -> Result<Ending> {
    let planned = sites.plan_import(&args.file, args.projects.as_deref())?;
    let refused = planned.skipped.iter().any(|skipped| !skipped.known);
    let ending = match refused {
        true => Ending::Code(exit::code(Kind::Refused)),
        false => Ending::Done,
    };
    if args.dry_run {
        cx.answer(&planned, || told_import(&planned))?;
        return Ok(ending);
    }
    cx.talk(&told_import(&planned));
    if !planned.sites.is_empty() && !ui::confirm("Add these?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let report = sites.import(planned)?;
    cx.answer(&report, || {
        let mut out = format!("{} added\n", count(report.added.len() as u64, "site"));
        if refused {
            out += "Not all of the panel's sites are: see above.\n";
        }
        out
    })?;
    Ok(ending)
}

fn told_import(planned: &PlannedImport) -> String {
    let mut out = format!("{} to add\n", count(planned.sites.len() as u64, "site"));
    for site in planned.sites.iter().take(SHOWN) {
        out += &format!("  {}: {}", site.name, what(site));
        match &site.data {
            Some(data) => out += &format!(", its data in {}\n", data.display()),
            None => out += "\n",
        }
    }
    if let more @ 1.. = planned.sites.len().saturating_sub(SHOWN) {
        out += &format!("  and {more} more\n");
    }
    for skipped in planned.skipped.iter().take(SHOWN) {
        let mark = if skipped.known { " " } else { "!" };
        out += &format!("{mark} {:?} is left out: {}\n", skipped.name, skipped.why);
    }
    if let more @ 1.. = planned.skipped.len().saturating_sub(SHOWN) {
        out += &format!("  and {more} more are left out\n");
    }
    if planned.sites.iter().any(|site| site.made_of == MadeOf::Imported) {
        out += "Where the project of one is, is said by: rehome site add NAME --project DIR\n";
    }
    out
}

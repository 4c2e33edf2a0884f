//! `rehome backup`.

use std::os::unix::process::ExitStatusExt as _;

use super::super::args::{
    Backup, BackupCommand, BackupCreate, BackupFreeze, BackupList, BackupPin, BackupPrune, BackupRestore,
    BackupSchedule, BackupVerify, Quiet, RestoreInto,
};
use super::super::{Cx, Ending};
use super::move_;
use crate::model::config::{Consistency, Place};
use crate::model::{ByteSize, Failure, Kind, ProjectName, Result, Span, VolumeKey, count};
use crate::ops::App;
use crate::ops::backup::{
    self, Copied, CreateRequest, FreezeRequest, How, ListReport, Listed, PlaceDecisions, PlannedSchedule,
    RestoreFrom, RestoreRequest, ScheduleRequest, VerifyRequest,
};
use crate::{plan, ui};

pub(super) async fn run(cx: &Cx, args: Backup) -> Result<Ending> {
    match args.command {
        BackupCommand::Create(args) => create(cx, args).await,
        BackupCommand::Verify(args) => verify(cx, args).await,
        BackupCommand::Restore(args) => restore(cx, args).await,
        BackupCommand::List(args) => list(cx, args).await,
        BackupCommand::Prune(args) => prune(cx, &args).await,
        BackupCommand::Schedule(args) => schedule(cx, args).await,
        BackupCommand::Pin(args) => pin(cx, &args, true).await,
        BackupCommand::Unpin(args) => pin(cx, &args, false).await,
        BackupCommand::Freeze(args) => freeze(cx, args).await,
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
        cx.answer(&report, || read_back(&report))?;
        return Ok(Ending::Done);
    }
    cx.talk(&read_back(&report));
    let planned = backup::plan_drill(&app, &request, &report.id).await?;
    let finish = planned.run(&app).await?;
    move_::end(cx, &finish)
}

async fn restore(cx: &Cx, args: BackupRestore) -> Result<Ending> {
    let here_is = cx.open().await?;
    let (into, other) = match args.into {
        Some(RestoreInto::Volume(name)) => (Some(name), None),
        Some(RestoreInto::Project(dir)) => (None, Some(cx.open_in(&dir).await?)),
        None => (None, None),
    };
    let from = restore_from(&here_is, args.from);
    let said = args.which.id.is_some() || args.which.latest;
    if let (Some(RestoreFrom::File(path)), true) = (&from, said) {
        return Err(Failure::usage(format!(
            "{} is a file, and no place that has backups: neither --latest nor an ID goes with it",
            path.display()
        ))
        .data("nothing was changed"));
    }
    let request = RestoreRequest {
        id: args.which.id,
        from,
        only: args.only,
        database: args.database,
        path: args.path,
        strip: args.strip,
        into,
        safety_backup: !args.no_safety_backup,
        identities: args.identity,
        dry_run: args.dry_run,
    };
    let (app, lender) = match &other {
        Some(other) => (other, Some(&here_is)),
        None => (&here_is, None),
    };
    let planned = backup::plan_restore(app, &request, lender).await?;
    let text = plan::backup::render_restore(&planned.plan.facts);
    if request.dry_run {
        cx.answer(&planned.plan, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&text);
    if !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    let finish = planned.run(app).await?;
    move_::end(cx, &finish)
}

/// A file is none of the places that backups are kept in.
fn restore_from(app: &App, from: Option<Place>) -> Option<RestoreFrom> {
    let place = here(app, from).pop()?;
    Some(match place {
        Place::Dir(path) if path.is_file() => RestoreFrom::File(path),
        place => RestoreFrom::Place(place),
    })
}

fn read_back(report: &backup::VerifyReport) -> String {
    let places = report
        .places
        .iter()
        .map(|(place, said)| format!("  {place}: {said}\n"));
    format!(
        "Backup {} of {}\n{}",
        report.id,
        report.project,
        places.collect::<String>()
    )
}

async fn list(cx: &Cx, args: BackupList) -> Result<Ending> {
    let app = cx.open().await?;
    let report = backup::list(&app, args.all, &here(&app, args.from))?;
    cx.answer(&report, || told_list(&report, cx.color.for_stdout()))?;
    match report.failures.first() {
        None => Ok(Ending::Done),
        Some(first) => Err(first
            .failure
            .clone()
            .inside(format!("{} could not be looked at", first.place))),
    }
}

fn told_list(report: &ListReport, color: bool) -> String {
    if report.backups.is_empty() {
        return "no backups".to_owned();
    }
    let now = jiff::Timestamp::now();
    let mut projects: Vec<&ProjectName> = report.backups.iter().map(|b| &b.project).collect();
    projects.dedup();
    let mut out = String::new();
    for project in projects {
        let mut table = ui::Table::new(&["BACKUP", ">AGE", ">DATA", ">STORED", "WHERE", "VERIFIED", ""]);
        for backup in report.backups.iter().filter(|b| b.project == *project) {
            for (place, copy) in backup.copies.iter().enumerate() {
                let once = |text: String| if place == 0 { text } else { String::new() };
                table.row([
                    once(backup.id.to_string()),
                    once(age(now, backup.began)),
                    once(
                        backup
                            .data_bytes
                            .map_or_else(|| "–".to_owned(), |n| ByteSize(n).to_string()),
                    ),
                    ByteSize(copy.bytes).to_string(),
                    copy.place.clone(),
                    verified(now, copy),
                    remarks(backup, copy),
                ]);
            }
        }
        out.push_str(&format!("{project}\n{}\n", table.render(color)));
        let mut table = ui::Table::new(&["SAVED", "", ">BACKUPS", ">LAST", ">DATA", "VERIFIED"]);
        for saved in report.parts.iter().filter(|saved| saved.project == *project) {
            table.row([
                saved.name.clone(),
                saved.is.to_owned(),
                saved.backups.to_string(),
                age(now, saved.last),
                ByteSize(saved.bytes).to_string(),
                saved
                    .verified
                    .map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(now, at))),
            ]);
        }
        if !table.is_empty() {
            out.push_str(&format!("{}\n", table.render(color)));
        }
    }
    out
}

fn age(now: jiff::Timestamp, at: jiff::Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    match seconds {
        ..0 => "in the future".to_owned(),
        0..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn verified(now: jiff::Timestamp, copy: &Copied) -> String {
    match &copy.verified {
        Some(verified) if verified.how == How::Drill => format!("{} ago, restored", age(now, verified.at)),
        Some(verified) => format!("{} ago", age(now, verified.at)),
        None => "never".to_owned(),
    }
}

fn remarks(backup: &Listed, copy: &Copied) -> String {
    let encrypted = backup.encrypted == Some(true);
    let said = [
        (copy.state != "complete").then(|| copy.state.to_owned()),
        copy.why.clone(),
        copy.pinned.then(|| "pinned".to_owned()),
        encrypted.then(|| "encrypted".to_owned()),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

async fn prune(cx: &Cx, args: &BackupPrune) -> Result<Ending> {
    let app = cx.open().await?;
    let planned = backup::plan_prune(&app, args.dry_run)?;
    let text = told_prune(&planned.places);
    if args.dry_run {
        cx.answer(&planned.places, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&text);
    if !planned.is_empty() && !ui::confirm("Remove those that go?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was removed"));
    }
    let report = planned.carry_out(&app)?;
    cx.answer(&report, || {
        let removed = count(report.removed as u64, "backup");
        match (report.removed, report.swept) {
            (0, 0) => "nothing goes".to_owned(),
            (_, 0) => format!("{removed} removed, {}", ByteSize(report.bytes)),
            (_, n) => format!(
                "{removed} removed, {}; and {} that nobody writes any more",
                ByteSize(report.bytes),
                count(n as u64, "half file")
            ),
        }
    })?;
    Ok(Ending::Done)
}

fn told_prune(places: &[PlaceDecisions]) -> String {
    let mut out = String::new();
    for place in places {
        let mut table = ui::Table::new(&[place.place.as_str(), "", ">SIZE", "WHY"]);
        for backup in &place.backups {
            table.row([
                backup.id.to_string(),
                if backup.stays { "stays" } else { "goes" }.to_owned(),
                ByteSize(backup.bytes).to_string(),
                backup.why.join("; "),
            ]);
        }
        match table.is_empty() {
            true => out.push_str(&format!("{}: no backups\n", place.place)),
            false => out.push_str(&table.render(false)),
        }
        out.push('\n');
    }
    out
}

async fn pin(cx: &Cx, args: &BackupPin, pinned: bool) -> Result<Ending> {
    let app = cx.open().await?;
    let places = backup::pin(&app, &args.id, pinned)?;
    cx.answer(&places, || {
        let word = if pinned { "stays" } else { "may be pruned" };
        format!("{} {word}: {}", args.id, places.join(", "))
    })?;
    Ok(Ending::Done)
}

async fn schedule(cx: &Cx, args: BackupSchedule) -> Result<Ending> {
    let app = cx.open().await?;
    let request = ScheduleRequest {
        at: args.at,
        remove: args.remove,
        sysroot: args.sysroot,
    };
    let planned = backup::schedule(&app, &request).await?;
    let text = told_schedule(&planned);
    if args.dry_run {
        cx.answer(&planned.files, || text)?;
        return Ok(Ending::Done);
    }
    cx.talk(&text);
    if planned.is_empty() {
        cx.answer(&planned.files, || "nothing is left to do".to_owned())?;
        return Ok(Ending::Done);
    }
    if !ui::confirm("Do this?", cx.global.yes)? {
        return Err(Failure::refused("not confirmed").data("nothing was changed"));
    }
    planned.carry_out(&app).await?;
    cx.answer(&planned.files, || match request.remove {
        true => "no backup is made by itself any more".to_owned(),
        false => "backups are made by themselves".to_owned(),
    })?;
    Ok(Ending::Done)
}

fn told_schedule(planned: &PlannedSchedule) -> String {
    let mut out = String::new();
    for file in &planned.files {
        let path = file.path.display();
        out.push_str(&match file.action {
            "nothing" => format!("{path} is there\n"),
            "link" => format!("link {path} -> {}\n", file.text),
            "remove" => format!("remove {path}\n"),
            word => {
                let text: String = file.text.lines().map(|line| format!("    {line}\n")).collect();
                format!("{word} {path}:\n{text}")
            }
        });
    }
    if let Some(next) = &planned.next {
        out.push_str(&format!("next: {next}, and up to 15 min later\n"));
    }
    for note in &planned.notes {
        out.push_str(&format!("! {note}\n"));
    }
    out
}

async fn freeze(cx: &Cx, args: BackupFreeze) -> Result<Ending> {
    let options = cx.options()?;
    let app = match App::open(options.clone()).await {
        Ok(app) => Some(app),
        // The file system is said: then it is frozen where no project is, too.
        Err(failure) if args.at.is_some() && failure.kind != Kind::Usage => {
            cx.warn(&format!("no database is checkpointed: {failure}"));
            None
        }
        Err(failure) => return Err(failure),
    };
    let request = FreezeRequest {
        at: args.at,
        limit: args.limit,
        command: args.command,
    };
    let planned = backup::plan_freeze(&options, app.as_ref(), request).await?;
    let target = &planned.target;
    let names = |keys: &[VolumeKey]| keys.iter().map(VolumeKey::as_str).collect::<Vec<_>>().join(", ");
    let mut said = format!(
        "{} ({}, {}) stands still while the command runs, for {} at most\n",
        target.at.display(),
        target.source,
        target.fs_type,
        Span(args.limit)
    );
    if !planned.volumes.is_empty() {
        said += &format!("with the data of {}\n", names(&planned.volumes));
    }
    if !planned.elsewhere.is_empty() {
        said += &format!(
            "not with that of {}: it is elsewhere\n",
            names(&planned.elsewhere)
        );
    }
    for (service, kind) in &planned.servers {
        said += &format!("{kind} of `{service}` is checkpointed before\n");
    }
    cx.talk(&said);
    if args.dry_run {
        return Ok(Ending::Done);
    }
    let report = planned.carry_out(app.as_ref()).await?;
    cx.talk(&format!("it stood still for {}\n", Span(report.stood.span)));
    for line in &report.worth {
        cx.talk(line);
    }
    let status = report.stood.status;
    // As a shell says it.
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(match code.and_then(|code| u8::try_from(code).ok()) {
        Some(0) => Ending::Done,
        code => Ending::Code(code.unwrap_or(1)),
    })
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

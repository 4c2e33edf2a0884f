//! `rehome s3`: what needs neither an engine nor a bucket is here, the rest below.

mod uploads;

use super::super::args::{Framework, S3, S3Command, S3Common, S3Cost, S3Policy, S3Settings};
use super::super::{Cx, Ending};
use crate::model::config::Usage;
use crate::model::{Failure, Money, Result};
use crate::ops::s3::{self, CostReport, CostRequest, PolicyRequest, Rendered, State, Uploads, Wanted};
use crate::plan::uploads::Direction;
use crate::ui;

pub(super) async fn run(cx: &Cx, args: S3) -> Result<Ending> {
    match args.command {
        S3Command::Setup(args) => uploads::set_up(cx, args).await,
        S3Command::Check(args) => uploads::check(cx, args).await,
        S3Command::Sync(args) => uploads::sync(cx, args).await,
        S3Command::Verify(args) => uploads::verify(cx, args).await,
        S3Command::Pull(args) => uploads::pull(cx, args).await,
        S3Command::Enable(args) => uploads::switch(cx, args, Direction::ToBucket).await,
        S3Command::Disable(args) => uploads::switch(cx, args, Direction::ToVolume).await,
        S3Command::Policy(args) => policy(cx, args),
        S3Command::Settings(args) => settings(cx, args),
        S3Command::Cost(args) => cost(cx, args).await,
    }
}

/// What the project's files say of its uploads, without an engine.
fn uploads(cx: &Cx, common: S3Common) -> Result<Uploads> {
    Uploads::find(&cx.options()?, wanted(common))
}

/// What the command line says of them.
fn wanted(common: S3Common) -> Wanted {
    Wanted {
        volume: common.volume,
        bucket: common.bucket,
        prefix: common.prefix,
    }
}

fn policy(cx: &Cx, args: S3Policy) -> Result<Ending> {
    let uploads = uploads(cx, args.common)?;
    let request = PolicyRequest {
        setup: args.setup,
        region: args.region,
    };
    let (policy, notes) = s3::policy(&uploads, &request)?;
    for note in notes {
        cx.warn(&note);
    }
    if args.create_user_commands {
        let told = s3::user_commands(&policy, uploads.bucket()?, args.user.as_deref())?;
        let answer = serde_json::json!({ "user": told.user, "policy": policy, "commands": told.commands });
        cx.answer(&answer, || told.commands.join("\n"))?;
        cx.talk("the last one prints the secret key, once: it belongs into .env, as AWS_SECRET_ACCESS_KEY");
        return Ok(Ending::Done);
    }
    let text = serde_json::to_string_pretty(&policy)
        .map_err(|e| Failure::bug("a policy that cannot be written").because(&e))?;
    cx.answer(&policy, || text)?;
    Ok(Ending::Done)
}

fn settings(cx: &Cx, args: S3Settings) -> Result<Ending> {
    let uploads = uploads(cx, args.common)?;
    let framework = match args.framework {
        Framework::Django => s3::Framework::Django,
    };
    let files = s3::framework_settings(&uploads, framework)?;
    if !args.write {
        cx.answer(
            &serde_json::json!({ "framework": framework, "files": files }),
            || printed(&files),
        )?;
        return Ok(Ending::Done);
    }
    let Some(directory) = &uploads.directory else {
        return Err(Failure::refused(
            "there is no project here whose Compose file they could be written beside",
        )
        .data("nothing was written")
        .hint("go to the project, or name its file with -f"));
    };
    let written = s3::write_settings(&files, directory, args.dry_run)?;
    let of_file: Vec<_> = written
        .iter()
        .map(|(path, state)| serde_json::json!({ "path": path, "state": state }))
        .collect();
    let answer = serde_json::json!({ "framework": framework, "dry_run": args.dry_run, "files": of_file });
    cx.answer(&answer, || {
        let line = |path: &std::path::Path, state| match (state, args.dry_run) {
            (State::AlreadySo, _) => format!("already so: {}", path.display()),
            (State::Written, false) => format!("wrote {}", path.display()),
            (State::Written, true) => format!("would write {}", path.display()),
        };
        let lines: Vec<String> = written.iter().map(|(path, state)| line(path, *state)).collect();
        lines.join("\n")
    })?;
    Ok(Ending::Done)
}

/// The files, one after the other, each under its name.
fn printed(files: &[Rendered]) -> String {
    let parts: Vec<String> = files
        .iter()
        .map(|file| format!("# ---- {}\n{}", file.name, file.text))
        .collect();
    parts.join("\n")
}

async fn cost(cx: &Cx, args: S3Cost) -> Result<Ending> {
    let measured = match (args.storage, args.volume) {
        (Some(_), _) => None,
        // Who names a volume wants it measured; else the other options may be all that there is to say.
        (None, volume @ Some(_)) => Some(Ok(s3::measure(cx.options()?, volume).await?)),
        (None, None) => Some(
            s3::measure(cx.options()?, None)
                .await
                .map_err(|failure| failure.what),
        ),
    };
    let request = CostRequest {
        usage: Usage {
            storage: args.storage,
            puts: args.puts,
            gets: args.gets,
            egress: args.egress,
            objects: None,
            first_puts: None,
        },
        measured,
        region: args.region,
        free_egress: args.free_egress,
        prices: args.prices,
    };
    let report = s3::cost(&request)?;
    cx.answer(&report, || compared(&report, cx.color.for_stdout()))?;
    Ok(Ending::Done)
}

/// A table, and what it rests on.
fn compared(report: &CostReport, color: bool) -> String {
    let usage = &report.usage;
    let number = |number: Option<u64>, word: &str| number.map(|number| format!("{number} {word}"));
    let asked: Vec<String> = [
        usage.storage.map(|size| match usage.objects {
            Some(_) => format!("{size} stored, as measured"),
            None => format!("{size} stored"),
        }),
        number(usage.puts, "PUTs"),
        number(usage.gets, "GETs"),
        usage.egress.map(|size| format!("{size} sent out")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut out = format!("A month with {}, in {}:\n\n", asked.join(", "), report.currency);
    let first = usage.objects.is_some();
    let mut head = vec![
        "", "REGION", ">BASE", ">STORAGE", ">PUTS", ">GETS", ">EGRESS", ">A MONTH",
    ];
    head.extend(first.then_some(">FIRST UPLOAD"));
    head.push("");
    let mut table = ui::Table::new(&head);
    let cell = |money: Option<Money>| money.map_or_else(|| "?".to_owned(), Money::cents);
    for offer in &report.offers {
        let cost = &offer.cost;
        let mut row = vec![
            offer.name.clone(),
            offer.region.clone().unwrap_or_default(),
            cost.monthly.cents(),
            cell(cost.storage),
            cell(cost.puts),
            cell(cost.gets),
            cell(cost.egress),
            cost.total.cents(),
        ];
        row.extend(first.then(|| cell(cost.first_upload)));
        row.push(if cost.complete { "" } else { "and what is ?" }.to_owned());
        table.row(row);
    }
    out.push_str(&table.render(color));
    if !report.unknown.is_empty() {
        let options = report.unknown.join(", ");
        out.push_str(&format!("\n?: nobody said how much; {options} would.\n"));
    }
    out.push('\n');
    for note in &report.notes {
        out.push_str(&format!("{note}.\n"));
    }
    out.push_str(&format!("Prices of {}, without taxes:\n", report.prices_of));
    let mut sources: Vec<&str> = report.offers.iter().map(|offer| offer.source.as_str()).collect();
    sources.dedup();
    for source in sources {
        out.push_str(&format!("  {source}\n"));
    }
    out
}

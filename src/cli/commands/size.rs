//! `rehome size`.

use super::super::args::Size;
use super::super::{Cx, Ending};
use crate::model::{ByteSize, Result};
use crate::ops::{SizeReport, size};
use crate::plan::size::{Records, Sizing, planned};
use crate::ui;

pub(super) async fn run(cx: &Cx, args: &Size) -> Result<Ending> {
    let color = cx.color.for_stdout();
    match args.records {
        Some(number) => {
            let records = Records {
                number,
                files: args.record_size.unwrap_or_default(),
                row: args.db_row_size.unwrap_or_default(),
            };
            let sizing = planned(records, args.growth)?;
            cx.answer(&sizing, || advice(&sizing, color))?;
        }
        None => {
            let app = cx.open().await?;
            let report = size(&app, args.growth).await?;
            cx.answer(&report, || text(&report, color))?;
        }
    }
    Ok(Ending::Done)
}

fn text(report: &SizeReport, color: bool) -> String {
    let mut table = ui::Table::new(&["VOLUME", ">ON DISK", ">LENGTH", ">FILES", ">SINCE"]);
    for volume in &report.volumes {
        table.row([
            volume.key.to_string(),
            ByteSize(volume.allocated).to_string(),
            ByteSize(volume.apparent).to_string(),
            volume.files.to_string(),
            volume.grown.map_or_else(|| "–".to_owned(), grown),
        ]);
    }
    let mut out = table.render(color);
    if let Some(before) = report.measured_before {
        out.push_str(&format!("Since {before:.0}.\n"));
    }
    out.push('\n');
    out.push_str(&advice(&report.sizing, color));
    for warning in &report.warnings {
        out.push_str(&format!("\n! {warning}\n"));
    }
    out
}

fn grown(bytes: i64) -> String {
    let size = ByteSize(bytes.unsigned_abs());
    match bytes {
        0 => "the same".to_owned(),
        1.. => format!("+{size}"),
        _ => format!("-{size}"),
    }
}

/// What uses the space, and what to buy.
fn advice(sizing: &Sizing, color: bool) -> String {
    let most = sizing.parts.iter().map(|part| part.bytes).max().unwrap_or(0);
    let mut table = ui::Table::new(&["NEEDS ROOM", ">BYTES", ""]);
    for part in &sizing.parts {
        table.row([
            part.what.clone(),
            ByteSize(part.bytes).to_string(),
            ui::bar(part.bytes, most),
        ]);
    }
    table.row([
        "together".to_owned(),
        ByteSize(sizing.bytes).to_string(),
        String::new(),
    ]);
    let mut out = table.render(color);
    out.push('\n');

    let by_records = sizing.offers.iter().any(|offer| offer.records.is_some());
    let by_days = sizing.offers.iter().any(|offer| offer.full_in_days.is_some());
    let mut head = vec![">VOLUME", ">SERVICES CAN WRITE"];
    head.extend(by_records.then_some(">HOLDS RECORDS"));
    head.extend(by_days.then_some(">FULL IN"));
    head.push("");
    let mut table = ui::Table::new(&head);
    for offer in &sizing.offers {
        let mut row = vec![format!("{} GB", offer.gb), ByteSize(offer.usable).to_string()];
        if by_records {
            row.push(
                offer
                    .records
                    .map_or_else(|| "–".to_owned(), |number| number.to_string()),
            );
        }
        if by_days {
            row.push(
                offer
                    .full_in_days
                    .map_or_else(|| "–".to_owned(), |days| format!("{days} days")),
            );
        }
        row.push(match (offer.enough, Some(offer.gb) == sizing.recommended_gb) {
            (_, true) => "<- enough".to_owned(),
            (true, false) => String::new(),
            (false, false) => "too small".to_owned(),
        });
        table.row(row);
    }
    out.push_str(&table.render(color));
    if let Some(rate) = sizing.grows_a_day {
        out.push_str(&format!("Grows by {} a day.\n", ByteSize(rate)));
    }
    out.push_str(&match sizing.recommended_gb {
        Some(gb) => {
            format!("\nA volume of {gb} GB. It can be made larger later (`rehome grow`), never smaller.\n")
        }
        None => {
            "\nNo volume that is on offer is enough: split the data, or keep its files in S3.\n".to_owned()
        }
    });
    out
}

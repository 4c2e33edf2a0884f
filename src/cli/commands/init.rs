//! `rehome init`.

use super::super::args::Init;
use super::super::{Cx, Ending};
use crate::model::Result;
use crate::{ops, ui};

pub(super) async fn run(cx: &Cx, args: &Init) -> Result<Ending> {
    let app = cx.open().await?;
    let report = ops::init(&app, args.force, args.dry_run).await?;
    if cx.global.json {
        cx.answer(&report, String::new)?;
        return Ok(Ending::Done);
    }
    for line in &report.found {
        cx.talk(line);
    }
    if args.dry_run {
        ui::out::data(report.text.trim_end())?;
    } else {
        cx.talk(&format!(
            "\nwrote {}; read it, then: rehome move --to DIR --dry-run",
            report.path.display()
        ));
    }
    Ok(Ending::Done)
}

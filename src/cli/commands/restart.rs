//! `rehome restart`.

use super::super::args::Restart;
use super::super::{Cx, Ending};
use crate::event::{Event, Outcome};
use crate::model::Result;
use crate::ops::{RestartRequest, restart};

pub(super) async fn run(cx: &Cx, args: Restart) -> Result<Ending> {
    let app = cx.open().await?;
    let request = RestartRequest {
        services: args.services,
        stop_timeout: args.stop_timeout,
        dry_run: args.dry_run,
    };
    let said = restart(&app, &request).await?;
    if args.dry_run {
        cx.answer(&said, || said.join("\n"))?;
        return Ok(Ending::Done);
    }
    cx.events.tell(Event::Finished {
        run: None,
        outcome: Outcome::Done,
        exit: 0,
        failure: None,
        report: None,
    });
    Ok(Ending::Done)
}

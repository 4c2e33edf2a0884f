//! `rehome resume` and `rehome rollback`.

use super::super::args::Resume;
use super::super::{Cx, Ending};
use super::{deploy, move_};
use crate::event::Outcome;
use crate::model::Result;
use crate::ops::{Recovery, recover};

pub(super) async fn run(cx: &Cx, args: &Resume, back: bool) -> Result<Ending> {
    let app = cx.open().await?;
    match recover(&app, args.run.as_ref(), back, args.dry_run).await? {
        Recovery::Finished(finish) => {
            let ending = move_::end(cx, &finish)?;
            // Asked to go back and gone back: that is what was wanted.
            let as_asked = back && finish.outcome == Outcome::RolledBack && finish.failure.is_none();
            Ok(if as_asked { Ending::Done } else { ending })
        }
        Recovery::WouldDo(text) => {
            cx.answer(&serde_json::json!({ "would": text }), || text.clone())?;
            Ok(Ending::Done)
        }
        Recovery::Redeploy(planned) => deploy::execute(cx, &app, *planned, args.dry_run).await,
        Recovery::Offer { run, since, back } => {
            cx.talk(&format!("Run {run} is done. Since then:"));
            for line in since {
                cx.talk(&format!("  {line}"));
            }
            cx.talk("Going back is a move of its own, so that nothing of this is lost:\n");
            move_::execute(cx, &app, &back, args.dry_run).await
        }
    }
}

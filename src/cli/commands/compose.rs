//! `rehome compose -- ARGS`.

use super::super::args::Compose;
use super::super::{Cx, Ending};
use crate::model::{Failure, Result};
use crate::ops::danger;

pub(super) async fn run(cx: &Cx, args: Compose) -> Result<Ending> {
    let words: Vec<String> = args
        .args
        .into_iter()
        .map(|a| {
            a.into_string()
                .map_err(|_| Failure::usage("an argument for Compose is not UTF-8"))
        })
        .collect::<Result<_>>()?;
    if let Some(danger) = danger(&words)
        && !args.allow_data_loss
    {
        return Err(
            Failure::refused(format!("`docker compose {}` {}", danger.words, danger.what))
                .data("nothing was changed")
                .hint(
                    "leave that option out, or say that you mean it: rehome compose --allow-data-loss -- …",
                ),
        );
    }
    let app = cx.open().await?;
    let status = app
        .compose
        .interactive(&app.located, &words)
        .status()
        .await
        .map_err(|e| Failure::environment("cannot start Compose").because(&e))?;
    // A shell says 128 + signal for a program that a signal ended.
    let code = status.code().unwrap_or(130);
    Ok(Ending::Code(u8::try_from(code).unwrap_or(1)))
}

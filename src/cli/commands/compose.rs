//! `rehome compose -- ARGS`, and the passes that have a name of their own.

use std::ffi::OsString;

use super::super::args::{self, Compose};
use super::super::{Cx, Ending};
use crate::model::{Failure, Result};
use crate::ops::{self, Loss, Pass};

pub(super) async fn run(cx: &Cx, args: Compose) -> Result<Ending> {
    let words = words(args.args)?;
    let app = cx.open().await?;
    let code = ops::compose(&app, &words, args.loss.into()).await?;
    Ok(Ending::Code(code))
}

pub(super) async fn pass(cx: &Cx, pass: Pass, args: args::Pass) -> Result<Ending> {
    let words = words(args.args)?;
    let app = cx.open().await?;
    let code = ops::pass(&app, pass, &words, args.loss.into()).await?;
    Ok(Ending::Code(code))
}

fn words(arguments: Vec<OsString>) -> Result<Vec<String>> {
    let not_text = |_| Failure::usage("an argument for Compose is not UTF-8");
    arguments
        .into_iter()
        .map(|argument| argument.into_string().map_err(not_text))
        .collect()
}

impl From<args::Loss> for Loss {
    fn from(said: args::Loss) -> Self {
        Self {
            allowed: said.allow_data_loss,
            no_backup: said.no_backup,
        }
    }
}

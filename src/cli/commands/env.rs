//! `rehome env`.

use super::super::args::Env;
use super::super::{Cx, Ending};
use crate::model::Result;
use crate::ops::env_setting;

pub(super) async fn run(cx: &Cx, args: &Env) -> Result<Ending> {
    let app = cx.open().await?;
    let report = env_setting(&app, args.write && !args.dry_run)?;
    if args.write && !cx.global.json {
        let line = match &report.compose_file {
            Some(value) => format!("COMPOSE_FILE={value} in {}", report.dotenv.display()),
            None => format!("no COMPOSE_FILE is needed in {}", report.dotenv.display()),
        };
        cx.talk(&if args.dry_run {
            format!("would write {line}")
        } else {
            line
        });
        return Ok(Ending::Done);
    }
    cx.answer(&report, || report.export.clone())?;
    Ok(Ending::Done)
}

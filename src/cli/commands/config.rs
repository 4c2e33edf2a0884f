//! `rehome config`, `completions` and `man`.

use super::super::args::ConfigCommand;
use super::super::{Cx, Ending, command};
use crate::model::{Failure, Result, config};
use crate::ui;

pub(super) async fn run(cx: &Cx, args: ConfigCommand) -> Result<Ending> {
    match args {
        ConfigCommand::Schema => {
            let schema = serde_json::to_string_pretty(&config::schema())
                .map_err(|e| Failure::bug("a schema that cannot be written").because(&e))?;
            ui::data(&schema);
        }
        ConfigCommand::Show => {
            let app = cx.open().await?;
            let settings = app.settings.show();
            cx.answer(&settings, || {
                let mut rows = Vec::new();
                for (name, value) in settings.as_object().into_iter().flatten() {
                    let (shown, from) = match value.get("from") {
                        Some(from) => (&value["value"], from.as_str().unwrap_or_default()),
                        None => (value, ""),
                    };
                    rows.push(vec![name.clone(), shown.to_string(), from.to_owned()]);
                }
                ui::table(&rows)
            })?;
        }
    }
    Ok(Ending::Done)
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Ending> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command(), "rehome", &mut out);
    ui::data(String::from_utf8_lossy(&out).trim_end());
    Ok(Ending::Done)
}

pub(super) fn man() -> Result<Ending> {
    let mut out = Vec::new();
    clap_mangen::Man::new(command())
        .render(&mut out)
        .map_err(|e| Failure::bug("a manual that cannot be written").because(&e))?;
    ui::data(String::from_utf8_lossy(&out).trim_end());
    Ok(Ending::Done)
}

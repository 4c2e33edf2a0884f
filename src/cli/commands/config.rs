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
            ui::out::data(&schema)?;
        }
        ConfigCommand::Show => {
            let app = cx.open().await?;
            let settings = app.settings.show();
            cx.answer(&settings, || {
                let mut table = ui::Table::new(&["SETTING", "VALUE", "FROM"]);
                for (name, value) in settings.as_object().into_iter().flatten() {
                    let (shown, from) = match value.get("from") {
                        Some(from) => (&value["value"], from.as_str().unwrap_or_default()),
                        None => (value, ""),
                    };
                    table.row([name.as_str(), &shown.to_string(), from]);
                }
                table.render(cx.color.for_stdout())
            })?;
        }
    }
    Ok(Ending::Done)
}

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Ending> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command(), "rehome", &mut out);
    ui::out::data(String::from_utf8_lossy(&out).trim_end())?;
    Ok(Ending::Done)
}

pub(super) fn man() -> Result<Ending> {
    let mut out = Vec::new();
    clap_mangen::Man::new(command())
        .render(&mut out)
        .map_err(|e| Failure::bug("a manual that cannot be written").because(&e))?;
    ui::out::data(String::from_utf8_lossy(&out).trim_end())?;
    Ok(Ending::Done)
}

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
            let settings = app.effective()?;
            cx.answer(&settings, || {
                let mut table = ui::Table::new(&["SETTING", "VALUE", "FROM"]);
                for setting in &settings {
                    let value = match setting.value.as_str() {
                        Some(text) => text.to_owned(),
                        None if setting.value.is_null() => "–".to_owned(),
                        None => setting.value.to_string(),
                    };
                    table.row([setting.name.clone(), value, setting.from.to_string()]);
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

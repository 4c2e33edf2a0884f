//! `rehome override`.

use super::super::args::{Override, Style};
use super::super::{Cx, Ending};
use crate::model::{Failure, Result};
use crate::ops::{OverrideCheck, OverrideRequest, override_check, override_content, override_write};

pub(super) async fn run(cx: &Cx, args: Override) -> Result<Ending> {
    let app = cx.open().await?;
    if args.check {
        let OverrideCheck { findings, services } = override_check(&app).await?;
        cx.answer(
            &serde_json::json!({ "uses_override": findings.is_empty(), "findings": findings }),
            || {
                if findings.is_empty() {
                    format!("the stack runs with {}", app.settings.override_path.display())
                } else {
                    String::new()
                }
            },
        )?;
        return match findings.split_first() {
            None => Ok(Ending::Done),
            Some(_) if cx.global.json => Ok(Ending::Code(3)),
            Some((first, rest)) => {
                let failure =
                    Failure::refused("the stack does not run with the override").cause(first.clone());
                let failure = rest.iter().cloned().fold(failure, Failure::cause);
                // By name and by force: Compose before 2.32 does not see that only a volume's name is another.
                let mut mend = "rehome compose -- up -d".to_owned();
                if !services.is_empty() {
                    mend.push_str(" --force-recreate");
                }
                for service in services {
                    mend = format!("{mend} {service}");
                }
                Err(failure.hint(mend))
            }
        };
    }
    let style = match args.style {
        Style::Volume => crate::compose::Style::Volume,
        Style::Bind => crate::compose::Style::Bind,
    };
    let request = OverrideRequest { to: args.to, style };
    if args.write && !args.dry_run {
        let path = override_write(&app, &request).await?;
        cx.talk(&format!(
            "wrote {}, and COMPOSE_FILE in {}",
            path.display(),
            app.located.dotenv.display()
        ));
        return Ok(Ending::Done);
    }
    let text = override_content(&app, &request).await?.render();
    cx.answer(
        &serde_json::json!({ "path": app.settings.override_path, "text": text }),
        || text.clone(),
    )?;
    Ok(Ending::Done)
}

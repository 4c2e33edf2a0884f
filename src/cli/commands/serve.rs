//! `rehome serve`.

use std::ffi::OsString;

use super::super::args::{Serve, ServeCommand, ServeToken, ServeUnit, ServeUser};
use super::super::{Cx, Ending, exit};
use crate::access::{MIN_PASSWORD, Passwords, draw_token};
use crate::model::{Failure, Result};
use crate::ops::access;
use crate::{ops, ui, web};

pub(super) async fn run(cx: &Cx, args: Serve) -> Result<Ending> {
    match args.command {
        None => {
            let place = args.place;
            let listen = match place.socket {
                Some(path) => web::Listen::Socket(path),
                None => web::Listen::Address(place.listen),
            };
            let wanted = web::Wanted {
                listen,
                hosts: place.host_names,
                exit: exit::of,
            };
            web::serve(cx.options()?, wanted).await?;
        }
        Some(ServeCommand::User(command)) => user(cx, command)?,
        Some(ServeCommand::Token(command)) => token(cx, command)?,
        Some(ServeCommand::Unit(args)) => unit(cx, args).await?,
    }
    Ok(Ending::Done)
}

async fn unit(cx: &Cx, args: ServeUnit) -> Result<()> {
    let place = args.place;
    let options = cx.options()?;
    let mut words: Vec<OsString> = Vec::new();
    match place.socket {
        // From another directory than this one.
        Some(path) => words.extend(["--socket".into(), options.project.cwd.join(path).into()]),
        None => words.extend(["--listen".into(), place.listen.to_string().into()]),
    }
    for name in place.host_names {
        words.extend(["--host-name".into(), name.into()]);
    }
    let planned = ops::unit(&options, words, args.sysroot)?;
    if !args.write {
        return cx.answer(&planned, || planned.text.trim_end().to_owned());
    }
    planned.check()?;
    if planned.action != "nothing" {
        cx.talk(&format!(
            "{} {}:\n{}",
            planned.action,
            planned.path.display(),
            planned.text
        ));
        if !ui::confirm("Do this?", cx.global.yes)? {
            return Err(Failure::refused("not confirmed").data("nothing was changed"));
        }
    }
    planned.write().await?;
    cx.answer(&planned, || {
        "it is there; it begins, now and at each boot, with: systemctl enable --now rehome-serve".to_owned()
    })
}

fn user(cx: &Cx, command: ServeUser) -> Result<()> {
    let options = cx.options()?;
    match command {
        ServeUser::Add(args) => {
            let name = &args.name;
            let question = format!("Password of {name}, at least {MIN_PASSWORD} characters:");
            let kept = Passwords::keep(&ui::password(&question, args.password_stdin)?)?;
            let store = access(&options)?;
            let known = store.users()?.iter().any(|user| user.name == name.as_str());
            if known {
                cx.talk(&format!(
                    "User {name} may log in already: the password is replaced, and every session of {name} ends."
                ));
                if !ui::confirm("Do this?", cx.global.yes)? {
                    return Err(Failure::refused("not confirmed").data("nothing was changed"));
                }
            }
            store.set_user(name, &kept)?;
            cx.talk(&match known {
                true => format!("user {name} has another password"),
                false => format!("user {name} may log in"),
            });
        }
        ServeUser::List => {
            let users = access(&options)?.users()?;
            cx.answer(&users, || {
                let mut table = ui::Table::new(&["USER", "ADDED"]);
                for user in &users {
                    table.row([user.name.clone(), format!("{:.0}", user.made)]);
                }
                table.render(cx.color.for_stdout())
            })?;
        }
        ServeUser::Remove(args) => {
            access(&options)?.remove_user(&args.name)?;
            cx.talk(&format!(
                "user {} is gone, and its sessions have ended",
                args.name
            ));
        }
    }
    Ok(())
}

fn token(cx: &Cx, command: ServeToken) -> Result<()> {
    let options = cx.options()?;
    match command {
        ServeToken::Create(args) => {
            let secret = draw_token()?;
            access(&options)?.add_token(&args.name, args.scope, &secret)?;
            // The one moment in which anybody sees it.
            let answer =
                serde_json::json!({ "name": args.name, "scope": args.scope, "token": secret.reveal() });
            cx.answer(&answer, || secret.reveal().to_owned())?;
        }
        ServeToken::List => {
            let tokens = access(&options)?.tokens()?;
            cx.answer(&tokens, || {
                let mut table = ui::Table::new(&["TOKEN", "SCOPE", "MADE", "USED", "REVOKED"]);
                let time =
                    |at: Option<jiff::Timestamp>| at.map_or_else(|| "–".to_owned(), |at| format!("{at:.0}"));
                for token in &tokens {
                    table.row([
                        token.name.clone(),
                        token.scope.as_str().to_owned(),
                        time(Some(token.made)),
                        time(token.used),
                        time(token.revoked),
                    ]);
                }
                table.render(cx.color.for_stdout())
            })?;
        }
        ServeToken::Revoke(args) => {
            access(&options)?.revoke(&args.name)?;
            cx.talk(&format!("token {} counts no more", args.name));
        }
    }
    Ok(())
}

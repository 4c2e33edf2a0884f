//! `rehome serve`.

use super::super::args::{Serve, ServeCommand, ServeToken, ServeUser};
use super::super::{Cx, Ending, exit};
use crate::access::{MIN_PASSWORD, Passwords, draw_token};
use crate::model::Result;
use crate::ops::access;
use crate::{ui, web};

pub(super) async fn run(cx: &Cx, args: Serve) -> Result<Ending> {
    match args.command {
        None => {
            let listen = match args.socket {
                Some(path) => web::Listen::Socket(path),
                None => web::Listen::Address(args.listen),
            };
            let wanted = web::Wanted {
                listen,
                hosts: args.host_names,
                exit: exit::of,
            };
            web::serve(cx.options()?, wanted).await?;
        }
        Some(ServeCommand::User(command)) => user(cx, command)?,
        Some(ServeCommand::Token(command)) => token(cx, command)?,
    }
    Ok(Ending::Done)
}

fn user(cx: &Cx, command: ServeUser) -> Result<()> {
    let options = cx.options()?;
    match command {
        ServeUser::Add(args) => {
            let question = format!("Password of {}, at least {MIN_PASSWORD} characters:", args.name);
            let kept = Passwords::keep(&ui::password(&question, args.password_stdin)?)?;
            access(&options)?.set_user(&args.name, &kept)?;
            cx.talk(&format!("user {} may log in", args.name));
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

//! What a backup is written and read with, out of the settings: places, how it is encrypted, the keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::backup::format::Encryption;
use crate::backup::seal::{Encrypting, Keys, Sealing};
use crate::model::{Failure, Result, Secret};
use crate::ops::App;
use crate::steps::backup::Vault;

/// Words in the names of variables whose values are secrets.
const SECRET_WORDS: [&str; 8] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "PRIVATE",
    "ACCESS_KEY",
    "API_KEY",
    "CREDENTIAL",
];

/// The vault of a project.
///
/// # Errors
/// When a passphrase is not set, or a file with keys cannot be read.
pub(in crate::ops) fn vault_of(app: &App, identities: &[PathBuf]) -> Result<Vault> {
    let variables = app.located.variables(&app.options.project.env)?;
    let settings = &app.settings.backup;
    let mut keys = Keys::none();
    let mut encryption = Encrypting::None;
    if let Some(encrypt) = &settings.encrypt {
        if let Some(name) = &encrypt.passphrase_from {
            let passphrase = match variables.get(name).filter(|value| !value.is_empty()) {
                Some(value) => Secret::new(value.clone()),
                None => {
                    return Err(Failure::refused(format!(
                        "backups are encrypted with the passphrase in {name}, which is not set"
                    ))
                    .cause("`backup.encrypt` in rehome.yml names it")
                    .data("nothing was changed")
                    .hint(format!(
                        "set it in {} or in the environment",
                        app.located.dotenv.display()
                    )));
                }
            };
            keys = keys.with_passphrase(passphrase.clone());
            encryption = Encrypting::Passphrase(passphrase);
        } else {
            let recipients = encrypt.recipients.iter().map(|text| text.parse());
            encryption = Encrypting::Recipients(recipients.collect::<Result<_>>()?);
        }
    }
    for path in identities {
        keys = keys.with_file(path)?;
    }
    let sealing = Sealing {
        level: settings.compression,
        encryption,
    };
    let restic = restic(app, &variables);
    Ok(Vault::new(sealing, keys, variables, secrets(app), restic))
}

/// The password of repositories: the passphrase of backups, or one of its own. Whoever needs none is not told that it is
/// missing.
fn restic(app: &App, variables: &BTreeMap<String, String>) -> Result<Secret> {
    let settings = &app.settings.backup;
    let name = settings
        .passphrase_from()
        .or(settings.restic_password_from.as_deref());
    let Some(name) = name else {
        return Err(
            Failure::refused("a repository of restic has a password, and none is named")
                .data("nothing was changed")
                .hint("in rehome.yml: backup: { restic_password_from: NAME }, a variable of the environment or of .env")
                .hint("or encrypt all of the backup: backup: { encrypt: { passphrase_from: NAME } }"),
        );
    };
    let password = variables.get(name).filter(|value| !value.is_empty());
    password.map(|value| Secret::new(value.clone())).ok_or_else(|| {
        Failure::refused(format!(
            "the password of repositories is in {name}, which is not set"
        ))
        .data("nothing was changed")
        .hint(format!(
            "set it in {} or in the environment",
            app.located.dotenv.display()
        ))
    })
}

/// How backups are encrypted, for the manifest.
pub(super) fn encryption(vault: &Vault) -> Encryption {
    vault.sealing.encryption()
}

/// The values of variables that are secrets by their names.
fn secrets(app: &App) -> Vec<Secret> {
    let named = |name: &str| {
        let name = name.to_ascii_uppercase();
        SECRET_WORDS.iter().any(|word| name.contains(word)) && !name.ends_with("_FILE")
    };
    let services = app.project.services.values();
    services
        .flat_map(|service| &service.environment)
        .filter(|(name, _)| named(name))
        .filter_map(|(_, value)| value.clone())
        .collect()
}

//! What a backup is written and read with, out of the settings: places, how it is encrypted, the keys.

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
    Ok(Vault::new(sealing, keys, variables, secrets(app)))
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

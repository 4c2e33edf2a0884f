//! What a backup is written and read with, out of the settings: places, how it is encrypted, the keys.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backup::format::Encryption;
use crate::backup::seal::{Encrypting, Keys, Sealing};
use crate::compose::Located;
use crate::model::{Failure, ProjectName, Result, Secret};
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

/// Another project, whose backup is restored into this one: where its variables are, and which of them is its passphrase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct Lender {
    /// Which.
    pub project: ProjectName,
    located: Located,
    passphrase_from: Option<String>,
    restic_password_from: Option<String>,
}

impl Lender {
    /// Of an opened project.
    pub fn of(app: &App) -> Self {
        let settings = &app.settings.backup;
        Self {
            project: app.project.name.clone(),
            located: app.located.clone(),
            passphrase_from: settings.passphrase_from().map(str::to_owned),
            restic_password_from: repository_password(app).map(str::to_owned),
        }
    }
}

/// The vault of a project, with that of the one whose backup is restored into it.
///
/// # Errors
/// When a passphrase is not set, or a file with keys cannot be read.
pub(in crate::ops) fn vault_of(app: &App, identities: &[PathBuf], lender: Option<&Lender>) -> Result<Vault> {
    let variables = app.located.variables(&app.options.project.env)?;
    let settings = &app.settings.backup;
    let mut keys = Keys::none();
    let mut encryption = Encrypting::None;
    if let Some(encrypt) = &settings.encrypt {
        if let Some(name) = &encrypt.passphrase_from {
            let passphrase = passphrase(&app.located, &variables, name)?;
            keys = keys.with_passphrase(passphrase.clone());
            encryption = Encrypting::Passphrase(passphrase);
        } else {
            let recipients = encrypt.recipients.iter().map(|text| text.parse());
            encryption = Encrypting::Recipients(recipients.collect::<Result<_>>()?);
        }
    }
    let sealing = Sealing {
        level: settings.compression,
        encryption,
    };
    let restic = password_of_repositories(&app.located, &variables, repository_password(app));
    let vault = Vault::new(
        sealing,
        with_files(keys, identities)?,
        variables,
        secrets(app),
        restic,
    );
    let Some(lender) = lender else {
        return Ok(vault);
    };
    let variables = lender.located.variables(&app.options.project.env)?;
    let mut keys = Keys::none();
    if let Some(name) = &lender.passphrase_from {
        keys = keys.with_passphrase(passphrase(&lender.located, &variables, name)?);
    }
    // Nothing is written with it.
    let sealing = Sealing {
        level: settings.compression,
        encryption: Encrypting::None,
    };
    let restic = password_of_repositories(
        &lender.located,
        &variables,
        lender.restic_password_from.as_deref(),
    );
    let lent = Vault::new(
        sealing,
        with_files(keys, identities)?,
        variables,
        Vec::new(),
        restic,
    );
    Ok(vault.with(lender.project.clone(), lent))
}

fn with_files(keys: Keys, identities: &[PathBuf]) -> Result<Keys> {
    identities
        .iter()
        .try_fold(keys, |keys, path| keys.with_file(path))
}

fn passphrase(located: &Located, variables: &BTreeMap<String, String>, name: &str) -> Result<Secret> {
    match variables.get(name).filter(|value| !value.is_empty()) {
        Some(value) => Ok(Secret::new(value.clone())),
        None => Err(Failure::refused(format!(
            "backups are encrypted with the passphrase in {name}, which is not set"
        ))
        .cause("`backup.encrypt` in rehome.yml names it")
        .data("nothing was changed")
        .hint(format!(
            "set it in {} or in the environment",
            located.dotenv.display()
        ))),
    }
}

/// The variable that has it.
fn repository_password(app: &App) -> Option<&str> {
    let settings = &app.settings.backup;
    settings
        .passphrase_from()
        .or(settings.restic_password_from.as_deref())
}

/// The password of repositories: the passphrase of backups, or one of its own. Whoever needs none is not told that it is
/// missing.
fn password_of_repositories(
    located: &Located,
    variables: &BTreeMap<String, String>,
    name: Option<&str>,
) -> Result<Secret> {
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
            located.dotenv.display()
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

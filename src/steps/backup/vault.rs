//! What a step needs to write a backup or to read one: the places, and the keys. Secrets are in it, so it is made anew by
//! every process and never written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backup::format::{BackupId, Entry, MANIFEST, MANIFEST_LIMIT, Manifest, StorePath, What};
use crate::backup::repository::Repository;
use crate::backup::seal::{Keys, Sealing, unseal};
use crate::backup::store::{self, Store};
use crate::model::config::Place;
use crate::model::{Failure, ProjectName, Result, Secret};

use std::io::Read;

/// See the module.
pub struct Vault {
    /// How entries are compressed and encrypted.
    pub sealing: Sealing,
    /// What opens them.
    pub keys: Keys,
    /// The variables of the environment and of `.env`: what a bucket needs is among them.
    pub variables: BTreeMap<String, String>,
    /// What is left out of Compose files.
    pub secrets: Vec<Secret>,
    /// The password of repositories, or why there is none: most projects have no repository.
    restic: Result<Secret>,
    open: Mutex<BTreeMap<Place, Arc<dyn Store>>>,
    /// What the backups of another project are read with, where one of them is restored.
    lent: Option<(ProjectName, Box<Vault>)>,
    /// By the name of their files: to open one takes a second.
    repositories: Mutex<BTreeMap<(String, ProjectName), Arc<Repository>>>,
}

impl Vault {
    /// A vault with nothing open yet.
    #[must_use]
    pub fn new(
        sealing: Sealing,
        keys: Keys,
        variables: BTreeMap<String, String>,
        secrets: Vec<Secret>,
        restic: Result<Secret>,
    ) -> Self {
        Self {
            sealing,
            keys,
            variables,
            secrets,
            restic,
            open: Mutex::default(),
            repositories: Mutex::default(),
            lent: None,
        }
    }

    /// With what the backups of another project are read with.
    #[must_use]
    pub fn with(mut self, project: ProjectName, vault: Self) -> Self {
        self.lent = Some((project, Box::new(vault)));
        self
    }

    /// What the backups of a project are read with.
    #[must_use]
    pub fn of(&self, project: &ProjectName) -> &Self {
        match &self.lent {
            Some((lender, vault)) if lender == project => vault,
            _ => self,
        }
    }

    /// A place, ready to be used. It is opened once.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn place(&self, place: &Place) -> Result<Arc<dyn Store>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(place) {
            return Ok(Arc::clone(store));
        }
        let names = |name: &str| self.variables.get(name).cloned();
        let store = tokio::task::block_in_place(|| store::open(place, &names))?;
        open.insert(place.clone(), Arc::clone(&store));
        Ok(store)
    }

    /// The password of repositories.
    ///
    /// # Errors
    /// Says in words how to set it when it is not.
    pub fn restic(&self) -> Result<&Secret> {
        self.restic.as_ref().map_err(Clone::clone)
    }

    /// The repository of a project in a place. It is opened once.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn repository(&self, store: &Arc<dyn Store>, project: &ProjectName) -> Result<Arc<Repository>> {
        self.repository_if_any(store, project)?.ok_or_else(|| {
            Failure::refused(format!("{} has no repository of {project}", store.name()))
                .data("nothing was changed")
        })
    }

    /// The same, if there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn repository_if_any(
        &self,
        store: &Arc<dyn Store>,
        project: &ProjectName,
    ) -> Result<Option<Arc<Repository>>> {
        self.opened(store, project, || match Repository::exists(store, project)? {
            true => Repository::open(store, project, self.restic()?),
            false => Ok(None),
        })
    }

    /// The same, made if there is none.
    ///
    /// # Errors
    /// When it cannot be opened or made.
    pub fn repository_made(&self, store: &Arc<dyn Store>, project: &ProjectName) -> Result<Arc<Repository>> {
        let made = || Repository::open_or_make(store, project, self.restic()?).map(Some);
        let opened = self.opened(store, project, made)?;
        opened.ok_or_else(|| Failure::bug("a repository that was made is not there"))
    }

    fn opened(
        &self,
        store: &Arc<dyn Store>,
        project: &ProjectName,
        open: impl FnOnce() -> Result<Option<Repository>>,
    ) -> Result<Option<Arc<Repository>>> {
        let mut known = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (store.name(), project.clone());
        if let Some(repository) = known.get(&name) {
            return Ok(Some(Arc::clone(repository)));
        }
        let opened = tokio::task::block_in_place(open)?.map(Arc::new);
        known.extend(opened.clone().map(|repository| (name, repository)));
        Ok(opened)
    }
}

/// The path of something in a backup.
///
/// # Errors
/// Never in practice: all of it is made of what a path may have.
pub fn path_in(project: &ProjectName, id: &BackupId, below: &str) -> Result<StorePath> {
    let directory = id.directory(project)?;
    directory
        .join(below)
        .map_err(|e| Failure::bug("the name of an entry is no path").because(&e))
}

/// Reads the manifest of a backup.
///
/// # Errors
/// When there is none, or it cannot be believed.
pub fn manifest_of(store: &dyn Store, project: &ProjectName, id: &BackupId) -> Result<Manifest> {
    let path = path_in(project, id, MANIFEST)?;
    let Some(reader) = store.get(&path)? else {
        return Err(Failure::refused(format!(
            "{} has no complete backup {id} of {project}",
            store.name()
        ))
        .data("nothing was changed")
        .hint("`rehome backup list` shows what is there"));
    };
    let mut bytes = Vec::new();
    reader.take(MANIFEST_LIMIT).read_to_end(&mut bytes).map_err(|e| {
        Failure::environment(format!(
            "cannot read the manifest of backup {id} in {}",
            store.name()
        ))
        .because(&e)
    })?;
    let manifest = Manifest::from_bytes(&bytes)?;
    if manifest.id != *id || manifest.project != *project {
        return Err(
            Failure::refused(format!("the backup in the place of {id} is another one"))
                .cause(format!(
                    "its manifest says {} of {}",
                    manifest.id, manifest.project
                ))
                .data("nothing was changed"),
        );
    }
    Ok(manifest)
}

/// Reads an entry of a backup as what it was; a snapshot as the archive that it would have been. Reading fails at its end
/// unless every byte was right.
///
/// # Errors
/// When it is not there, or there is no key for it.
pub fn read_entry(
    vault: &Vault,
    store: &Arc<dyn Store>,
    (project, id): (&ProjectName, &BackupId),
    entry: &Entry,
) -> Result<Box<dyn Read + Send>> {
    if let What::Snapshot(note) = &entry.what {
        return super::snapshot::read(&*vault.repository(store, project)?, note);
    }
    let path = path_in(project, id, entry.path.as_str())?;
    let Some(stored) = store.get(&path)? else {
        return Err(
            Failure::refused(format!("{path} is missing in {}", store.name())).data("nothing was changed")
        );
    };
    unseal(stored, &entry.sealed, &vault.keys)
        .map_err(|failure| failure.inside(format!("cannot read {path}")))
}

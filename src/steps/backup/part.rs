//! The nouns that the steps of backups share. Plain data, because it is written into the journal.

use serde::{Deserialize, Serialize};

use crate::backup::format::{BackupId, Entry, What};
use crate::datastore::Kind;
use crate::model::config::Place;
use crate::model::{ProjectName, ServiceName, SiteName, VolumeKey};

/// A backup that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Where it is.
    pub place: Place,
    /// Of which project it is; that need not be the one that gets it.
    pub project: ProjectName,
    /// Which.
    pub id: BackupId,
}

/// What belongs together when a backup is put back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A database server: everything in it.
    Server {
        /// Its service.
        service: ServiceName,
        /// Which kind.
        kind: Kind,
        /// The volume that has its data.
        volume: Option<VolumeKey>,
        /// Its dumps: what belongs to all databases first.
        dumps: Vec<Entry>,
    },
    /// The files of a volume, and the databases in files that are among them.
    Volume {
        /// Which.
        key: VolumeKey,
        /// The archive, or what says which snapshot it is.
        archive: Box<Entry>,
        /// The databases, each to be put in the place of its file.
        databases: Vec<Entry>,
    },
}

impl Part {
    /// In words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Server { service, kind, .. } => format!("{kind} of {service}"),
            Self::Volume { key, archive, .. } => match archive.what.site() {
                Some(site) => format!("site {site}"),
                None => format!("volume {key}"),
            },
        }
    }

    /// The site whose directory it is.
    #[must_use]
    pub fn site(&self) -> Option<&SiteName> {
        match self {
            Self::Server { .. } => None,
            Self::Volume { archive, .. } => archive.what.site(),
        }
    }

    /// The volume that its data is in.
    #[must_use]
    pub fn volume(&self) -> Option<&VolumeKey> {
        match self {
            Self::Server { volume, .. } => volume.as_ref(),
            Self::Volume { key, .. } => Some(key),
        }
    }

    /// Bytes of what is put back: of dumps and archives as they were before they were compressed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Server { dumps, .. } => dumps.iter().map(|e| e.sealed.bytes).sum(),
            Self::Volume {
                archive, databases, ..
            } => archive.bytes() + databases.iter().map(|e| e.sealed.bytes).sum::<u64>(),
        }
    }
}

/// The parts of a backup.
#[must_use]
pub fn parts_of(entries: &[Entry]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for entry in entries {
        let key = match &entry.what {
            What::Volume(note) => &note.key,
            What::Snapshot(note) => &note.key,
            What::Dump(_) | What::File { .. } => continue,
        };
        parts.push(Part::Volume {
            key: key.clone(),
            archive: Box::new(entry.clone()),
            databases: Vec::new(),
        });
    }
    let mut servers: Vec<Part> = Vec::new();
    for entry in entries {
        let What::Dump(note) = &entry.what else { continue };
        let of_service = |part: &&mut Part| match part {
            Part::Server { service, .. } => note.service.as_ref() == Some(service),
            Part::Volume { .. } => false,
        };
        let of_volume = |part: &&mut Part| match part {
            Part::Volume { key, .. } => note.volume.as_ref() == Some(key),
            Part::Server { .. } => false,
        };
        match &note.service {
            Some(name) => match servers.iter_mut().find(of_service) {
                Some(Part::Server { dumps, .. }) => dumps.push(entry.clone()),
                _ => servers.push(Part::Server {
                    service: name.clone(),
                    kind: note.kind,
                    volume: note.volume.clone(),
                    dumps: vec![entry.clone()],
                }),
            },
            None => {
                if let Some(Part::Volume { databases, .. }) = parts.iter_mut().find(of_volume) {
                    databases.push(entry.clone());
                }
            }
        }
    }
    for server in &mut servers {
        if let Part::Server { dumps, .. } = server {
            // Roles before what they own.
            dumps.sort_by_key(|e| matches!(&e.what, What::Dump(note) if note.database.is_some()));
        }
    }
    servers.extend(parts);
    servers
}

//! The plan of a drill: every part of a backup, restored where nothing lasts. Pure.

use serde::{Deserialize, Serialize};

use crate::backup::format::{BackupId, Manifest};
use crate::model::{ByteSize, Failure, ProjectName, Result};
use crate::observe::World;
use crate::steps::Tidy;
use crate::steps::backup::{BackupStep, Part, Rehearse, Source, parts_of};

/// What is said about a drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrillFacts {
    /// The project.
    pub project: ProjectName,
    /// The backup.
    pub id: BackupId,
    /// Where it is, in words.
    pub place: String,
    /// What is restored, and how large it is.
    pub parts: Vec<(String, u64)>,
}

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrillPlan {
    /// What is said.
    pub facts: DrillFacts,
    /// What is done.
    pub steps: Vec<BackupStep>,
}

/// Makes the plan of a drill.
///
/// # Errors
/// Refuses a backup whose servers have no image here, or for which there is no room.
pub fn drill_plan(world: &World, manifest: &Manifest, source: &Source) -> Result<DrillPlan> {
    let parts = parts_of(&manifest.entries);
    if parts.is_empty() {
        return Err(Failure::refused(format!(
            "backup {} has nothing to restore",
            manifest.id
        )));
    }
    for part in &parts {
        if let Part::Server { service, .. } = part {
            server_can_start(world, service)?;
        }
    }
    let largest = parts.iter().map(Part::bytes).max().unwrap_or_default();
    room(world, largest)?;
    let rehearse = |part: &Part| {
        BackupStep::Rehearse(Rehearse {
            source: source.clone(),
            part: part.clone(),
        })
    };
    let mut steps: Vec<BackupStep> = parts.iter().map(rehearse).collect();
    steps.push(BackupStep::Tidy(Tidy::default()));
    Ok(DrillPlan {
        facts: DrillFacts {
            project: world.project.clone(),
            id: manifest.id.clone(),
            place: source.place.to_string(),
            parts: parts.iter().map(|p| (p.describe(), p.bytes())).collect(),
        },
        steps,
    })
}

/// A server is started from the image that its service has now.
pub(super) fn server_can_start(world: &World, service: &crate::model::ServiceName) -> Result<()> {
    let Some(seen) = world.service(service) else {
        return Err(Failure::refused(format!(
            "the backup has a database of service `{service}`, which project {} does not have",
            world.project
        ))
        .data("nothing was changed"));
    };
    match seen.containers.is_empty() && seen.image_now.is_none() {
        false => Ok(()),
        true => Err(
            Failure::refused(format!("image {} of service `{service}` is not here", seen.image))
                .data("nothing was changed")
                .hint(format!("rehome compose -- pull {service}")),
        ),
    }
}

/// What is restored must fit on Docker's disk, beside what is there. Databases take more room than their dumps: it is a
/// limit from below.
pub(super) fn room(world: &World, bytes: u64) -> Result<()> {
    match &world.docker_disk {
        Some(disk) if disk.bytes_free < bytes => Err(Failure::refused(format!(
            "there is no room for it: {} would be restored, and Docker's disk has {} free",
            ByteSize(bytes),
            ByteSize(disk.bytes_free)
        ))
        .data("nothing was changed")),
        _ => Ok(()),
    }
}

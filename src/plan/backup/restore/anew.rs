//! What is made where nothing of the stack is there: images, containers, and the order in which all of it starts. Pure.

use super::RestoreSeen;
use crate::model::ServiceName;
use crate::plan::starting_of;
use crate::steps::backup::BackupStep;
use crate::steps::deploy::{Images, Source as ImageSource};
use crate::steps::{Making, Starting};

/// Every active service, dependencies first.
pub(super) fn all_of_it(seen: &RestoreSeen) -> Vec<Starting> {
    let world = &seen.world;
    let active: Vec<ServiceName> = world
        .services
        .iter()
        .filter(|s| seen.active.contains_key(&s.name))
        .map(|s| s.name.clone())
        .collect();
    starting_of(world, &active, |s| {
        seen.active.get(&s.name).map_or(1, |(count, _)| *count)
    })
}

/// How many containers each active service gets.
pub(super) fn making(seen: &RestoreSeen) -> Vec<Making> {
    let active = seen.active.iter();
    active
        .map(|(service, (count, _))| Making {
            service: service.clone(),
            count: *count,
        })
        .collect()
}

/// The images of a stack that is made anew, where the engine does not have them.
pub(super) fn missing_images(seen: &RestoreSeen) -> Vec<BackupStep> {
    let of = |built: bool| -> Vec<(ServiceName, String)> {
        let missing = seen.world.services.iter().filter(|s| s.image_now.is_none());
        missing
            .filter(|s| seen.active.get(&s.name).is_some_and(|(_, build)| *build == built))
            .map(|s| (s.name.clone(), s.image.clone()))
            .collect()
    };
    let step = |services: Vec<(ServiceName, String)>, source: ImageSource| {
        (!services.is_empty()).then_some(BackupStep::Images(Images { source, services }))
    };
    let pulled = step(of(false), ImageSource::Pull);
    pulled
        .into_iter()
        .chain(step(of(true), ImageSource::Build { fresh: false }))
        .collect()
}

//! Which services a move stops, makes anew and starts, and in which order.

use std::collections::BTreeSet;

use crate::model::{ServiceName, VolumeKey};
use crate::observe::World;

/// The part of the stack that a move touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Services that run and are stopped: those that mount a moved volume and those that depend on them, dependents
    /// first.
    pub stop: Vec<ServiceName>,
    /// Services with containers that must be made anew, because they mount a moved volume or live in a container that
    /// does; running or not.
    pub remake: Vec<ServiceName>,
    /// Services that run and go on running.
    pub untouched: Vec<ServiceName>,
}

/// Finds the part of the stack that a move of these volumes touches.
pub fn stack_of(world: &World, moved: &BTreeSet<VolumeKey>) -> Stack {
    let mut remake: BTreeSet<&ServiceName> = world
        .services
        .iter()
        .filter(|s| moved.iter().any(|key| s.mounts_volume(key)))
        .map(|s| &s.name)
        .collect();
    grow(&mut remake, world, |s| s.attached_to.iter().collect());
    let mut touched = remake.clone();
    grow(&mut touched, world, |s| {
        s.depends_on
            .iter()
            .map(|(on, _)| on)
            .chain(&s.attached_to)
            .collect()
    });

    let named =
        |set: &BTreeSet<&ServiceName>, keep: fn(&crate::observe::ServiceSeen) -> bool| -> Vec<ServiceName> {
            world
                .services
                .iter()
                .filter(|s| set.contains(&s.name) && keep(s))
                .map(|s| s.name.clone())
                .collect()
        };
    let mut stop = named(&touched, |s| s.is_up());
    stop.reverse();
    Stack {
        stop,
        remake: named(&remake, |s| !s.containers.is_empty()),
        untouched: world
            .services
            .iter()
            .filter(|s| s.is_up() && !touched.contains(&s.name))
            .map(|s| s.name.clone())
            .collect(),
    }
}

/// Adds every service that points into the set, until none is left.
fn grow<'a>(
    set: &mut BTreeSet<&'a ServiceName>,
    world: &'a World,
    points_to: impl Fn(&'a crate::observe::ServiceSeen) -> Vec<&'a ServiceName>,
) {
    loop {
        let before = set.len();
        for service in &world.services {
            if points_to(service).iter().any(|on| set.contains(on)) {
                set.insert(&service.name);
            }
        }
        if set.len() == before {
            return;
        }
    }
}

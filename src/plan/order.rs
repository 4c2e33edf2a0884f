//! Which services a move stops, makes anew and starts, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use crate::compose::project::Condition;
use crate::model::{ServiceName, VolumeKey};
use crate::observe::{ServiceSeen, World};

/// The part of the stack that a move touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Services that run and are stopped: those that mount a moved volume and those that depend on them, dependents
    /// first. In waves: the services of one need nothing of each other, and are stopped at the same time.
    pub stop: Vec<Vec<ServiceName>>,
    /// Services with containers that must be made anew, because they mount a moved volume or live in a container that
    /// does; running or not.
    pub remake: Vec<ServiceName>,
    /// Services that run and go on running.
    pub untouched: Vec<ServiceName>,
}

impl Stack {
    /// Nothing is touched.
    #[must_use]
    pub fn untouched(world: &World) -> Self {
        Self::of(world, &BTreeSet::new(), &BTreeSet::new())
    }

    fn of(world: &World, touched: &BTreeSet<&ServiceName>, remake: &BTreeSet<&ServiceName>) -> Self {
        let named = |keep: &dyn Fn(&ServiceSeen) -> bool| -> Vec<ServiceName> {
            let kept = world.services.iter().filter(|s| keep(s));
            kept.map(|s| s.name.clone()).collect()
        };
        Self {
            stop: waves(world, &named(&|s| touched.contains(&s.name) && s.is_up())),
            remake: named(&|s| remake.contains(&s.name) && !s.containers.is_empty()),
            untouched: named(&|s| !touched.contains(&s.name) && s.is_up()),
        }
    }

    /// The services that are stopped, in that order.
    pub fn stopped(&self) -> impl DoubleEndedIterator<Item = &ServiceName> {
        self.stop.iter().flatten()
    }
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
    grow(&mut touched, world, |s| needed_by(s).collect());

    Stack::of(world, &touched, &remake)
}

/// The part of the stack that needs a service, without itself.
pub fn dependents_of(world: &World, service: &ServiceName) -> Stack {
    let mut touched = BTreeSet::from([service]);
    grow(&mut touched, world, |s| needed_by(s).collect());
    touched.remove(service);
    Stack::of(world, &touched, &BTreeSet::new())
}

fn needed_by(service: &ServiceSeen) -> impl Iterator<Item = &ServiceName> {
    service
        .depends_on
        .iter()
        .map(|(on, _)| on)
        .chain(&service.attached_to)
}

/// The services of `among` that a service needs. One that does not run is needed by nobody now, but what it needs in
/// turn keeps its place in the order.
pub(super) fn needs<'a>(
    world: &'a World,
    service: &'a ServiceSeen,
    among: &[ServiceName],
) -> BTreeSet<&'a ServiceName> {
    let mut found = BTreeSet::new();
    let mut passed = BTreeSet::new();
    let mut open = vec![service];
    while let Some(next) = open.pop() {
        for on in needed_by(next) {
            if among.contains(on) {
                found.insert(on);
            } else if passed.insert(on) {
                open.extend(world.service(on));
            }
        }
    }
    found
}

/// Whether a service is meant to end by itself: another one waits for that.
pub(super) fn ends(world: &World, name: &ServiceName) -> bool {
    let awaited = |s: &ServiceSeen| {
        s.depends_on
            .iter()
            .any(|(on, c)| on == name && *c == Condition::CompletedSuccessfully)
    };
    world.services.iter().any(awaited)
}

/// Each service as early as those that need it are down. `started` is in the order in which services start.
fn waves(world: &World, started: &[ServiceName]) -> Vec<Vec<ServiceName>> {
    let mut wave_of: BTreeMap<&ServiceName, usize> = BTreeMap::new();
    let mut waves: Vec<Vec<ServiceName>> = Vec::new();
    for service in started.iter().rev().filter_map(|name| world.service(name)) {
        let wave = wave_of.get(&service.name).copied().unwrap_or_default();
        for on in needs(world, service, started) {
            let of = wave_of.entry(on).or_default();
            *of = (*of).max(wave + 1);
        }
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(service.name.clone());
    }
    waves
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

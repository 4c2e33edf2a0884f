//! Who depends on whom, in which order services start, and who mounts a volume. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Failure, Result, ServiceName, VolumeKey};

use super::{Mount, Project, Service, VolumesSource};

/// One mount of a volume by a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The mount, which may be that of another service.
    pub mount: &'a Mount,
    /// Whether it is mounted read-only, by itself or because all of the other service's mounts are.
    pub read_only: bool,
    /// The service that the mount is taken over from (`volumes_from`).
    pub from: Option<&'a ServiceName>,
}

/// A mount below another one of the same service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// The mount further up.
    pub outer: &'a Mount,
    /// The mount below it.
    pub inner: &'a Mount,
}

impl Service {
    /// The services that this one needs, as far as they are said: `depends_on`, links, a shared network,
    /// `volumes_from`.
    #[must_use]
    pub fn dependencies(&self) -> BTreeSet<&ServiceName> {
        let taken_from = self.volumes_from.iter().filter_map(|from| match &from.source {
            VolumesSource::Service(name) => Some(name),
            VolumesSource::Container(_) => None,
        });
        self.depends_on
            .keys()
            .chain(&self.links)
            .chain(&self.namespaces_of)
            .chain(taken_from)
            .collect()
    }
}

impl Project {
    /// The services of `set` and all that depend on them, over any number of steps.
    #[must_use]
    pub fn with_dependents(&self, set: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        let mut found: BTreeSet<ServiceName> = set.clone();
        loop {
            let next: Vec<&Service> = self
                .services
                .values()
                .filter(|service| !found.contains(&service.name))
                .filter(|service| service.dependencies().iter().any(|name| found.contains(*name)))
                .collect();
            if next.is_empty() {
                return found;
            }
            found.extend(next.into_iter().map(|service| service.name.clone()));
        }
    }

    /// The services that depend on those of `set`, which are not part of the answer.
    #[must_use]
    pub fn dependents_of(&self, set: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        self.with_dependents(set).difference(set).cloned().collect()
    }

    /// The services of `set` in the order in which they start: each after all that it depends on, over services
    /// outside of the set as well; by name where nothing else decides. Stopping goes the other way round.
    ///
    /// # Errors
    /// When services depend on each other in a circle.
    pub fn start_order(&self, set: &BTreeSet<ServiceName>) -> Result<Vec<ServiceName>> {
        // A dependency that is not part of the project (`required: false`) is waited for by nobody.
        let mut waiting: BTreeMap<&ServiceName, BTreeSet<&ServiceName>> = self
            .services
            .values()
            .map(|service| {
                let known = service
                    .dependencies()
                    .into_iter()
                    .filter(|name| self.services.contains_key(*name));
                (&service.name, known.collect())
            })
            .collect();
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let ready = waiting
                .iter()
                .find(|(_, needs)| needs.is_empty())
                .map(|(name, _)| *name);
            let Some(ready) = ready else {
                return Err(
                    Failure::refused("services depend on each other in a circle").cause(circle(&waiting))
                );
            };
            waiting.remove(ready);
            for needs in waiting.values_mut() {
                needs.remove(ready);
            }
            if set.contains(ready) {
                order.push(ready.clone());
            }
        }
        Ok(order)
    }

    /// Every mount of a volume, those taken over with `volumes_from` included; a service that mounts it twice is
    /// named twice.
    #[must_use]
    pub fn uses_of(&self, key: &VolumeKey) -> Vec<Use<'_>> {
        let mut uses = Vec::new();
        for service in self.services.values() {
            for (owner, read_only) in self.mounts_come_from(service) {
                for mount in owner.mounts.iter().filter(|mount| mount.volume() == Some(key)) {
                    uses.push(Use {
                        service: &service.name,
                        mount,
                        read_only: read_only || mount.read_only,
                        from: (owner.name != service.name).then_some(&owner.name),
                    });
                }
            }
        }
        uses
    }

    /// The services that mount a volume.
    #[must_use]
    pub fn users_of(&self, key: &VolumeKey) -> BTreeSet<ServiceName> {
        self.uses_of(key)
            .into_iter()
            .map(|usage| usage.service.clone())
            .collect()
    }

    /// The mounts that lie below a mount of this volume, and those that it lies below.
    #[must_use]
    pub fn nested_with(&self, key: &VolumeKey) -> Vec<Nested<'_>> {
        let mut nested = Vec::new();
        for service in self.services.values() {
            for outer in &service.mounts {
                for inner in &service.mounts {
                    let concerns = outer.volume() == Some(key) || inner.volume() == Some(key);
                    if concerns && is_below(&inner.target, &outer.target) {
                        nested.push(Nested {
                            service: &service.name,
                            outer,
                            inner,
                        });
                    }
                }
            }
        }
        nested
    }

    /// The service itself and those whose mounts it takes over, with whether they arrive read-only.
    fn mounts_come_from<'a>(&'a self, service: &'a Service) -> Vec<(&'a Service, bool)> {
        let mut found: Vec<(&Service, bool)> = vec![(service, false)];
        let mut at = 0;
        while let Some((current, read_only)) = found.get(at).copied() {
            for from in &current.volumes_from {
                let VolumesSource::Service(name) = &from.source else {
                    continue;
                };
                let Some(owner) = self.services.get(name) else {
                    continue;
                };
                if !found.iter().any(|(known, _)| known.name == owner.name) {
                    found.push((owner, read_only || from.read_only));
                }
            }
            at += 1;
        }
        found
    }
}

fn is_below(inner: &str, outer: &str) -> bool {
    let outer = outer.trim_end_matches('/');
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// One circle, in words: `a -> b -> a`.
fn circle(waiting: &BTreeMap<&ServiceName, BTreeSet<&ServiceName>>) -> String {
    let mut path: Vec<&ServiceName> = Vec::new();
    let mut next = waiting.keys().next().copied();
    while let Some(name) = next {
        if let Some(start) = path.iter().position(|known| *known == name) {
            let mut names: Vec<&str> = path[start..].iter().map(|name| name.as_str()).collect();
            names.push(name.as_str());
            return names.join(" -> ");
        }
        path.push(name);
        next = waiting.get(name).and_then(|needs| needs.iter().next().copied());
    }
    path.iter()
        .map(|name| name.as_str())
        .collect::<Vec<_>>()
        .join(" -> ")
}

#[cfg(test)]
mod tests;

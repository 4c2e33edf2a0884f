//! The directories of the project's sites, looked at as its volumes are: what is in each, who else has it, and whether the
//! block volume is there that it should be on.

use super::{
    Depth, ForeignUse, Known, Observer, ServiceSeen, SiteChecked, SiteKnown, SiteSeen, VolumeMount,
    VolumeSeen, meant_in_time,
};
use crate::compose::project::MountSource;
use crate::model::{Failure, Home, Result};
use crate::site::SiteDir;
use crate::site::place::{Place, look};

impl Observer<'_> {
    /// Notes which services have them by the project's files.
    pub(super) fn mount_sites(&self, services: &mut [ServiceSeen], sites: &[SiteDir]) {
        for service in services {
            let declared = self.project.services.get(&service.name);
            for mount in declared.iter().flat_map(|declared| &declared.mounts) {
                let MountSource::Bind { source, .. } = &mount.source else {
                    continue;
                };
                if let Some(site) = sites.iter().find(|site| site.dir == *source) {
                    service.mounts.push(VolumeMount {
                        volume: site.name.key(),
                        target: mount.target.clone(),
                        read_only: mount.read_only,
                        subpath: None,
                    });
                }
            }
        }
    }

    pub(super) async fn sites(&self, services: &[ServiceSeen], depth: &Depth) -> Result<Vec<VolumeSeen>> {
        let mut seen = Vec::new();
        for site in &depth.sites {
            let key = site.name.key();
            if self.project.volumes.contains_key(&key) {
                return Err(Failure::refused(format!(
                    "volume `{key}` is called as the directory of site {} is in a backup",
                    site.name
                ))
                .data("nothing was changed")
                .hint("give the volume another key in the Compose file"));
            }
            // First, for a disk that hangs is said there.
            let meant = meant_in_time(site.dir.clone()).await?;
            let (place, root_there) = place_of(site);
            let mut volume = VolumeSeen {
                key,
                name: site.name.volume_name(),
                external: false,
                exists: matches!(place, Ok(Place::There { .. })),
                home: Home::Block {
                    dir: site.dir.clone(),
                },
                scan: None,
                probe: None,
                unseen: place.err(),
                datastores: Vec::new(),
                foreign: self.foreign_in(site, services).await?,
                site: Some(SiteSeen {
                    of: site.clone(),
                    root_there,
                    meant,
                }),
            };
            if volume.exists {
                match self.scan(&mut volume, services).await {
                    Err(failure) if depth.tolerant => volume.unseen = Some(failure),
                    looked => looked?,
                }
            }
            seen.push(volume);
        }
        Ok(seen)
    }

    /// What a check-up wants to know of them. Those of another machine are not looked at.
    pub(super) fn checked_sites(&self, known: &Known) -> Vec<SiteChecked> {
        let local = self.engine.host().is_local();
        let checked = |site: &SiteKnown| SiteChecked {
            there: match &site.dir {
                Some(dir) if local => {
                    let (place, _) = place_of(&SiteDir {
                        name: site.name.clone(),
                        dir: dir.clone(),
                    });
                    place
                        .map(|place| place != Place::Missing)
                        .map_err(|failure| failure.to_string())
                }
                _ => Ok(true),
            },
            known: site.clone(),
        };
        known.sites.iter().map(checked).collect()
    }

    /// Containers that have the directory writable and are none of the project's services.
    async fn foreign_in(&self, site: &SiteDir, services: &[ServiceSeen]) -> Result<Vec<ForeignUse>> {
        let writers = self.engine.writers_in(&site.dir).await?;
        let own = |id| services.iter().flat_map(|s| &s.containers).any(|c| c.id == id);
        let others = writers.into_iter().filter(|writer| !own(writer.id.clone()));
        Ok(others
            .map(|other| ForeignUse {
                running: other.state.is_up(),
                writable: true,
                container: other.name,
            })
            .collect())
    }
}

/// What is where a site has its directory, and whether the root is there. Only a directory of this name in a root is one,
/// and no symlink leads to it.
fn place_of(site: &SiteDir) -> (Result<Place>, bool) {
    match site.dir.parent() {
        Some(root) if site.dir.ends_with(site.name.as_str()) => (look(root, &site.name), root.is_dir()),
        _ => {
            let failure = Failure::refused(format!(
                "{} is not a directory of site {}",
                site.dir.display(),
                site.name
            ));
            (Err(failure.data("nothing was changed")), false)
        }
    }
}

//! The project's volumes: where each lives, what is in it, who else has it.

use super::{Depth, ForeignUse, Observer, ServiceSeen, VolumeSeen, wrong_answer};
use crate::datastore::Datastore;
use crate::helper::protocol::{Answer, Request};
use crate::model::{Home, Result};
use crate::steps::{FROM, mount_of};

impl Observer<'_> {
    pub(super) async fn volumes(&self, services: &[ServiceSeen], depth: &Depth) -> Result<Vec<VolumeSeen>> {
        let mut seen = Vec::new();
        for declared in self.project.volumes.values() {
            let found = self.engine.find_volume(&declared.name).await?;
            let mut volume = VolumeSeen {
                key: declared.key.clone(),
                name: declared.name.clone(),
                external: declared.external,
                exists: found.is_some(),
                home: found.as_ref().map_or(Home::Volume, crate::engine::Volume::home),
                scan: None,
                probe: None,
                unseen: None,
                datastores: Vec::new(),
                foreign: self.foreign(declared, services).await?,
                site: None,
            };
            let wanted = depth
                .scan
                .as_ref()
                .is_none_or(|keys| keys.contains(&declared.key));
            if volume.exists && wanted && !matches!(volume.home, Home::Other { .. }) {
                match self.scan(&mut volume, services).await {
                    Err(failure) if depth.tolerant => volume.unseen = Some(failure),
                    looked => looked?,
                }
            }
            seen.push(volume);
        }
        Ok(seen)
    }

    pub(super) async fn scan(&self, volume: &mut VolumeSeen, services: &[ServiceSeen]) -> Result<()> {
        let mount = mount_of((&volume.name, volume.site_dir()), FROM.into(), true);
        let request = Request::Scan { dir: FROM.into() };
        let scan = match self.ask(request, vec![mount.clone()], Some(&volume.key)).await? {
            Answer::Scan(scan) => scan,
            other => return Err(wrong_answer(&other)),
        };
        let request = Request::Probe {
            dir: FROM.into(),
            below: Vec::new(),
        };
        match self.ask(request, vec![mount], Some(&volume.key)).await? {
            Answer::Probe(probe) => volume.probe = Some(probe),
            other => return Err(wrong_answer(&other)),
        }
        volume.datastores = scan
            .datastores
            .iter()
            .filter_map(|sign| Datastore::from_sign(sign, volume.key.clone()))
            .collect();
        for store in &mut volume.datastores {
            store.service = services
                .iter()
                .find(|s| s.server == Some(store.kind) && s.mounts_volume(&volume.key))
                .map(|s| s.name.clone());
        }
        volume.scan = Some(scan);
        Ok(())
    }

    /// Containers that have the volume or its directory and are none of the project's services: of other projects,
    /// made by hand, of `docker compose run`, or of a service that the files no longer have.
    async fn foreign(
        &self,
        declared: &crate::compose::project::Volume,
        services: &[ServiceSeen],
    ) -> Result<Vec<ForeignUse>> {
        let mut users = self.engine.containers_with_volume(&declared.name).await?;
        for writer in self.engine.writers_of(&declared.name).await? {
            if !users.iter().any(|u| u.id == writer.id) {
                users.push(writer);
            }
        }
        let own =
            |id: &crate::model::ContainerId| services.iter().flat_map(|s| &s.containers).any(|c| c.id == *id);
        let volume = crate::engine::MountKind::Volume(declared.name.clone());
        Ok(users
            .into_iter()
            .filter(|user| !own(&user.id))
            .map(|user| ForeignUse {
                running: user.state.is_up(),
                // A bind of its directory is listed only when it is writable.
                writable: user.mounts.iter().all(|m| m.kind != volume)
                    || user.mounts.iter().any(|m| m.kind == volume && m.writable),
                container: user.name,
            })
            .collect())
    }
}

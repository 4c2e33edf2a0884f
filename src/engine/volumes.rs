//! Docker volumes.

use std::collections::{BTreeMap, HashMap};

use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptionsBuilder};
use serde::{Deserialize, Serialize};

use super::{Engine, failed, is_missing};
use crate::model::{Failure, Home, Result, VolumeName};

/// A Docker volume as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Full name.
    pub name: VolumeName,
    /// `local`, or a plug-in.
    pub driver: String,
    /// Options it was made with.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Directory on the engine's host.
    pub mountpoint: String,
}

impl Volume {
    /// Where its data lives.
    #[must_use]
    pub fn home(&self) -> Home {
        if self.driver != "local" {
            return Home::Other {
                what: format!("driver {}", self.driver),
            };
        }
        let option = |name: &str| self.options.get(name).map(String::as_str).unwrap_or_default();
        if self.options.is_empty() {
            return Home::Volume;
        }
        let is_bind = option("o").split(',').any(|o| o == "bind" || o == "rbind");
        if is_bind && option("device").starts_with('/') {
            Home::Block {
                dir: option("device").into(),
            }
        } else {
            Home::Other {
                what: format!("type {} of {}", option("type"), option("device")),
            }
        }
    }
}

impl Engine {
    /// One volume by its full name; `None` if there is none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn find_volume(&self, name: &VolumeName) -> Result<Option<Volume>> {
        match self.docker.inspect_volume(name.as_str()).await {
            Ok(volume) => Ok(Some(describe(volume)?)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed(format!("cannot inspect volume {name}"))(error)),
        }
    }

    /// Every volume of the engine that carries a label, or all.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn volumes(&self, label: Option<&str>) -> Result<Vec<Volume>> {
        self.volumes_where(label.map(|l| ("label", vec![l])).into_iter().collect())
            .await
    }

    /// The volumes that no container has, not even one that is stopped: what `docker volume prune -a` removes.
    /// <https://docs.docker.com/reference/cli/docker/volume/ls/#filter>
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn unused_volumes(&self) -> Result<Vec<Volume>> {
        self.volumes_where(HashMap::from([("dangling", vec!["true"])]))
            .await
    }

    async fn volumes_where(&self, filters: HashMap<&str, Vec<&str>>) -> Result<Vec<Volume>> {
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let list = self
            .docker
            .list_volumes(Some(options))
            .await
            .map_err(failed("cannot list the volumes"))?;
        let mut volumes = list
            .volumes
            .unwrap_or_default()
            .into_iter()
            .map(describe)
            .collect::<Result<Vec<_>>>()?;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Makes a plain local volume with labels; one of that name that is already there must carry the same labels.
    ///
    /// # Errors
    /// When the engine refuses, or a foreign volume has the name.
    pub async fn create_volume(&self, name: &VolumeName, labels: &BTreeMap<String, String>) -> Result<()> {
        if let Some(there) = self.find_volume(name).await? {
            let same = labels.iter().all(|(k, v)| there.labels.get(k) == Some(v));
            return if same {
                Ok(())
            } else {
                Err(Failure::environment(format!(
                    "a volume named {name} exists already, and is not this run's"
                ))
                .hint(format!("look at it with `docker volume inspect {name}`")))
            };
        }
        let request = VolumeCreateRequest {
            name: Some(name.to_string()),
            driver: Some("local".into()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        self.docker
            .create_volume(request)
            .await
            .map_err(failed(format!("cannot make volume {name}")))?;
        Ok(())
    }

    /// Removes a volume that this run made: it must carry the label. Gone already is fine.
    ///
    /// # Errors
    /// When it is not this run's, or still in use.
    pub async fn remove_own_volume(&self, name: &VolumeName, label: (&str, &str)) -> Result<()> {
        let Some(volume) = self.find_volume(name).await? else {
            return Ok(());
        };
        if volume.labels.get(label.0).map(String::as_str) != Some(label.1) {
            return Err(Failure::bug(format!(
                "asked to remove volume {name}, which is not labelled {}={}",
                label.0, label.1
            )));
        }
        self.delete_volume(name).await
    }

    /// Removes the definition of a volume whose data lives in a bound directory: the data stays where it is.
    ///
    /// # Errors
    /// When the volume holds data itself, or is in use.
    pub async fn remove_bound_definition(&self, name: &VolumeName) -> Result<()> {
        match self.find_volume(name).await? {
            None => Ok(()),
            Some(volume) if matches!(volume.home(), Home::Block { .. }) => self.delete_volume(name).await,
            Some(_) => Err(Failure::bug(format!(
                "asked to remove volume {name}, which holds data itself"
            ))),
        }
    }

    async fn delete_volume(&self, name: &VolumeName) -> Result<()> {
        let options = RemoveVolumeOptionsBuilder::new().force(false).build();
        match self.docker.remove_volume(name.as_str(), Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(failed(format!("cannot remove volume {name}"))(error)),
        }
    }
}

fn describe(volume: bollard::models::Volume) -> Result<Volume> {
    Ok(Volume {
        name: VolumeName::new(volume.name)
            .map_err(|e| Failure::environment("the engine names a strange volume").because(&e))?,
        driver: volume.driver,
        options: volume.options.into_iter().collect(),
        labels: volume.labels.into_iter().collect(),
        mountpoint: volume.mountpoint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(driver: &str, options: &[(&str, &str)]) -> Volume {
        Volume {
            name: VolumeName::new("v").unwrap(),
            driver: driver.into(),
            options: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            labels: BTreeMap::new(),
            mountpoint: String::new(),
        }
    }

    #[test]
    fn the_home_follows_from_driver_and_options() {
        assert_eq!(volume("local", &[]).home(), Home::Volume);
        let bind = volume(
            "local",
            &[
                ("type", "none"),
                ("o", "bind"),
                ("device", "/mnt/kms-data/postgres"),
            ],
        );
        assert_eq!(
            bind.home(),
            Home::Block {
                dir: "/mnt/kms-data/postgres".into()
            }
        );
        let nfs = volume(
            "local",
            &[("type", "nfs"), ("o", "addr=10.0.0.1"), ("device", ":/export")],
        );
        assert_eq!(
            nfs.home(),
            Home::Other {
                what: "type nfs of :/export".into()
            }
        );
        assert_eq!(
            volume("rexray", &[]).home(),
            Home::Other {
                what: "driver rexray".into()
            }
        );
    }
}

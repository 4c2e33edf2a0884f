//! Makes the new homes: a directory each on the block volume (or a fresh Docker volume), and the run's own small
//! volume for manifests. Undo removes what was made, and only that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::spec::{Moving, TO, Target};
use super::world::{Cx, wrong_answer};
use crate::engine::{HelperMount, LABEL_PROJECT, LABEL_RUN};
use crate::helper::protocol::{Answer, Place, Probe, Request};
use crate::model::{Failure, Result};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeHomes {
    /// The volumes.
    pub volumes: Vec<Moving>,
}

/// What was there before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    /// Whether each directory was there already, empty.
    existed: Vec<bool>,
    /// The file systems of the block volumes by mount point, so that they are recognised later.
    file_systems: BTreeMap<PathBuf, FileSystem>,
}

/// Recognises a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileSystem {
    device: String,
    id: String,
}

impl From<&Probe> for FileSystem {
    fn from(probe: &Probe) -> Self {
        Self {
            device: probe.device.clone(),
            id: probe.fs_id.clone(),
        }
    }
}

impl Step for MakeHomes {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let names: Vec<_> = self.volumes.iter().map(|v| v.target.describe()).collect();
        format!("make {}", names.join(", "))
    }

    async fn prepare(&self, cx: &Cx) -> Result<Before> {
        let mut before = Before {
            existed: Vec::new(),
            file_systems: BTreeMap::new(),
        };
        for moving in &self.volumes {
            match &moving.target {
                Target::Directory { root, sub, .. } => {
                    let probe = probe(cx, root, sub).await?;
                    before.file_systems.insert(root.clone(), FileSystem::from(&probe));
                    match probe.below.first() {
                        Some(Place::Missing) => before.existed.push(false),
                        Some(Place::Empty) => before.existed.push(true),
                        _ => {
                            return Err(Failure::environment(format!(
                                "{} is no longer free: something was put there since the plan was made",
                                root.join(sub).display()
                            )));
                        }
                    }
                }
                Target::Volume { name } => {
                    if cx.engine.find_volume(name).await?.is_some() {
                        return Err(Failure::environment(format!(
                            "volume {name} exists already: it was made since the plan was made"
                        )));
                    }
                    before.existed.push(false);
                }
            }
        }
        Ok(before)
    }

    async fn apply(&self, cx: &Cx, _: &Before) -> Result<()> {
        cx.engine
            .create_volume(&cx.state_volume()?, &own_labels(cx))
            .await?;
        for moving in &self.volumes {
            make_one(cx, moving).await?;
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, before: &Before) -> Result<Option<String>> {
        for moving in &self.volumes {
            match &moving.target {
                Target::Directory { root, sub, .. } => {
                    let probe = probe(cx, root, sub).await?;
                    if before.file_systems.get(root) != Some(&FileSystem::from(&probe)) {
                        return Err(Failure::environment(format!(
                            "{} is another file system now",
                            root.display()
                        )));
                    }
                    if !matches!(probe.below.first(), Some(Place::Empty | Place::Filled { .. })) {
                        return Err(Failure::environment(format!(
                            "{} was not made",
                            root.join(sub).display()
                        )));
                    }
                }
                Target::Volume { name } => {
                    if cx.engine.find_volume(name).await?.is_none() {
                        return Err(Failure::environment(format!("volume {name} was not made")));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        for (moving, existed) in self.volumes.iter().zip(&before.existed) {
            self.undo_one(cx, moving, *existed, before).await?;
        }
        cx.engine
            .remove_own_volume(&cx.state_volume()?, (LABEL_RUN, cx.run.as_str()))
            .await
    }
}

impl MakeHomes {
    async fn undo_one(&self, cx: &Cx, moving: &Moving, existed: bool, before: &Before) -> Result<()> {
        let users = match (&moving.site, &moving.target) {
            (Some(_), Target::Directory { root, sub, .. }) => cx.engine.writers_in(&root.join(sub)).await?,
            _ => {
                let volume = moving.target.volume_name();
                cx.engine.containers_with_volume(volume).await?
            }
        };
        if let Some(user) = users.first() {
            return Err(Failure::environment(format!(
                "container {} still uses the new home of {}; it was left alone",
                user.name, moving.key
            ))
            .hint(format!("look at it with `docker inspect {}`", user.name)));
        }
        match &moving.target {
            Target::Volume { name } => {
                if super::keep::was_kept(&cx.run_dir, &moving.key)? {
                    return Ok(());
                }
                cx.engine
                    .remove_own_volume(name, (LABEL_RUN, cx.run.as_str()))
                    .await
            }
            Target::Directory { root, sub, name } => {
                // The directory of a site is none of the engine's volumes.
                if moving.site.is_none() {
                    cx.engine.remove_bound_definition(name).await?;
                }
                // Without the block volume there is nothing to remove, and the directory below its mount point is
                // not ours.
                match probe(cx, root, sub).await {
                    Ok(now) if before.file_systems.get(root) == Some(&FileSystem::from(&now)) => {}
                    Ok(_) | Err(_) => {
                        cx.events.warn(format!(
                            "{} is not the block volume it was: what this run had copied to {} could not be removed there",
                            root.display(),
                            sub.display()
                        ));
                        return Ok(());
                    }
                }
                let request = Request::Remove {
                    parent: TO.into(),
                    path: sub.clone(),
                };
                cx.uninterrupted(request, vec![root_mount(root, false)], "remove", None)
                    .await?;
                if existed {
                    let request = Request::MakeDir {
                        parent: TO.into(),
                        path: sub.clone(),
                    };
                    cx.uninterrupted(request, vec![root_mount(root, false)], "make", None)
                        .await?;
                }
                Ok(())
            }
        }
    }
}

fn own_labels(cx: &Cx) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_RUN.to_owned(), cx.run.to_string()),
        (LABEL_PROJECT.to_owned(), cx.project.to_string()),
    ])
}

/// Makes a home; there already and empty is fine.
async fn make_one(cx: &Cx, moving: &Moving) -> Result<()> {
    match &moving.target {
        Target::Directory { root, sub, .. } => {
            let request = Request::MakeDir {
                parent: TO.into(),
                path: sub.clone(),
            };
            cx.helper(request, vec![root_mount(root, false)], "make", None)
                .await
                .map(|_| ())
        }
        Target::Volume { name } => {
            // Labelled as Compose labels its own, so that it is taken for one of the project.
            let mut labels = own_labels(cx);
            labels.insert("com.docker.compose.project".into(), cx.project.to_string());
            labels.insert("com.docker.compose.volume".into(), moving.key.to_string());
            cx.engine.create_volume(name, &labels).await
        }
    }
}

/// Makes a home of this run anew, without what is in it.
pub(super) async fn make_again(cx: &Cx, moving: &Moving) -> Result<()> {
    match &moving.target {
        Target::Directory { root, sub, .. } => {
            let request = Request::Remove {
                parent: TO.into(),
                path: sub.clone(),
            };
            cx.helper(request, vec![root_mount(root, false)], "remove", None)
                .await?;
        }
        Target::Volume { name } => {
            cx.engine
                .remove_own_volume(name, (LABEL_RUN, cx.run.as_str()))
                .await?;
        }
    }
    make_one(cx, moving).await
}

fn root_mount(root: &Path, read_only: bool) -> HelperMount {
    HelperMount::Bind {
        source: root.to_string_lossy().into_owned(),
        target: TO.into(),
        read_only,
    }
}

async fn probe(cx: &Cx, root: &Path, sub: &Path) -> Result<Probe> {
    let request = Request::Probe {
        dir: TO.into(),
        below: vec![sub.to_owned()],
    };
    match cx
        .uninterrupted(request, vec![root_mount(root, false)], "probe", None)
        .await?
    {
        Answer::Probe(probe) => Ok(probe),
        other => Err(wrong_answer(&other)),
    }
}

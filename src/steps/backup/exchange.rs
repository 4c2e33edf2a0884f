//! Puts restored data in the place of the data that is there, and keeps that beside it: both are directories on one file
//! system, and they change their names at once. Undo changes them back.
//!
//! <https://man7.org/linux/man-pages/man2/rename.2.html> (`RENAME_EXCHANGE`)

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::HelperMount;
use crate::helper::protocol::{Answer, Number, Request};
use crate::model::{Failure, Result, VolumeKey};
use crate::saga::Step;
use crate::steps::stop::quiet;
use crate::steps::world::wrong_answer;
use crate::steps::{Cx, Moving, TO, Target};

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exchange {
    /// The volumes: `source` is what the services have, `target` what was restored beside it.
    pub volumes: Vec<Moving>,
    /// Where each has its data now, in the same order.
    pub homes: Vec<Data>,
    /// Only this path of each, and who has the volume goes on; relative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// The directory of a volume's data on the engine's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "in")]
pub enum Data {
    /// Docker's own, of the volume.
    Docker {},
    /// This one below this mount point.
    Directory {
        /// The mount point of the block volume.
        root: PathBuf,
        /// The directory below it.
        sub: PathBuf,
    },
}

/// The two directories of each volume, as they were: `left` is what the services had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pairs: Vec<Pair>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    key: VolumeKey,
    /// On the engine's host.
    parent: PathBuf,
    /// What the services mount, below the parent.
    left: PathBuf,
    /// What was restored.
    right: PathBuf,
    /// `None`: nothing was there.
    left_inode: Option<u64>,
    right_inode: u64,
}

impl Step for Exchange {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let keys: Vec<_> = self.volumes.iter().map(|v| v.key.as_str()).collect();
        let of = keys.join(", ");
        match &self.path {
            Some(path) => format!("put {} in its place in {of}", path.display()),
            None => format!("put what was restored in the place of {of}"),
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<Before> {
        let mut pairs = Vec::new();
        for (moving, home) in self.volumes.iter().zip(&self.homes) {
            let (parent, left, right) = paths(cx, moving, home)?;
            let whole = self.numbers(cx, &parent, &[left.clone(), right.clone()]).await?;
            let (now, restored) = match whole.as_slice() {
                [Some(now), Some(restored)] => (now, restored),
                // The directory of a site that somebody deleted: what was restored takes its place.
                [None, Some(restored)] if moving.site.is_some() && self.path.is_none() => {
                    pairs.push(Pair {
                        key: moving.key.clone(),
                        left_inode: None,
                        right_inode: restored.inode,
                        parent,
                        left,
                        right,
                    });
                    continue;
                }
                _ => {
                    return Err(Failure::environment(format!(
                        "the data of {} is not where it was",
                        moving.key
                    )));
                }
            };
            if now.device != restored.device {
                return Err(Failure::environment(format!(
                    "what was restored of {} is on another file system than its place",
                    moving.key
                )));
            }
            pairs.push(match &self.path {
                None => Pair {
                    key: moving.key.clone(),
                    left_inode: Some(now.inode),
                    right_inode: restored.inode,
                    parent,
                    left,
                    right,
                },
                Some(path) => {
                    self.pair_below(cx, &moving.key, (parent, left, right), path)
                        .await?
                }
            });
        }
        Ok(Before { pairs })
    }

    async fn apply(&self, cx: &Cx, before: &Before) -> Result<()> {
        if self.path.is_none() {
            quiet(cx, &self.volumes).await?;
        }
        for pair in &before.pairs {
            match pair.left_inode {
                Some(_) => self.exchange(cx, pair, pair.right_inode).await?,
                None => self.rename(cx, pair, (&pair.right, &pair.left)).await?,
            }
        }
        Ok(())
    }

    async fn verify(&self, cx: &Cx, before: &Before) -> Result<Option<String>> {
        for pair in &before.pairs {
            let numbers = self
                .numbers(cx, &pair.parent, &[pair.left.clone(), pair.right.clone()])
                .await?;
            let inodes: Vec<_> = numbers.iter().map(|n| n.as_ref().map(|n| n.inode)).collect();
            if inodes != [Some(pair.right_inode), pair.left_inode] {
                return Err(Failure::environment(format!(
                    "what was restored is not in the place of {}",
                    pair.key
                )));
            }
        }
        Ok(None)
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> Result<()> {
        cx.engine_answers().await?;
        cx.engine.remove_helpers(&cx.run).await?;
        for pair in before.pairs.iter().rev() {
            match pair.left_inode {
                Some(inode) => self.exchange(cx, pair, inode).await?,
                None => self.rename(cx, pair, (&pair.left, &pair.right)).await?,
            }
        }
        Ok(())
    }
}

impl Exchange {
    /// What changes places when only a path is restored: it, or the first directory on the way there that is missing.
    async fn pair_below(
        &self,
        cx: &Cx,
        key: &VolumeKey,
        (parent, left, right): (PathBuf, PathBuf, PathBuf),
        path: &Path,
    ) -> Result<Pair> {
        let mut prefixes: Vec<&Path> = path.ancestors().filter(|p| !p.as_os_str().is_empty()).collect();
        prefixes.reverse();
        let there: Vec<PathBuf> = prefixes.iter().map(|prefix| left.join(prefix)).collect();
        let restored: Vec<PathBuf> = prefixes.iter().map(|prefix| right.join(prefix)).collect();
        let there_now = self.numbers(cx, &parent, &there).await?;
        let restored_now = self.numbers(cx, &parent, &restored).await?;
        let last = prefixes.len().saturating_sub(1);
        let place = there_now.iter().position(Option::is_none).unwrap_or(last);
        match (there.get(place), restored.get(place), restored_now.get(place)) {
            (Some(left), Some(right), Some(Some(number))) => Ok(Pair {
                key: key.clone(),
                left_inode: there_now[place].as_ref().map(|n| n.inode),
                right_inode: number.inode,
                parent,
                left: left.clone(),
                right: right.clone(),
            }),
            _ => Err(Failure::environment(format!(
                "{} of {key} was not restored",
                path.display()
            ))),
        }
    }

    async fn rename(&self, cx: &Cx, pair: &Pair, (from, to): (&Path, &Path)) -> Result<()> {
        let request = Request::Rename {
            parent: TO.into(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        cx.uninterrupted(
            request,
            vec![mount(&pair.parent, false)],
            "rename",
            Some(&pair.key),
        )
        .await
        .map(|_| ())
    }

    async fn exchange(&self, cx: &Cx, pair: &Pair, left_inode: u64) -> Result<()> {
        let request = Request::Exchange {
            parent: TO.into(),
            left: pair.left.clone(),
            right: pair.right.clone(),
            left_inode,
        };
        cx.uninterrupted(
            request,
            vec![mount(&pair.parent, false)],
            "exchange",
            Some(&pair.key),
        )
        .await
        .map(|_| ())
    }

    async fn numbers(&self, cx: &Cx, parent: &Path, below: &[PathBuf]) -> Result<Vec<Option<Number>>> {
        let request = Request::Numbers {
            parent: TO.into(),
            paths: below.to_vec(),
        };
        match cx
            .uninterrupted(request, vec![mount(parent, true)], "numbers", None)
            .await?
        {
            Answer::Numbers { numbers } => Ok(numbers),
            other => Err(wrong_answer(&other)),
        }
    }
}

fn mount(parent: &Path, read_only: bool) -> HelperMount {
    HelperMount::Bind {
        source: parent.to_string_lossy().into_owned(),
        target: TO.into(),
        read_only,
    }
}

/// The directory that holds both, and where both are below it.
fn paths(cx: &Cx, moving: &Moving, home: &Data) -> Result<(PathBuf, PathBuf, PathBuf)> {
    match (home, &moving.target) {
        // <https://docs.docker.com/engine/storage/volumes/>: the engine keeps the data of `local` volumes there.
        (Data::Docker {}, Target::Volume { name }) => {
            let data = |name: &crate::model::VolumeName| PathBuf::from(name.as_str()).join("_data");
            let parent = PathBuf::from(cx.engine.data_root()).join("volumes");
            Ok((parent, data(&moving.source), data(name)))
        }
        (Data::Directory { root, sub }, Target::Directory { sub: beside, .. }) => {
            Ok((root.clone(), sub.clone(), beside.clone()))
        }
        _ => Err(Failure::bug("data was restored where its place is not")),
    }
}

//! Makes the directory of a site, with its owner, unless it is there. Undo removes it if nothing is in it: what a new
//! container wrote is kept, and said.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Failure, Kind, Owner, Result, SiteName};
use crate::saga::Step;
use crate::site::place::{self, Place};
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeData {
    /// The root of all sites, without symlinks.
    pub root: PathBuf,
    /// The site.
    pub site: SiteName,
    /// Whose it shall be.
    pub owner: Owner,
    /// What was there when the plan was made.
    pub there: Place,
}

/// What was there before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Before {
    existed: bool,
    /// What of the root was missing, the uppermost first.
    missing: Vec<PathBuf>,
    /// The file system that it is on.
    device: u64,
}

impl MakeData {
    fn path(&self) -> PathBuf {
        self.root.join(self.site.as_str())
    }

    fn same_disk(&self, before: &Before) -> Result<()> {
        match place::device(&self.root)? == before.device {
            true => Ok(()),
            false => Err(Failure::environment(format!(
                "{} is on another file system than when this began",
                self.root.display()
            ))
            .cause("something was mounted there since, or is no longer")),
        }
    }
}

impl Step for MakeData {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let path = self.path();
        match self.there {
            Place::Missing => format!("make {}, owner {}", path.display(), self.owner),
            Place::There { .. } => format!("take {} as it is", path.display()),
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<Before> {
        let now = place::look(&self.root, &self.site)?;
        let same = match (now, self.there) {
            (Place::Missing, Place::Missing) => true,
            (Place::There { owner: now, .. }, Place::There { owner: then, .. }) => now == then,
            _ => false,
        };
        if !same {
            return Err(Failure::environment(format!(
                "{} is not as it was when the plan was made",
                self.path().display()
            )));
        }
        Ok(Before {
            existed: now != Place::Missing,
            missing: place::missing_of(&self.root),
            device: place::device(&self.root)?,
        })
    }

    async fn apply(&self, _: &Cx, before: &Before) -> Result<()> {
        self.same_disk(before)?;
        match before.existed {
            true => Ok(()),
            false => place::make(&self.root, &self.site, self.owner),
        }
    }

    async fn verify(&self, _: &Cx, before: &Before) -> Result<Option<String>> {
        self.same_disk(before)?;
        match place::look(&self.root, &self.site)? {
            Place::There { owner, mode, .. } if before.existed || owner == self.owner => {
                Ok(Some(format!("owner {owner}, mode {mode:o}")))
            }
            Place::There { owner, .. } => Err(Failure::environment(format!(
                "{} belongs to {owner}, and was made for {}",
                self.path().display(),
                self.owner
            ))),
            Place::Missing => Err(Failure::environment(format!(
                "{} was not made",
                self.path().display()
            ))),
        }
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> Result<()> {
        if before.existed {
            return Ok(());
        }
        // Without its disk there is nothing to remove, and what is in the place of that is not ours.
        if self.same_disk(before).is_err() {
            cx.events.warn(format!(
                "{} is not on the file system that it was on: the directory of {} could not be removed there",
                self.root.display(),
                self.site
            ));
            return Ok(());
        }
        match place::remove_empty(&self.root, &self.site, &before.missing) {
            Ok(true) => {}
            Ok(false) => cx.events.warn(format!(
                "{} is kept: something was written to it meanwhile",
                self.path().display()
            )),
            // Somebody put a symlink, a file or a mount in its place: that is not ours.
            Err(failure) if failure.kind == Kind::Refused => {
                cx.events.warn(format!("{failure}: it is left as it is"));
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

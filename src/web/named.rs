//! What a path names: it is there, or the answer is 404.

use super::Server;
use super::problem::Problem;
use crate::model::{ProjectName, SiteName};
use crate::ops::site::Sites;
use crate::ops::{ProjectLine, Projects};

impl Server {
    /// The project of this name.
    pub(super) async fn project(&self, name: &ProjectName) -> Result<ProjectLine, Problem> {
        let wanted = name.clone();
        let found = self
            .ask(move |options| async move { Projects::new(options).find(&wanted).await })
            .await?;
        found.ok_or_else(|| Problem::missing(format!("there is no project {name}")))
    }

    /// Whether there is a site of this name: of its data nothing is looked at.
    pub(super) async fn has_site(&self, name: &SiteName) -> Result<(), Problem> {
        let wanted = name.clone();
        let there = self
            .ask(move |options| async move { Sites::new(options)?.has(&wanted) })
            .await?;
        match there {
            true => Ok(()),
            false => Err(Problem::missing(format!("there is no site {name}")).back("/sites")),
        }
    }
}

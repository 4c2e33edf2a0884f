//! Proves that a deployment left the data alone: every mount of data points where it pointed, and each database is the
//! one that it was (traps 1, 2 and 9).

use serde::{Deserialize, Serialize};

use crate::datastore::dump::identity_question;
use crate::engine::{Container, MountKind, same_path};
use crate::model::{Failure, Home, Result, ServiceName, count};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::stack::of_service;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameData {
    /// Where data was mounted when the plan was made.
    pub mounts: Vec<DataMount>,
    /// The databases that ran then.
    pub databases: Vec<SameDatabase>,
}

/// A volume or directory that a service has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataMount {
    /// The service.
    pub service: ServiceName,
    /// Where, in its containers.
    pub target: String,
    /// What.
    pub kind: MountKind,
    /// Where a volume's data lives; nothing for a directory, which says so itself.
    pub home: Option<Home>,
}

/// A database server, and what it says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SameDatabase {
    /// The service.
    pub service: ServiceName,
    /// As whom it is asked.
    pub user: String,
    /// Its answer to [`identity_question`].
    pub identity: String,
}

impl Step for SameData {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let mounts = count(self.mounts.len() as u64, "mount");
        match self.databases.len() as u64 {
            0 => format!("see that the data is where it was: {mounts}"),
            databases => {
                let databases = count(databases, "database");
                format!("see that the data is where it was: {mounts}, {databases}")
            }
        }
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        for mount in &self.mounts {
            for container in of_service(&containers, &mount.service) {
                same_mount(mount, container)?;
            }
            self.same_home(cx, mount).await?;
        }
        for database in &self.databases {
            same_database(cx, &containers, database).await?;
        }
        let mut said = format!("{} of data inspected", count(self.mounts.len() as u64, "mount"));
        for database in &self.databases {
            said.push_str(&format!(
                ", {} is the same one ({})",
                database.service, database.identity
            ));
        }
        Ok(Some(said))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl SameData {
    async fn same_home(&self, cx: &Cx, mount: &DataMount) -> Result<()> {
        let (MountKind::Volume(name), Some(home)) = (&mount.kind, &mount.home) else {
            return Ok(());
        };
        let now = cx.engine.find_volume(name).await?.map(|volume| volume.home());
        if now.as_ref() == Some(home) {
            return Ok(());
        }
        Err(Failure::environment(format!(
            "volume {name} of service `{}` is not where it was",
            mount.service
        ))
        .cause(match now {
            Some(now) => format!("it was {home} and is {now} now"),
            None => "it is gone".to_owned(),
        }))
    }
}

/// A mount that is no more is no data lost, but nobody asked a deployment to take data away from a service.
fn same_mount(mount: &DataMount, container: &Container) -> Result<()> {
    let now = container
        .mounts
        .iter()
        .find(|m| same_path(&m.destination, &mount.target))
        .map(|m| &m.kind);
    if now == Some(&mount.kind) {
        return Ok(());
    }
    let words = |kind: &MountKind| match kind {
        MountKind::Volume(name) => format!("volume {name}"),
        MountKind::Bind(path) => path.clone(),
        MountKind::Other(what) => what.clone(),
    };
    Err(Failure::environment(format!(
        "container {} does not have its data at {}",
        container.name, mount.target
    ))
    .cause(format!(
        "there was {} and there is {} now",
        words(&mount.kind),
        now.map_or_else(|| "nothing".to_owned(), words)
    )))
}

async fn same_database(cx: &Cx, containers: &[Container], database: &SameDatabase) -> Result<()> {
    let Some(container) = of_service(containers, &database.service).find(|c| c.state.is_up()) else {
        return Err(Failure::environment(format!(
            "service `{}` does not run",
            database.service
        )));
    };
    let asked = cx
        .engine
        .exec(
            &container.id,
            &identity_question(&database.user),
            None,
            ASK_LIMIT,
            &mut |_| {},
        )
        .await?;
    let said = asked.stdout.trim();
    if asked.code == 0 && said == database.identity {
        return Ok(());
    }
    Err(Failure::environment(format!(
        "the database of service `{}` is another one than before",
        database.service
    ))
    .cause(match asked.code {
        0 => format!("it was {} and is {said} now", database.identity),
        _ => asked.stderr.trim().to_owned(),
    }))
}

const ASK_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

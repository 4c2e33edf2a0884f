//! Proves that the stack works on its new homes: every container keeps running, the databases are the same ones, and
//! whoever could write before can write now.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::{FROM, Moving, Starting, TO};
use super::stack::stay_up;
use super::stop::{ask_control, controls, postgres_in};
use super::world::{Cx, wrong_answer};
use crate::engine::HelperMount;
use crate::helper::protocol::{Answer, Request};
use crate::model::{Failure, Owner, Result, ServiceName, VolumeKey, count};
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prove {
    /// The services that must be up.
    pub services: Vec<Starting>,
    /// The volumes.
    pub volumes: Vec<Moving>,
    /// Who writes where.
    pub writers: Vec<Writer>,
    /// For how long every container must run without a restart.
    pub stable: Duration,
    /// The limit for each service.
    pub limit: Duration,
}

/// A service that writes to a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The service.
    pub service: ServiceName,
    /// The volume.
    pub volume: VolumeKey,
}

impl Step for Prove {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        "prove that the stack works there".to_owned()
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let mut proofs = vec![stay_up(cx, &self.services, self.stable, self.limit).await?];
        proofs.extend(self.same_databases(cx).await?);
        let writers = self.writers_can_write(cx).await?;
        if writers > 0 {
            proofs.push(format!("{} can write", count(writers as u64, "writer")));
        }
        Ok(Some(proofs.join(", ")))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl Prove {
    async fn same_databases(&self, cx: &Cx) -> Result<Vec<String>> {
        let databases: Vec<_> = postgres_in(&self.volumes).collect();
        let asks = databases.iter().flat_map(|(moving, path)| {
            let places = [moving.source_mount(), moving.target_mount(true)];
            places.map(|place| ask_control(moving, place, path))
        });
        let controls = controls(cx, asks.collect()).await?;
        let mut proofs = Vec::new();
        for ((moving, _), pair) in databases.iter().zip(controls.chunks_exact(2)) {
            let (before, after) = (&pair[0], &pair[1]);
            if before.system_identifier != after.system_identifier || before.version != after.version {
                return Err(Failure::environment(format!(
                    "the PostgreSQL on the new home of `{}` is another one",
                    moving.key
                ))
                .cause(format!(
                    "system identifier {} (version {}) before, {} (version {}) now",
                    before.system_identifier, before.version, after.system_identifier, after.version
                )));
            }
            proofs.push(format!(
                "PostgreSQL is the same one ({})",
                after.system_identifier
            ));
        }
        Ok(proofs)
    }

    /// A user that could write to the root of the old home and cannot write to that of the new one is a failure; one
    /// that never could is none.
    async fn writers_can_write(&self, cx: &Cx) -> Result<usize> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut asked: Vec<(VolumeKey, Owner)> = Vec::new();
        for writer in &self.writers {
            let Some(container) = containers
                .iter()
                .find(|c| !c.one_off && c.service.as_ref() == Some(&writer.service))
            else {
                continue;
            };
            let user = cx.engine.numeric_user(container).await?;
            if asked.contains(&(writer.volume.clone(), user)) {
                continue;
            }
            asked.push((writer.volume.clone(), user));
            let Some(moving) = self.volumes.iter().find(|m| m.key == writer.volume) else {
                continue;
            };
            let source = HelperMount::Volume {
                name: moving.source.clone(),
                target: FROM.into(),
                read_only: false,
            };
            let target = HelperMount::Volume {
                name: moving.target.volume_name().clone(),
                target: TO.into(),
                read_only: false,
            };
            let request = Request::Access {
                dirs: vec![Path::new(FROM).to_owned(), Path::new(TO).to_owned()],
            };
            match cx.as_user(request, vec![source, target], user).await? {
                Answer::Access { writable } => {
                    if let [true, false] = writable[..] {
                        return Err(Failure::environment(format!(
                            "service `{}` runs as {user} and cannot write to the new home of `{}`",
                            writer.service, writer.volume
                        ))
                        .hint("its owner was changed by the configuration: look at `owner` in rehome.yml and at --owner"));
                    }
                }
                other => return Err(wrong_answer(&other)),
            }
        }
        Ok(asked.len())
    }
}

//! Dumps a database before anything changes, into files beside the run's journal; each is read back before it counts.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::datastore::Kind;
use crate::datastore::dump::{self, Part, Proof};
use crate::engine::{Container, Stdin};
use crate::model::{ByteSize, Failure, Result, ServiceName, count};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::stack::of_service;

/// A large database on a slow disk.
const LIMIT: Duration = Duration::from_secs(12 * 3600);
/// A server has so many databases at most that Rehome dumps.
const MOST: usize = 1000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// What is dumped.
    pub what: Dumping,
}

/// A database server that is dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumping {
    /// Its service.
    pub service: ServiceName,
    /// Its kind.
    pub kind: Kind,
    /// As whom it is asked.
    pub user: String,
}

impl Step for Dump {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("dump {} in {}", self.what.kind, self.what.service)
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        let container = self.container(cx).await?;
        let directory = self.directory(cx);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|e| self.cannot_write(&directory, &e))?;
        for part in self.parts(cx, &container).await? {
            self.write(cx, &container, &part).await?;
        }
        crate::state::sync_dir(&directory)
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let container = self.container(cx).await?;
        let parts = self.parts(cx, &container).await?;
        let mut bytes = 0;
        for part in &parts {
            bytes += self.whole(cx, &container, part).await?;
        }
        Ok(Some(format!(
            "{} in {} written and read back: {}",
            ByteSize(bytes),
            count(parts.len() as u64, "file"),
            self.directory(cx).display()
        )))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        // It is what a person may need next.
        Ok(())
    }
}

impl Dump {
    /// Where the files of a run's dumps are, by service.
    pub const DIRECTORY: &str = "dumps";

    fn directory(&self, cx: &Cx) -> PathBuf {
        cx.run_dir.join(Self::DIRECTORY).join(self.what.service.as_str())
    }

    async fn container(&self, cx: &Cx) -> Result<Container> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let mut up = of_service(&containers, &self.what.service).filter(|c| c.state.is_up());
        up.next().cloned().ok_or_else(|| {
            Failure::environment(format!(
                "service `{}` does not run: it cannot be dumped",
                self.what.service
            ))
        })
    }

    async fn parts(&self, cx: &Cx, container: &Container) -> Result<Vec<Part>> {
        match self.what.kind {
            Kind::Postgres => {
                let question = dump::databases_question(&self.what.user);
                let asked = cx
                    .engine
                    .exec(&container.id, &question, None, LIMIT, &mut |_| {})
                    .await?;
                if asked.code != 0 {
                    return Err(self.failed("its databases cannot be listed", &asked.stderr));
                }
                let names: Vec<&str> = asked.stdout.lines().filter(|line| !line.is_empty()).collect();
                if names.is_empty() || names.len() > MOST {
                    return Err(self.failed(&format!("it has {} databases", names.len()), ""));
                }
                let mut parts = vec![dump::postgres_globals(&self.what.user)];
                parts.extend(
                    names
                        .into_iter()
                        .map(|name| dump::postgres_database(&self.what.user, name)),
                );
                Ok(parts)
            }
            Kind::Redis => Ok(vec![dump::redis()]),
            other => Err(Failure::bug(format!(
                "a dump of {other} was planned, and nobody knows how"
            ))),
        }
    }

    /// Under another name until it is whole.
    async fn write(&self, cx: &Cx, container: &Container, part: &Part) -> Result<()> {
        let path = self.directory(cx).join(&part.file);
        let partial = self.directory(cx).join(format!("{}.partial", part.file));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&partial)
            .map_err(|e| self.cannot_write(&partial, &e))?;
        let streaming = cx
            .engine
            .exec_to(&container.id, &part.write, Stdin::Empty, LIMIT, &mut file);
        let ended = tokio::select! {
            biased;
            () = cx.interrupt.raised() => Err(Failure::interrupted("interrupted")),
            ended = streaming => ended,
        }?;
        if ended.code != 0 {
            return Err(self.failed(
                &format!("`{}` ended with {}", part.write[0], ended.code),
                &ended.stderr,
            ));
        }
        file.sync_all().map_err(|e| self.cannot_write(&partial, &e))?;
        std::fs::rename(&partial, &path).map_err(|e| self.cannot_write(&path, &e))
    }

    /// Whether a file is whole; its size.
    async fn whole(&self, cx: &Cx, container: &Container, part: &Part) -> Result<u64> {
        let path = self.directory(cx).join(&part.file);
        let unreadable = |e: std::io::Error| {
            Failure::environment(format!("cannot read the dump {}", path.display())).because(&e)
        };
        let mut file = File::open(&path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let broken = |why: String| {
            Failure::environment(format!("the dump {} is not whole", path.display()))
                .cause(why)
                .data("nothing was changed yet")
        };
        if size == 0 {
            return Err(broken("it is empty".to_owned()));
        }
        match &part.proof {
            Proof::BeginsWith(bytes) => {
                let mut start = vec![0; bytes.len()];
                file.read_exact(&mut start).map_err(unreadable)?;
                if start != *bytes {
                    return Err(broken("it does not begin as it should".to_owned()));
                }
            }
            Proof::EndsWith(words) => {
                const TAIL: u64 = 4096;
                file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))
                    .map_err(unreadable)?;
                let mut tail = Vec::new();
                file.take(TAIL).read_to_end(&mut tail).map_err(unreadable)?;
                if !String::from_utf8_lossy(&tail).contains(words) {
                    return Err(broken(format!("it does not end with `{words}`")));
                }
            }
            Proof::ReadBy(command) => {
                let nowhere = &mut std::io::sink();
                let ended = cx
                    .engine
                    .exec_to(&container.id, command, Stdin::File(file), LIMIT, nowhere)
                    .await?;
                if ended.code != 0 {
                    return Err(broken(ended.stderr.trim().to_owned()));
                }
            }
        }
        Ok(size)
    }

    fn failed(&self, what: &str, said: &str) -> Failure {
        Failure::environment(format!(
            "no dump of {} in service `{}`: {what}",
            self.what.kind, self.what.service
        ))
        .cause(said.trim())
        .data("nothing was changed yet")
        .hint("to deploy without one: --no-backup")
    }

    fn cannot_write(&self, path: &Path, error: &std::io::Error) -> Failure {
        Failure::environment(format!("cannot write {}", path.display()))
            .because(error)
            .data("nothing was changed yet")
    }
}

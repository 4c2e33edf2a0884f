//! Dumps a database before anything changes, into files beside the run's journal; each is read back before it counts.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, Failure, Kind, Result, count};
use crate::saga::Step;
use crate::steps::Cx;
use crate::steps::dumps::{Dumping, Part, Server};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// What is dumped.
    pub what: Dumping,
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
        let server = Server::find(cx, &self.what).await?;
        let directory = self.directory(cx);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|e| cannot_write(&directory, &e))?;
        for part in server.parts().await.map_err(|f| self.failed(f))? {
            self.write(cx, &server, &part).await?;
        }
        crate::state::sync_dir(&directory)
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let server = Server::find(cx, &self.what).await?;
        let parts = server.parts().await.map_err(|f| self.failed(f))?;
        let mut bytes = 0;
        for part in &parts {
            let path = self.directory(cx).join(&part.file);
            let unreadable = |e: std::io::Error| {
                Failure::environment(format!("cannot read the dump {}", path.display())).because(&e)
            };
            let file = File::open(&path).map_err(unreadable)?;
            bytes += file.metadata().map_err(unreadable)?.len();
            server
                .prove(part, Box::new(file))
                .await
                .map_err(|failure| failure.data("nothing was changed yet"))?;
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

    /// Under another name until it is whole.
    async fn write(&self, cx: &Cx, server: &Server<'_>, part: &Part) -> Result<()> {
        let path = self.directory(cx).join(&part.file);
        let partial = self.directory(cx).join(format!("{}.partial", part.file));
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&partial)
            .map_err(|e| cannot_write(&partial, &e))?;
        server.dump(part, &mut file).await.map_err(|f| self.failed(f))?;
        file.sync_all().map_err(|e| cannot_write(&partial, &e))?;
        std::fs::rename(&partial, &path).map_err(|e| cannot_write(&path, &e))
    }

    fn failed(&self, failure: Failure) -> Failure {
        if failure.kind == Kind::Interrupted {
            return failure;
        }
        failure
            .inside(format!(
                "no dump of {} in service `{}`",
                self.what.kind, self.what.service
            ))
            .data("nothing was changed yet")
            .hint("to deploy without one: --no-backup")
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::environment(format!("cannot write {}", path.display()))
        .because(error)
        .data("nothing was changed yet")
}

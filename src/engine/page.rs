//! The container that answers over HTTP on the ports of services that are stopped. It is a helper, with a network of
//! its own instead of none, and it lives no longer than the connection that it was opened over.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptionsBuilder;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::helper::{HelperJob, Network, parse, told};
use super::{Engine, LABEL_PAGE, LABEL_RUN, Published, failed};
use crate::helper::protocol::{Answer, Line, Request};
use crate::model::{Failure, Owner, ProjectName, Result, RunId};

/// It has no privilege to bind a lower one, and needs none: what counts is the port of the host.
const PORT: u16 = 8080;
/// `nobody`, in every system; it owns nothing.
const NOBODY: Owner = Owner {
    uid: 65534,
    gid: 65534,
};
/// Making and starting a container takes a second; who waits longer waits for nothing, and a stack stands still.
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// A container whose removal is under way is gone within this.
const GONE_LIMIT: Duration = Duration::from_secs(30);
/// Between two looks whether it is.
const LOOK: Duration = Duration::from_millis(50);

/// A page that answers. When this is dropped, or its process is killed, the helper's stdin is closed: it ends, and the
/// engine removes it.
#[derive(Debug)]
pub struct Page {
    _attached: AttachContainerResults,
}

impl Engine {
    /// Answers with a page on these ports of the host, which must be free.
    ///
    /// # Errors
    /// When the helper cannot be started, a port is not free, or it does not answer in time. Nothing is left then.
    pub async fn open_page(
        &self,
        run: &RunId,
        project: &ProjectName,
        ports: &[Published],
        text: &[u8],
    ) -> Result<Page> {
        let request = Request::Page {
            port: PORT,
            bytes: text.len() as u64,
        };
        let job = HelperJob {
            network: Network::Published {
                ports: ports.to_vec(),
                to: PORT,
            },
            user: Some(NOBODY),
            ..HelperJob::new(run, project, request, Vec::new())
        };
        let opened = async {
            let body = self.page_body(&job).await?;
            let made = self
                .docker
                .create_container(Some(CreateContainerOptionsBuilder::new().build()), body)
                .await
                .map_err(failed("cannot make the container of the page"))?;
            self.drive_page(&made.id, text).await
        };
        let opened = tokio::time::timeout(OPEN_LIMIT, opened)
            .await
            .unwrap_or_else(|_| Err(Failure::environment("the page did not answer in time")));
        if opened.is_err() {
            self.remove_pages(run).await?;
        }
        opened
    }

    async fn page_body(&self, job: &HelperJob) -> Result<ContainerCreateBody> {
        let image = self.helper_image().await?;
        let request = serde_json::to_string(&job.request)
            .map_err(|e| Failure::bug("a request cannot be written").because(&e))?;
        let mut body = self.body(job, image, request);
        body.labels
            .get_or_insert_default()
            .insert(LABEL_PAGE.to_owned(), String::new());
        // Once whoever opened it is gone, it is at its end, and nothing of it shall be left.
        body.open_stdin = Some(true);
        body.stdin_once = Some(true);
        body.attach_stdin = Some(true);
        body.host_config.get_or_insert_default().auto_remove = Some(true);
        Ok(body)
    }

    async fn drive_page(&self, id: &str, text: &[u8]) -> Result<Page> {
        let mut attached = self.attach_and_start(id, "cannot start the page", true).await?;
        let lost = |e: std::io::Error| Failure::environment("cannot hand over the page").because(&e);
        attached.input.write_all(text).await.map_err(lost)?;
        attached.input.flush().await.map_err(lost)?;
        let (mut line, mut stderr) = (Vec::new(), Vec::new());
        while let Some(chunk) = attached.output.next().await {
            match chunk.map_err(failed("lost the connection to the page"))? {
                LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                other => line.extend_from_slice(other.as_ref()),
            }
            if line.ends_with(b"\n") {
                return match parse(&line)? {
                    Line::Answer(Answer::Done) => Ok(Page { _attached: attached }),
                    Line::Failed { what, because, class } => Err(told(what, because, class)),
                    other => Err(Failure::bug(format!("the page said something else: {other:?}"))),
                };
            }
        }
        Err(Failure::environment("the page ended before it answered").cause(String::from_utf8_lossy(&stderr)))
    }

    /// Removes the page of a run, and waits until it is gone and its ports are free.
    ///
    /// # Errors
    /// When the engine refuses, or it does not go.
    pub async fn remove_pages(&self, run: &RunId) -> Result<()> {
        let labels = vec![format!("{LABEL_RUN}={run}"), LABEL_PAGE.to_owned()];
        for id in self.container_ids(HashMap::from([("label", labels)])).await? {
            self.remove_container(&id).await?;
            // It may be removed already by the engine, because it ended: then nobody else is made to wait for that.
            let began = tokio::time::Instant::now();
            while self.find_container(&id).await?.is_some() {
                if began.elapsed() > GONE_LIMIT {
                    return Err(Failure::environment("the maintenance page does not end")
                        .cause("it still has the ports of services that are to start")
                        .hint(format!("`docker rm -f {id}`")));
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

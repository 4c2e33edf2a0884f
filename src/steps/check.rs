//! Asks a service over HTTP, from inside its own network, until it answers as it should.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::world::{Cx, wrong_answer};
use crate::engine::{HelperJob, Network};
use crate::helper::protocol::{Answer, Request};
use crate::model::{Failure, Result, ServiceName, Span};
use crate::saga::Step;

/// The limit of one try.
const TRY: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// In whose network `localhost` is.
    pub service: ServiceName,
    /// What is asked.
    pub url: String,
    /// What it must answer.
    pub status: u16,
    /// How long it may take until it does.
    pub within: Duration,
}

impl Step for HttpCheck {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!(
            "check that {} in {} answers {} within {}",
            self.url,
            self.service,
            self.status,
            Span(self.within)
        )
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let began = Instant::now();
        loop {
            let last = match self.ask(cx).await {
                Ok(status) if status == self.status => {
                    return Ok(Some(format!("answered {status} after {}", Span(began.elapsed()))));
                }
                Ok(status) => format!("it answered {status}"),
                Err(failure) => failure.to_string(),
            };
            if began.elapsed() > self.within {
                return Err(Failure::environment(format!(
                    "the check {} in service `{}` did not answer {} within {}",
                    self.url,
                    self.service,
                    self.status,
                    Span(self.within)
                ))
                .cause(last));
            }
            tokio::select! {
                () = cx.interrupt.raised() => return Err(Failure::interrupted("interrupted")),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl HttpCheck {
    async fn ask(&self, cx: &Cx) -> Result<u16> {
        let containers = cx.engine.project_containers(&cx.project).await?;
        let container = containers
            .iter()
            .find(|c| !c.one_off && c.service.as_ref() == Some(&self.service) && c.state.is_up())
            .ok_or_else(|| {
                Failure::environment(format!("service `{}` has no running container", self.service))
            })?;
        let request = Request::Http {
            url: self.url.clone(),
            timeout_millis: TRY.as_millis() as u64,
        };
        let job = HelperJob {
            network: Network::Of(container.id.clone()),
            ..HelperJob::new(&cx.run, &cx.project, request, Vec::new())
        };
        match cx.run_job(job, "check", None).await? {
            Answer::Http { status } => Ok(status),
            other => Err(wrong_answer(&other)),
        }
    }
}

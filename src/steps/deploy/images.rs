//! Pulls and builds the images of services while the old stack serves.
//!
//! Undo gives each reference back to the image that had it: otherwise the next `docker compose up` would take the new
//! one, which was just found not to work.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::compose::Call;
use crate::event::Event;
use crate::model::{Failure, ImageId, Result, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;

/// A slow registry and a large image, or a build from nothing.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// So many lines of a build that failed are shown: the builder repeats the last ones of the command that did.
const SHOWN: usize = 15;

/// Where images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A registry.
    Pull,
    /// The service's own build; without the cache if `fresh`.
    Build {
        /// `--no-cache`.
        fresh: bool,
    },
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// Where from.
    pub source: Source,
    /// The services, with the reference of the image of each.
    pub services: Vec<(ServiceName, String)>,
}

/// What a reference meant before; `None` if the engine had no such image.
type Before = Vec<(String, Option<ImageId>)>;

impl Step for Images {
    type Cx = Cx;
    type Receipt = Before;

    fn title(&self) -> String {
        let names: Vec<_> = self.services.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(", ");
        match self.source {
            Source::Pull => format!("pull the images of {names}"),
            Source::Build { fresh: false } => format!("build {names}"),
            Source::Build { fresh: true } => format!("build {names} without the cache"),
        }
    }

    async fn prepare(&self, cx: &Cx) -> Result<Before> {
        let mut before = Before::new();
        for (_, reference) in &self.services {
            if !before.iter().any(|(known, _)| known == reference) {
                let image = cx.engine.find_image(reference).await?;
                before.push((reference.clone(), image.map(|i| i.id)));
            }
        }
        Ok(before)
    }

    async fn apply(&self, cx: &Cx, _: &Before) -> Result<()> {
        let mut arguments = match self.source {
            Source::Pull => vec!["pull", "--include-deps=false"],
            Source::Build { fresh } => {
                let mut build = vec!["build"];
                build.extend(fresh.then_some("--no-cache"));
                build
            }
        };
        arguments.extend(self.services.iter().map(|(name, _)| name.as_str()));
        let mut last = VecDeque::with_capacity(SHOWN);
        let mut on_line = |line: &str| {
            if !line.trim().is_empty() {
                if last.len() == SHOWN {
                    last.pop_front();
                }
                last.push_back(line.to_owned());
            }
            cx.events.tell(Event::HookOutput {
                service: "compose".to_owned(),
                line: line.to_owned(),
            });
        };
        let call = Call::new(arguments).limit(LIMIT).all_lines(&mut on_line);
        let ran = tokio::select! {
            biased;
            () = cx.interrupt.raised() => return Err(Failure::interrupted("interrupted")),
            ran = cx.compose.run(&cx.files.after, call) => ran,
        };
        match (ran, self.source) {
            (Ok(_), _) => Ok(()),
            // Compose says only that a command failed; what the command said is in its output.
            (Err(failure), Source::Build { .. }) => Err(failure.cause(last.make_contiguous().join("\n"))),
            (Err(failure), Source::Pull) => Err(failure),
        }
    }

    async fn verify(&self, cx: &Cx, before: &Before) -> Result<Option<String>> {
        let mut changed = Vec::new();
        for (reference, old) in before {
            let Some(now) = cx.engine.find_image(reference).await? else {
                return Err(
                    Failure::environment(format!("the engine has no image {reference}"))
                        .cause("Compose said that it pulled or built it"),
                );
            };
            if Some(&now.id) != old.as_ref() {
                changed.push(format!("{reference} is {}", now.id.short()));
            }
        }
        Ok(Some(match changed.is_empty() {
            true => "the images are those that were there".to_owned(),
            false => changed.join(", "),
        }))
    }

    async fn undo(&self, cx: &Cx, before: &Before) -> Result<()> {
        cx.engine_answers().await?;
        for (reference, old) in before {
            let Some(old) = old else { continue };
            if cx.engine.find_image(old.as_str()).await?.is_some() {
                cx.engine.let_mean(reference, old).await?;
            } else {
                // Nothing runs from it, or it would be there: the next deployment fetches what it needs.
                cx.events.warn(format!(
                    "the image that {reference} was before ({}) is gone: somebody removed it meanwhile",
                    old.short()
                ));
            }
        }
        Ok(())
    }
}

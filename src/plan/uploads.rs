//! The plan of the switch of uploads to a bucket, and back. Pure, as all of `plan`.
//!
//! Each service is replaced by itself, as a deployment of it alone would: so a service that runs twice goes on answering.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deploy::{DeployWanted, Hooks, deploy_plan};
use crate::model::{Failure, ProjectName, Result, ServiceName};
use crate::observe::deploy::DeploySeen;
use crate::observe::{Framework, ServiceSeen};
use crate::s3::SetupWanted;
use crate::saga::Step;
use crate::steps::deploy::DeployStep;
use crate::steps::uploads::{
    AskApp, Bring, Compare, HasVariables, Media, Send, SetUp, SetVariables, Storing, UploadsStep,
};

/// Which way uploads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the bucket.
    ToBucket,
    /// Into the volume.
    ToVolume,
}

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone)]
pub struct SwitchWanted {
    /// Which way.
    pub direction: Direction,
    /// What, and where.
    pub media: Media,
    /// How the bucket shall be.
    pub setup: SetupWanted,
    /// The project's `.env`.
    pub dotenv: PathBuf,
    /// The variables that switch, with the values that they get.
    pub values: BTreeMap<String, String>,
    /// Whether they have them already.
    pub is_set: bool,
    /// The services that read them.
    pub readers: Vec<ServiceName>,
    /// How services are replaced.
    pub deploy: DeployWanted,
    /// How long proxies have to learn of each that was.
    pub drain: Duration,
}

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SwitchPlan {
    /// What is said.
    pub facts: SwitchFacts,
    /// What is done, in this order.
    pub steps: Vec<UploadsStep>,
}

/// What is said about the switch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SwitchFacts {
    /// The project.
    pub project: ProjectName,
    /// Which way.
    pub direction: Direction,
    /// What, and where.
    pub media: Media,
    /// The services that are made anew, one after the other.
    pub services: Vec<ServiceName>,
    /// The services that ran when the plan was made.
    pub were_up: Vec<ServiceName>,
    /// What a careful person should know.
    pub warnings: Vec<String>,
}

/// Makes the plan.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn switch_plan(seen: &DeploySeen, wanted: &SwitchWanted) -> Result<SwitchPlan> {
    let world = &seen.world;
    let readers: Vec<&ServiceSeen> = world
        .services
        .iter()
        .filter(|service| wanted.readers.contains(&service.name) && service.is_up())
        .collect();
    refuse(&readers, wanted)?;
    let media = &wanted.media;
    let (to_bucket, mut steps) = match wanted.direction {
        Direction::ToBucket => {
            let set_up = SetUp {
                media: media.clone(),
                wanted: wanted.setup.clone(),
            };
            let send = Send {
                media: media.clone(),
                rest: false,
            };
            (true, vec![UploadsStep::SetUp(set_up), UploadsStep::Send(send)])
        }
        Direction::ToVolume => {
            let bring = Bring {
                media: media.clone(),
                rest: false,
            };
            (false, vec![UploadsStep::Bring(bring)])
        }
    };
    steps.push(UploadsStep::SetVariables(SetVariables {
        dotenv: wanted.dotenv.clone(),
        values: wanted.values.clone(),
    }));
    let services: Vec<ServiceName> = readers.iter().map(|service| service.name.clone()).collect();
    for service in &services {
        steps.extend(
            alone(seen, wanted, std::slice::from_ref(service))?
                .into_iter()
                .filter_map(|step| match step {
                    DeployStep::Swap(mut swap) => {
                        // They change with the variables: what they were when the plan was made says nothing.
                        swap.definitions.clear();
                        swap.alone = Some(wanted.deploy.stable.max(wanted.drain));
                        Some(UploadsStep::Swap(swap))
                    }
                    _ => None,
                }),
        );
    }
    steps.push(UploadsStep::HasVariables(HasVariables {
        services: services.clone(),
        values: wanted.values.clone(),
    }));
    steps.extend(
        readers
            .iter()
            .filter(|service| is_django(service))
            .map(|service| {
                UploadsStep::AskApp(AskApp {
                    service: service.name.clone(),
                    storing: match to_bucket {
                        true => Storing::Bucket {
                            name: media.bucket.clone(),
                            location: media.prefix.as_str().trim_end_matches('/').to_owned(),
                        },
                        false => Storing::Files,
                    },
                })
            }),
    );
    steps.push(match to_bucket {
        true => UploadsStep::Send(Send {
            media: media.clone(),
            rest: true,
        }),
        false => UploadsStep::Bring(Bring {
            media: media.clone(),
            rest: true,
        }),
    });
    steps.push(UploadsStep::Compare(Compare {
        media: media.clone(),
        to_bucket,
    }));
    for step in alone(seen, wanted, &services)? {
        match step {
            DeployStep::StayUp(step) => steps.push(UploadsStep::StayUp(step)),
            DeployStep::Check(step) => steps.push(UploadsStep::Check(step)),
            DeployStep::SameData(step) => steps.push(UploadsStep::SameData(step)),
            _ => {}
        }
    }
    let mut warnings = Vec::new();
    if !readers.iter().any(|service| is_django(service)) {
        warnings.push("none of the services is one of Django: that the application itself stores in the right place is not seen".to_owned());
    }
    let up = world.services.iter().filter(|service| service.is_up());
    Ok(SwitchPlan {
        facts: SwitchFacts {
            project: world.project.clone(),
            direction: wanted.direction,
            media: media.clone(),
            services,
            were_up: up.map(|service| service.name.clone()).collect(),
            warnings,
        },
        steps,
    })
}

/// The steps of a deployment of these services and nothing else.
fn alone(seen: &DeploySeen, wanted: &SwitchWanted, services: &[ServiceName]) -> Result<Vec<DeployStep>> {
    let deploy = DeployWanted {
        only: services.to_vec(),
        first: None,
        pull: false,
        build: false,
        dump: false,
        rolling: None,
        hooks: Hooks::default(),
        older: Vec::new(),
        compose_file: None,
        ..wanted.deploy.clone()
    };
    deploy_plan(seen, &deploy).map(|plan| plan.steps)
}

fn is_django(service: &ServiceSeen) -> bool {
    service
        .containers
        .iter()
        .any(|container| container.frameworks.contains(&Framework::Django))
}

fn refuse(readers: &[&ServiceSeen], wanted: &SwitchWanted) -> Result<()> {
    let names: Vec<String> = wanted.values.keys().cloned().collect();
    let names = names.join(", ");
    if readers.is_empty() {
        return Err(Failure::refused(format!("no running service reads {names}"))
            .data("nothing was changed")
            .hint("its value in .env must reach the services: env_file: [.env], or environment: [USE_S3]")
            .hint("what the application needs for it: rehome s3 settings --framework django"));
    }
    let outdated = |service: &&&ServiceSeen| service.containers.iter().any(|container| container.outdated);
    if let Some(service) = readers.iter().find(outdated).filter(|_| !wanted.is_set) {
        return Err(Failure::refused(format!(
            "service `{}` runs with another definition than its files have now",
            service.name
        ))
        .cause("to make it anew would deploy that change as well")
        .data("nothing was changed")
        .hint("deploy it first: rehome deploy"));
    }
    if wanted.is_set
        && !readers
            .iter()
            .any(|service| service.containers.iter().any(|c| c.outdated))
    {
        let (where_to, back) = match wanted.direction {
            Direction::ToBucket => ("in the bucket", "rehome s3 disable"),
            Direction::ToVolume => ("in the volume", "rehome s3 enable"),
        };
        return Err(Failure::refused(format!(
            "the services store {where_to} already: {names} says so in .env"
        ))
        .data("nothing was changed")
        .hint(format!("the other way: {back}"))
        .hint("whether all of them are there: rehome s3 verify"));
    }
    Ok(())
}

/// Renders a plan.
#[must_use]
pub fn render(plan: &SwitchPlan) -> String {
    let mut out = String::new();
    // Writing into a String cannot fail.
    render_into(plan, &mut out).map_or_else(|_| String::new(), |()| out)
}

fn render_into(plan: &SwitchPlan, out: &mut String) -> std::fmt::Result {
    let facts = &plan.facts;
    let (volume, place) = (&facts.media.key, facts.media.place());
    match facts.direction {
        Direction::ToBucket => writeln!(out, "Uploads of {} go from {volume} to {place}\n", facts.project)?,
        Direction::ToVolume => writeln!(
            out,
            "Uploads of {} go from {place} back to {volume}\n",
            facts.project
        )?,
    }
    writeln!(out, "What happens")?;
    for (i, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {:>2}  {}", i + 1, step.title())?;
    }
    let names: Vec<String> = facts.services.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "\nServices are made anew one after the other: {}. One that runs once is down for that long.",
        names.join(", ")
    )?;
    match facts.direction {
        Direction::ToBucket => writeln!(
            out,
            "If anything fails, they use the volume again, and what was uploaded to the bucket meanwhile is brought into it."
        )?,
        Direction::ToVolume => writeln!(
            out,
            "If anything fails, they use the bucket again, and what was written to the volume meanwhile is sent to it."
        )?,
    }
    writeln!(
        out,
        "Nothing is deleted, neither in the volume nor in the bucket."
    )?;
    for warning in &facts.warnings {
        writeln!(out, "\n! {warning}")?;
    }
    Ok(())
}

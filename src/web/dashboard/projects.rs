//! A project, and its move, deployment and backup: each with its plan first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;

use super::super::Server;
use super::super::api::asked::Named;
use super::super::pages::{
    self, Can, Finding, PickView, PickVolume, ProjectView, ServiceLine, Target, Tone, VolumeLine,
};
use super::super::problem::Problem;
use super::super::work::Work;
use super::question::Question;
use super::{Actor, Fields, Page, Visitor, html, lines};
use crate::engine::resolve_host;
use crate::model::{Failure, Home, ProjectName, Result, VolumeKey};
use crate::ops::backup::CreateRequest;
use crate::ops::{DeployRequest, MoveRequest, Projects, VolumeStatus};
use crate::plan::Destination;

/// So long the first look at a project is waited for.
const WITHIN: Duration = Duration::from_secs(15);
/// So many backups and runs are shown.
const SHOWN: usize = 10;
/// What a form sends for Docker's own directory.
const VOLUMES: &str = "volumes";

pub(super) async fn page(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<ProjectName>,
    fields: Fields,
) -> Page {
    fields.only(&[])?;
    let line = server.project(&name).await?;
    let local = resolve_host(&server.options.engine)?.is_local();
    let mut findings = Vec::new();
    let mut volumes: Vec<VolumeLine> = line
        .volumes
        .iter()
        .map(|(name, v)| by_engine(name, v, local))
        .collect();
    if line.directory.is_some() {
        let seen = server
            .lookout
            .look(&server, std::slice::from_ref(&name), WITHIN)
            .await;
        match seen.get(&name).map(|seen| &**seen) {
            Some(Ok(looked)) => {
                volumes = looked
                    .status
                    .volumes
                    .iter()
                    .map(|v| lines::volume(v, local))
                    .collect();
                let found = looked.diagnosis.findings.iter();
                findings.extend(found.map(|finding| lines::finding(name.as_str(), finding)));
            }
            Some(Err(failure)) => findings.push(about(Tone::Warning, &name, failure.what.clone())),
            None => findings.push(about(
                Tone::Live,
                &name,
                "is still being looked at: load this page again in a moment".to_owned(),
            )),
        }
    }
    let of = name.clone();
    let backups = server
        .ask(move |options| async move { Projects::new(options).backups(Some(&of), SHOWN) })
        .await?;
    let mut sites = lines::sites(&server).await?;
    sites.retain(|site| line.sites.iter().any(|name| name.as_str() == site.name));
    let can = line.directory.is_some();
    let view = ProjectView {
        frame: visitor.frame(&server).await?,
        name: name.to_string(),
        directory: line.directory.as_ref().map(|dir| dir.display().to_string()),
        services: line
            .services
            .iter()
            .map(|(name, service)| ServiceLine {
                name: name.to_string(),
                image: service.image.clone(),
                up: service.up,
                containers: service.containers,
            })
            .collect(),
        volumes,
        sites,
        findings,
        backups: backups.into_iter().map(lines::backup).collect(),
        runs: lines::runs(&server, Some(name.to_string()), SHOWN).await?,
        can: Can {
            move_: can && !line.volumes.is_empty(),
            deploy: can,
            backup: can,
        },
    };
    html(StatusCode::OK, pages::project(&view))
}

fn about(tone: Tone, name: &ProjectName, text: String) -> Finding {
    Finding {
        tone,
        about: name.to_string(),
        text,
        hint: None,
    }
}

/// A volume of which no more is known than what the engine says.
fn by_engine(name: &str, volume: &crate::ops::VolumeLine, local: bool) -> VolumeLine {
    VolumeLine {
        key: name.to_owned(),
        home: lines::home(&volume.home),
        path: Some(volume.path.display().to_string()),
        bytes: None,
        files: None,
        fill: local.then(|| lines::fill(&volume.path)).flatten(),
        datastores: Vec::new(),
        mounted_by: Vec::new(),
    }
}

fn page_of(name: &ProjectName) -> String {
    format!("/projects/{}", pages::part(name.as_str()))
}

pub(super) fn deploy(name: &ProjectName) -> (Question, Work) {
    let question = Question {
        title: format!("Deploy {name}?"),
        lead: "What changed is started anew. If anything goes wrong, it goes back to what runs now by itself.",
        action: format!("{}/deploy", page_of(name)),
        button: "Deploy",
        fields: Vec::new(),
        back: page_of(name),
        wizard: false,
    };
    (question, Work::Deploy(name.clone(), DeployRequest::default()))
}

pub(super) fn backup(name: &ProjectName) -> (Question, Work) {
    let question = Question {
        title: format!("Back up {name}?"),
        lead: "Databases are dumped by their own programs, and volumes copied, to the places of the configuration.",
        action: format!("{}/backup", page_of(name)),
        button: "Back up",
        fields: Vec::new(),
        back: page_of(name),
        wizard: false,
    };
    (question, Work::Backup(name.clone(), CreateRequest::default()))
}

fn about_move(name: &ProjectName, request: MoveRequest) -> (Question, Work) {
    let mut fields: Vec<(String, String)> = request
        .only
        .iter()
        .map(|key| ("volume".to_owned(), key.to_string()))
        .collect();
    fields.extend(request.to.iter().map(|to| ("to".to_owned(), to.to_string())));
    let question = Question {
        title: format!("Move the data of {name}?"),
        lead: "Most is copied while the services run; they are down for the rest of it. The old volumes stay.",
        action: format!("{}/move", page_of(name)),
        button: "Move the data",
        fields,
        back: format!("{}/move", page_of(name)),
        wizard: true,
    };
    (question, Work::Move(name.clone(), Box::new(request)))
}

/// What a page asks about, and what it begins.
pub(super) type About = fn(&ProjectName) -> (Question, Work);

/// The plan, and the question.
pub(super) async fn ask(
    server: Arc<Server>,
    visitor: Visitor,
    name: ProjectName,
    fields: Fields,
    about: About,
) -> Page {
    fields.only(&[])?;
    server.project(&name).await?;
    let (question, work) = about(&name);
    question.ask(&server, &visitor, work).await
}

/// Somebody said yes.
pub(super) async fn run(
    server: Arc<Server>,
    actor: Actor,
    name: ProjectName,
    fields: Fields,
    about: About,
) -> Page {
    let fields = fields.only(&["csrf", "plan"])?;
    server.project(&name).await?;
    let (question, work) = about(&name);
    question.begin(&server, actor, work, &fields).await
}

/// What the form of the move says.
fn wanted(fields: &Fields) -> Result<MoveRequest> {
    let bad = |what: String| Failure::usage(what).data("nothing was changed");
    let only: std::result::Result<Vec<VolumeKey>, _> = fields.all("volume").map(str::parse).collect();
    let only = only.map_err(|why| bad(format!("that is no volume: {why}")))?;
    if only.is_empty() {
        return Err(bad("no volume is chosen".to_owned()));
    }
    let to = fields
        .said("to")
        .ok_or_else(|| bad("where they shall go is not chosen".to_owned()))?;
    let to: Destination = to
        .parse()
        .map_err(|why| bad(format!("that is no place: {why}")))?;
    Ok(MoveRequest {
        to: Some(to),
        only,
        ..MoveRequest::default()
    })
}

/// The choice; once it is made, the plan.
pub(super) async fn ask_move(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<ProjectName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["volume", "to"])?;
    server.project(&name).await?;
    if fields.0.is_empty() {
        return pick(&server, &visitor, &name, &fields, None).await;
    }
    let planned = async {
        let (question, work) = about_move(&name, wanted(&fields)?);
        Ok((question, work.plan(&server).await?))
    };
    match planned.await {
        Ok((question, shown)) => question.page(&server, &visitor, Ok(shown), None).await,
        Err(failure) => pick(&server, &visitor, &name, &fields, Some(failure)).await,
    }
}

pub(super) async fn move_(
    State(server): State<Arc<Server>>,
    actor: Actor,
    Named(name): Named<ProjectName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["csrf", "plan", "volume", "to"])?;
    server.project(&name).await?;
    let (question, work) = about_move(&name, wanted(&fields)?);
    question.begin(&server, actor, work, &fields).await
}

async fn pick(
    server: &Arc<Server>,
    visitor: &Visitor,
    name: &ProjectName,
    fields: &Fields,
    problem: Option<Failure>,
) -> Page {
    let back = || page_of(name);
    let seen = server
        .lookout
        .look(server, std::slice::from_ref(name), WITHIN)
        .await;
    let looked = match seen.get(name).map(|seen| &**seen) {
        Some(Ok(looked)) => looked,
        Some(Err(failure)) => return Err(Problem::from(failure.clone()).back(back())),
        None => {
            let failure = Failure::environment(format!("{name} is still being looked at"));
            return Err(Problem::from(failure.hint("try again in a moment")).back(back()));
        }
    };
    let wanted = name.clone();
    let roots = server
        .ask(move |options| async move { Projects::new(options).targets(&wanted).await })
        .await?;
    let to = fields.text("to");
    let picked: Vec<&str> = fields.all("volume").collect();
    let volumes = &looked.status.volumes;
    let only = roots.len() == 1;
    let on_block = |root: &PathBuf| {
        let target = lines::target(root, "Block volume");
        Target {
            picked: target.value == to || (to.is_empty() && only),
            ..target
        }
    };
    let mut targets: Vec<Target> = roots.iter().map(on_block).collect();
    if volumes
        .iter()
        .any(|volume| matches!(volume.home, Home::Block { .. }))
    {
        targets.push(Target {
            value: VOLUMES.to_owned(),
            name: "Docker's own directory".to_owned(),
            fill: None,
            picked: to == VOLUMES,
        });
    }
    let choice = |volume: &VolumeStatus| PickVolume {
        picked: match fields.0.is_empty() {
            true => volume.home == Home::Volume,
            false => picked.contains(&volume.key.as_str()),
        },
        stays: stays(volume),
        volume: lines::volume(volume, true),
    };
    let view = PickView {
        frame: visitor.frame(server).await?,
        project: name.to_string(),
        volumes: volumes.iter().map(choice).collect(),
        targets,
        problem,
    };
    let status = if view.problem.is_some() {
        StatusCode::CONFLICT
    } else {
        StatusCode::OK
    };
    html(status, pages::pick(&view))
}

/// Why a volume cannot be chosen.
fn stays(volume: &VolumeStatus) -> Option<String> {
    match &volume.home {
        _ if volume.external => Some("it belongs to somebody else".to_owned()),
        Home::Other { what } => Some(what.clone()),
        _ if !volume.exists => Some("it is not there yet".to_owned()),
        _ => None,
    }
}

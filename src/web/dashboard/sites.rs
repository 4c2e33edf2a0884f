//! Sites: listed, added, shown, switched, moved, removed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::super::Server;
use super::super::api::asked::Named;
use super::super::api::sites::{Add, Port, of_removal};
use super::super::pages::{self, AddForm, SiteView, SitesView, Tab, Target};
use super::super::problem::Problem;
use super::super::work::Work;
use super::question::Question;
use super::{Actor, Fields, Page, Visitor, html, lines};
use crate::model::config::absolute_dir;
use crate::model::{ProjectName, Result, ServiceName, SiteName};
use crate::ops::Projects;
use crate::ops::site::{Root, SiteMoveRequest, Sites, StorageRequest};
use crate::site::Published;

/// So many runs are shown.
const SHOWN: usize = 10;

pub(super) async fn list(State(server): State<Arc<Server>>, visitor: Visitor, fields: Fields) -> Page {
    let fields = fields.only(&["q"])?;
    let view = view(&server, &visitor, fields.text("q"), AddForm::default()).await?;
    html(StatusCode::OK, pages::sites(&view))
}

async fn view(server: &Arc<Server>, visitor: &Visitor, search: &str, form: AddForm) -> Result<SitesView> {
    let all = lines::sites(server).await?;
    let found = all.iter().filter(|line| line.name.contains(search));
    Ok(SitesView {
        frame: visitor.frame(server).await?,
        sites: found.cloned().collect(),
        in_all: all.len() as u64,
        search: search.to_owned(),
        form,
    })
}

pub(super) async fn add(State(server): State<Arc<Server>>, actor: Actor, fields: Fields) -> Page {
    let fields = fields.only(&[
        "csrf", "name", "kind", "project", "service", "image", "port", "health",
    ])?;
    let is_image = fields.text("kind") == "image";
    let added = async {
        let request = wanted(&fields, is_image)?.request()?;
        let name = request.name.clone();
        server
            .ask(move |options| async move { Sites::new(options)?.add(&request).await })
            .await?;
        Ok::<_, Problem>(name)
    };
    let problem = match added.await {
        Ok(name) => return Ok(Redirect::to(&format!("/sites/{name}")).into_response()),
        Err(problem) => problem,
    };
    // The form comes back as it was filled in.
    let text = |name: &str| fields.text(name).to_owned();
    let form = AddForm {
        problem: Some((*problem.failure).clone()),
        name: text("name"),
        is_image,
        project: text("project"),
        service: text("service"),
        image: text("image"),
        port: text("port"),
        health: text("health"),
    };
    let view = view(&server, &actor.visitor, "", form).await?;
    let mut response = html(problem.status, pages::sites(&view))?;
    // For the audit; the page that is sent is this one.
    response
        .extensions_mut()
        .insert(super::super::problem::Why(problem.failure.what));
    Ok(response)
}

/// What the form says, where what belongs to the other kind is not looked at.
fn wanted(fields: &Fields, is_image: bool) -> std::result::Result<Add, Problem> {
    let bad = |what: &str, why: String| {
        Problem::with(StatusCode::BAD_REQUEST, format!("{what} cannot be that")).cause(why)
    };
    let name = fields.text("name").parse::<SiteName>();
    let mut add = Add {
        name: name.map_err(|why| bad("the name", why.to_string()))?,
        project: None,
        service: None,
        image: None,
        port: None,
        health: None,
        dry_run: false,
    };
    if is_image {
        let port = fields.text("port").parse::<Published>();
        let port = port.map_err(|why| bad("the port", why))?;
        add.image = Some(fields.text("image").to_owned());
        add.port = Some(Port {
            host: port.host,
            container: port.container,
        });
        add.health = fields.said("health").map(str::to_owned);
    } else {
        add.project = Some(fields.text("project").into());
        let service = fields.said("service").map(str::parse::<ServiceName>).transpose();
        add.service = service.map_err(|why| bad("the service", why.to_string()))?;
    }
    Ok(add)
}

pub(super) async fn overview(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    fields.only(&[])?;
    one(&server, &visitor, name, Tab::Overview).await
}

pub(super) async fn settings(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    fields.only(&[])?;
    one(&server, &visitor, name, Tab::Settings).await
}

async fn one(server: &Arc<Server>, visitor: &Visitor, name: SiteName, tab: Tab) -> Page {
    server.has_site(&name).await?;
    let project = project_of(server, &name).await;
    let (report, roots) = server
        .ask(move |options| async move {
            let sites = Sites::new(options)?;
            Ok((sites.show(&name)?, sites.roots(&name)?))
        })
        .await?;
    let runs = match &project {
        Some(project) => lines::runs(server, Some(project.to_string()), SHOWN).await?,
        None => Vec::new(),
    };
    let site = &report.site;
    let view = SiteView {
        frame: visitor.frame(server).await?,
        tab,
        directory: site.directory.as_ref().map(|dir| dir.display().to_string()),
        project: project.map(|name| name.to_string()),
        service: site.service.as_ref().map(ToString::to_string),
        owner: report
            .measured
            .as_ref()
            .map(|measured| measured.owner.to_string()),
        files: report.measured.as_ref().map(|measured| measured.files),
        unseen: report.unseen.clone(),
        fill: site.data.as_deref().and_then(lines::fill),
        backups: lines::backups_of(&report),
        runs,
        targets: targets(&roots),
        site: lines::site(&report),
    };
    html(StatusCode::OK, pages::site(&view))
}

/// The project that a site is in, as far as its containers or its runs tell it.
async fn project_of(server: &Arc<Server>, name: &SiteName) -> Option<ProjectName> {
    let all = server
        .ask(|options| async move { Projects::new(options).list().await })
        .await;
    // Without the engine there is less to show, and the page is not about that.
    let all = all.unwrap_or_default();
    let found = all.into_iter().find(|line| line.sites.contains(name));
    found.map(|line| line.name)
}

/// Where the data of a site can go.
fn targets(roots: &[Root]) -> Vec<Target> {
    let known = roots.iter().map(|root| match root {
        Root::Block(path) => lines::target(path, "Block volume"),
        Root::OfSites(path) => lines::target(path, "With other sites"),
    });
    let configured = Target {
        value: String::new(),
        name: "Where its configuration says".to_owned(),
        fill: None,
        picked: roots.is_empty(),
    };
    known.chain([configured]).collect()
}

fn about_storage(name: SiteName, fields: &Fields) -> std::result::Result<(Question, Work), Problem> {
    let page = format!("/sites/{name}");
    let back = format!("{page}/settings");
    let (title, lead, button) = match fields.text("on") {
        "1" => (
            format!("Turn persistent storage on for {name}?"),
            "The service is started anew with a directory of its own at /data. If anything goes wrong, it goes back by itself.",
            "Turn it on",
        ),
        "0" => (
            format!("Turn persistent storage off for {name}?"),
            "The service is started anew without its directory. The data stays where it is.",
            "Turn it off",
        ),
        _ => return Err(Problem::with(StatusCode::BAD_REQUEST, "on is 1 or 0").back(back)),
    };
    let question = Question {
        title,
        lead,
        button,
        action: format!("{page}/storage"),
        fields: vec![("on".to_owned(), fields.text("on").to_owned())],
        back,
        wizard: false,
    };
    let work = Work::Storage(StorageRequest {
        name,
        on: fields.text("on") == "1",
        owner: None,
        dry_run: false,
    });
    Ok((question, work))
}

fn about_move(name: SiteName, fields: &Fields) -> std::result::Result<(Question, Work), Problem> {
    let page = format!("/sites/{name}");
    let back = format!("{page}/settings");
    let to = fields.said("to").map(absolute_dir).transpose();
    let to = to.map_err(|why| {
        Problem::with(StatusCode::BAD_REQUEST, "where it shall go is not understood")
            .cause(why)
            .back(back.clone())
    })?;
    let question = Question {
        title: format!("Move the data of {name}?"),
        lead: "Most is copied while the service runs; it is down for the rest. What is there now stays. If anything goes wrong, it goes back by itself.",
        button: "Move the data",
        action: format!("{page}/move"),
        fields: vec![("to".to_owned(), fields.text("to").to_owned())],
        back,
        wizard: false,
    };
    let work = Work::MoveSite(SiteMoveRequest {
        name,
        to,
        offline: false,
        dry_run: false,
    });
    Ok((question, work))
}

pub(super) async fn ask(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["on"])?;
    server.has_site(&name).await?;
    let (question, work) = about_storage(name, &fields)?;
    question.ask(&server, &visitor, work).await
}

pub(super) async fn switch(
    State(server): State<Arc<Server>>,
    actor: Actor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["csrf", "on", "plan"])?;
    server.has_site(&name).await?;
    let (question, work) = about_storage(name, &fields)?;
    question.begin(&server, actor, work, &fields).await
}

pub(super) async fn ask_move(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["to"])?;
    server.has_site(&name).await?;
    let (question, work) = about_move(name, &fields)?;
    question.ask(&server, &visitor, work).await
}

pub(super) async fn move_(
    State(server): State<Arc<Server>>,
    actor: Actor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["csrf", "plan", "to"])?;
    server.has_site(&name).await?;
    let (question, work) = about_move(name, &fields)?;
    question.begin(&server, actor, work, &fields).await
}

pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    _: Actor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["csrf", "delete_data", "typed"])?;
    server.has_site(&name).await?;
    let settings = format!("/sites/{name}/settings");
    let typed = match (fields.text("delete_data"), fields.said("typed")) {
        ("1", _) => Some(fields.text("typed").to_owned()),
        (_, None) => None,
        // Half of a deletion is none, and no removal either.
        (_, Some(_)) => {
            let what = "the name was typed, and the box is not ticked: is its data to be deleted?";
            return Err(Problem::with(StatusCode::BAD_REQUEST, what)
                .of_data("nothing was changed")
                .back(settings));
        }
    };
    let removed = server
        .ask(move |options| async move {
            let sites = Sites::new(options)?;
            let planned = sites.plan_remove(&name, typed.is_some()).await?;
            sites.remove(planned, typed.as_deref()).await
        })
        .await;
    match removed {
        Ok(report) => {
            let mut response = Redirect::to("/sites").into_response();
            response.extensions_mut().insert(of_removal(&report));
            Ok(response)
        }
        Err(failure) => Err(Problem::from(failure).back(settings)),
    }
}

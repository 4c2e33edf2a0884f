//! Sites: listed, added, shown, switched, removed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::super::Server;
use super::super::api::asked::Named;
use super::super::api::sites::{Add, Port};
use super::super::pages::{self, AddForm, ConfirmView, SiteView, SitesView, Tab};
use super::super::problem::Problem;
use super::super::work::Work;
use super::{Actor, Fields, Page, Visitor, html, lines, to_run};
use crate::model::{Failure, ProjectName, Result, ServiceName, SiteName};
use crate::ops::Projects;
use crate::ops::site::{SiteReport, Sites, StorageRequest};
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

async fn report(server: &Arc<Server>, name: &SiteName) -> std::result::Result<SiteReport, Problem> {
    let wanted = name.clone();
    let found = server
        .ask(move |options| async move {
            let sites = Sites::new(options)?;
            match sites.has(&wanted)? {
                true => sites.show(&wanted).map(Some),
                false => Ok(None),
            }
        })
        .await?;
    found.ok_or_else(|| Problem::missing(format!("there is no site {name}")).back("/sites"))
}

pub(super) async fn overview(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    fields.only(&[])?;
    one(&server, &visitor, &name, Tab::Overview).await
}

pub(super) async fn settings(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    fields.only(&[])?;
    one(&server, &visitor, &name, Tab::Settings).await
}

async fn one(server: &Arc<Server>, visitor: &Visitor, name: &SiteName, tab: Tab) -> Page {
    let report = report(server, name).await?;
    let project = project_of(server, name).await;
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

fn request(name: &SiteName, fields: &Fields) -> std::result::Result<StorageRequest, Problem> {
    let on = match fields.text("on") {
        "1" => true,
        "0" => false,
        _ => {
            return Err(Problem::with(StatusCode::BAD_REQUEST, "on is 1 or 0")
                .back(format!("/sites/{name}/settings")));
        }
    };
    Ok(StorageRequest {
        name: name.clone(),
        on,
        owner: None,
        dry_run: false,
    })
}

/// The plan, and the question.
pub(super) async fn ask(
    State(server): State<Arc<Server>>,
    visitor: Visitor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let request = request(&name, &fields.only(&["on"])?)?;
    report(&server, &name).await?;
    question(&server, &visitor, request, None).await
}

/// The question; `refused` is why the answer to the last one was not taken.
async fn question(
    server: &Arc<Server>,
    visitor: &Visitor,
    request: StorageRequest,
    refused: Option<Failure>,
) -> Page {
    let (name, on) = (request.name.clone(), request.on);
    let plan = match refused {
        Some(failure) => Err(failure),
        None => Work::Storage(request).plan(server).await,
    };
    let status = if plan.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::CONFLICT
    };
    let mut fields = vec![("on".to_owned(), u8::from(on).to_string())];
    fields.extend(plan.iter().map(|shown| ("plan".to_owned(), shown.mark.clone())));
    let view = ConfirmView {
        frame: visitor.frame(server).await?,
        title: match on {
            true => format!("Turn persistent storage on for {name}?"),
            false => format!("Turn persistent storage off for {name}?"),
        },
        lead: match on {
            true => "The service is started anew with a directory of its own at /data. If anything goes wrong, it goes back by itself.",
            false => "The service is started anew without its directory. The data stays where it is.",
        }
        .to_owned(),
        plan: plan.map(|shown| shown.text),
        action: format!("/sites/{name}/storage"),
        fields,
        typed: None,
        button: if on { "Turn it on" } else { "Turn it off" }.to_owned(),
        danger: false,
        back: format!("/sites/{name}/settings"),
        wizard: false,
    };
    html(status, pages::confirm(&view))
}

pub(super) async fn switch(
    State(server): State<Arc<Server>>,
    actor: Actor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["csrf", "on", "plan"])?;
    let request = request(&name, &fields)?;
    report(&server, &name).await?;
    let Actor { visitor, audit } = actor;
    let read = Some(fields.text("plan").to_owned());
    let begun = Work::Storage(request.clone())
        .begin(&server, visitor.who.clone(), audit, read)
        .await;
    match begun {
        Ok(run) => Ok(to_run(&run)),
        Err(failure) => question(&server, &visitor, request, Some(failure)).await,
    }
}

pub(super) async fn remove(
    State(server): State<Arc<Server>>,
    _: Actor,
    Named(name): Named<SiteName>,
    fields: Fields,
) -> Page {
    let fields = fields.only(&["csrf", "delete_data", "typed"])?;
    report(&server, &name).await?;
    let typed = match fields.text("delete_data") {
        "1" => Some(fields.text("typed").to_owned()),
        _ => None,
    };
    let settings = format!("/sites/{name}/settings");
    let removed = server
        .ask(move |options| async move {
            let sites = Sites::new(options)?;
            let planned = sites.plan_remove(&name, typed.is_some()).await?;
            sites.remove(planned, typed.as_deref()).await
        })
        .await;
    match removed {
        Ok(_) => Ok(Redirect::to("/sites").into_response()),
        Err(failure) => Err(Problem::from(failure).back(settings)),
    }
}

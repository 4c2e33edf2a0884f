//! The first page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;

use super::super::Server;
use super::super::pages::{self, Finding, OverviewView, Place, SiteLine, Tone};
use super::{Fields, Page, Visitor, html, lines};
use crate::engine::resolve_host;
use crate::model::{Failure, ProjectName, Result};
use crate::ops::{ProjectLine, Projects, places};

/// So long the first look at the projects is waited for.
const WITHIN: Duration = Duration::from_secs(3);
/// So many sites, backups and runs are shown.
const SHOWN: usize = 8;
/// So many findings.
const FINDINGS: usize = 40;

pub(super) async fn page(State(server): State<Arc<Server>>, visitor: Visitor, fields: Fields) -> Page {
    fields.only(&[])?;
    let projects = server
        .ask(|options| async move { Projects::new(options).list().await })
        .await;
    let sites = lines::sites(&server).await?;
    let backups = server
        .ask(|options| async move { Projects::new(options).backups(None, SHOWN) })
        .await?;
    let (projects, silent) = match projects {
        Ok(projects) => (projects, None),
        // What does not need the engine is shown all the same.
        Err(failure) => (Vec::new(), Some(failure)),
    };
    let view = OverviewView {
        frame: visitor.frame(&server).await?,
        places: where_data_lives(&server, &projects, &sites)?,
        findings: findings(&server, &projects, silent).await,
        projects: projects.iter().map(lines::project).collect(),
        sites_in_all: sites.len() as u64,
        sites: sites.into_iter().take(SHOWN).collect(),
        backups: backups.into_iter().map(lines::backup).collect(),
        runs: lines::runs(&server, None, SHOWN).await?,
    };
    html(StatusCode::OK, pages::overview(&view))
}

/// The file systems of this machine that anything lives on; of an engine elsewhere nothing is known here.
fn where_data_lives(server: &Server, projects: &[ProjectLine], sites: &[SiteLine]) -> Result<Vec<Place>> {
    let mut data: BTreeMap<PathBuf, String> = BTreeMap::new();
    if resolve_host(&server.options.engine)?.is_local() {
        for project in projects {
            for volume in project.volumes.values() {
                data.insert(volume.path.clone(), project.name.to_string());
            }
        }
    }
    let of_sites = sites.iter().filter_map(|site| site.data.as_ref());
    data.extend(of_sites.map(|path| (path.into(), "sites".to_owned())));
    let place = |place: crate::ops::Place| Place {
        name: match () {
            () if place.path == Path::new("/") => "System disk",
            () if place.block => "Block volume",
            () => "Disk",
        }
        .to_owned(),
        path: place.path.display().to_string(),
        fill: place.fill.map(|(used, total)| pages::Fill { used, total }),
        holds: place.holds,
    };
    Ok(places(&data)?.into_iter().map(place).collect())
}

async fn findings(server: &Arc<Server>, projects: &[ProjectLine], silent: Option<Failure>) -> Vec<Finding> {
    let told = |about: &str, failure: &Failure| Finding {
        tone: Tone::Warning,
        about: about.to_owned(),
        text: failure.what.clone(),
        hint: failure.hints.first().cloned(),
    };
    let mut found: Vec<Finding> = silent.iter().map(|failure| told("The engine", failure)).collect();
    // Of a project whose files are gone there is nothing to look at.
    let names: Vec<ProjectName> = projects
        .iter()
        .filter(|project| project.directory.is_some())
        .map(|project| project.name.clone())
        .collect();
    let seen = server.lookout.look(server, &names, WITHIN).await;
    for (name, seen) in &seen {
        match &**seen {
            Ok(looked) => found.extend(
                looked
                    .diagnosis
                    .findings
                    .iter()
                    .map(|finding| lines::finding(name.as_str(), finding))
                    .filter(|finding| finding.tone != Tone::Plain),
            ),
            Err(failure) => found.push(told(name.as_str(), failure)),
        }
    }
    found.sort_by_key(|finding| finding.tone != Tone::Bad);
    let more = found.len().saturating_sub(FINDINGS);
    found.truncate(FINDINGS);
    let doctor = |tone, text| Finding {
        tone,
        about: "Doctor".to_owned(),
        text,
        hint: None,
    };
    if more > 0 {
        let text = format!("{more} more: each project has its own on its page");
        found.push(doctor(Tone::Plain, text));
    }
    if seen.len() < names.len() {
        let left = names.len() - seen.len();
        let text = format!(
            "is still looking at {}: load this page again in a moment",
            crate::model::count(left as u64, "project")
        );
        found.push(doctor(Tone::Live, text));
    }
    found
}

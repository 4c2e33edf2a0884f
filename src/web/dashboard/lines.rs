//! What ops says as the pages want it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::Server;
use super::super::pages::{
    BackupLine, Fill, Finding, ProjectLine, RunLine, RunState, SiteLine, Target, Tone, VolumeLine, Waiting,
};
use crate::event::Outcome;
use crate::model::{Home, Result};
use crate::ops::site::{SiteBackup, SiteReport, Sites};
use crate::ops::{self, Backup, RunCondition, Runs, VolumeStatus, places};
use crate::plan::doctor::{self, About, Severity};
use crate::site::{MadeOf, Site};

/// The last runs, of these projects if any are named.
pub(super) async fn runs(
    server: &Arc<Server>,
    project: Option<String>,
    limit: usize,
) -> Result<Vec<RunLine>> {
    let all = server
        .ask(|options| async move { Runs::new(options)?.list(usize::MAX) })
        .await?;
    let of_it = all
        .into_iter()
        .filter(|run| project.as_ref().is_none_or(|project| run.project == *project));
    Ok(of_it.take(limit).map(run).collect())
}

pub(super) fn run(run: ops::RunLine) -> RunLine {
    let ops::RunLine {
        project,
        line,
        condition,
    } = run;
    RunLine {
        run: line.run.to_string(),
        project,
        title: line.title,
        started: line.started,
        millis: line.millis,
        downtime_millis: line.downtime_millis.or(line.away_millis),
        by: line.by,
        state: match (condition, line.outcome) {
            (RunCondition::Running, _) => RunState::Running,
            (RunCondition::Waits, _) => RunState::Waiting,
            (RunCondition::Damaged, _) => RunState::Damaged,
            (RunCondition::Over, outcome) => RunState::Ended(outcome.unwrap_or(Outcome::Interrupted)),
        },
    }
}

/// A run that waits to be finished or taken back.
pub(super) fn waiting(run: &ops::RunLine) -> Waiting {
    Waiting {
        run: run.line.run.to_string(),
        title: run.line.title.clone(),
        project: run.project.clone(),
        reversible: run.line.reversible,
    }
}

pub(super) fn made_of(site: &Site) -> String {
    match (&site.made_of, &site.directory) {
        (MadeOf::Image { image, .. }, _) => image.clone(),
        (MadeOf::Imported, _) | (_, None) => "not known yet: it came from a panel".to_owned(),
        (MadeOf::Project, Some(directory)) => directory.display().to_string(),
    }
}

pub(super) fn site(report: &SiteReport) -> SiteLine {
    let Site {
        name,
        persistent_storage,
        data,
        ..
    } = &report.site;
    SiteLine {
        name: name.to_string(),
        made_of: made_of(&report.site),
        storage: *persistent_storage,
        data: data.as_ref().map(|path| path.display().to_string()),
        bytes: report.measured.as_ref().map(|measured| measured.bytes),
        changed: report.measured.as_ref().map(|measured| measured.changed),
    }
}

/// Every site, measured within the last minute or being measured.
pub(super) async fn sites(server: &Arc<Server>) -> Result<Vec<SiteLine>> {
    let all = server
        .ask(|options| async move { Sites::new(options)?.unmeasured() })
        .await?;
    let told = server.measures.of(all);
    Ok(told.iter().map(|told| site(&told.report)).collect())
}

/// The backups that a site is in.
pub(super) fn backups_of(report: &SiteReport) -> Vec<BackupLine> {
    let line = |backup: &SiteBackup| BackupLine {
        name: backup.id.clone(),
        of: report.site.name.to_string(),
        made: backup.began,
        bytes: None,
        place: backup.places.join(", "),
    };
    report.backups.iter().map(line).collect()
}

pub(super) fn backup(backup: Backup) -> BackupLine {
    BackupLine {
        name: backup.id,
        of: backup.project.to_string(),
        made: backup.made,
        bytes: Some(backup.bytes),
        place: backup.places.join(", "),
    }
}

pub(super) fn project(line: &ops::ProjectLine) -> ProjectLine {
    let on_block = line
        .volumes
        .values()
        .filter(|volume| volume.is_on_block())
        .count();
    let volumes = line.volumes.len();
    ProjectLine {
        name: line.name.to_string(),
        directory: line.directory.as_ref().map(|path| path.display().to_string()),
        up: line.services.values().map(|service| service.up).sum(),
        services: line.services.values().map(|service| service.containers).sum(),
        volumes: volumes as u64,
        home: match on_block {
            _ if volumes == 0 => "no volumes".to_owned(),
            0 => "Docker's directory".to_owned(),
            all if all == volumes => "block volume".to_owned(),
            some => format!("{some} of {volumes} on the block volume"),
        },
    }
}

/// A home in words.
pub(super) fn home(home: &Home) -> String {
    match home {
        Home::Volume => "Docker's directory".to_owned(),
        Home::Block { .. } => "Block volume".to_owned(),
        Home::Other { what } => what.clone(),
    }
}

pub(super) fn volume(volume: &VolumeStatus, local: bool) -> VolumeLine {
    VolumeLine {
        key: volume.key.to_string(),
        home: home(&volume.home),
        path: volume.path.clone(),
        bytes: volume.bytes,
        files: volume.files,
        fill: volume
            .path
            .as_ref()
            .filter(|_| local)
            .and_then(|path| fill(Path::new(path))),
        datastores: volume.datastores.clone(),
        mounted_by: volume.mounted_by.clone(),
    }
}

/// How full the file system of a path is.
pub(super) fn fill(path: &Path) -> Option<Fill> {
    let one = BTreeMap::from([(path.to_owned(), String::new())]);
    let (used, total) = places(&one).ok()?.first()?.fill?;
    Some(Fill { used, total })
}

/// A directory that data can go to, and what it is.
pub(super) fn target(root: &Path, what: &str) -> Target {
    let value = root.display().to_string();
    Target {
        name: format!("{what} at {value}"),
        fill: fill(root),
        picked: false,
        value,
    }
}

pub(super) fn finding(project: &str, finding: &doctor::Finding) -> Finding {
    Finding {
        tone: match finding.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning | Severity::Unknown => Tone::Warning,
            Severity::Note => Tone::Plain,
        },
        about: match &finding.about {
            About::Project => project.to_owned(),
            About::Volume(key) => format!("{project}, volume {key}"),
            About::Service(name) => format!("{project}, service {name}"),
            About::Site(name) => format!("{project}, site {name}"),
        },
        text: finding.what.clone(),
        hint: (!finding.mend.is_empty()).then(|| finding.mend.join("; ")),
    }
}

//! `rehome backup verify`: reads everything back and compares it with its hashes; with `--drill` it is restored as well,
//! where nothing lasts.

use jiff::Timestamp;

use super::VerifyRequest;
use super::vault::vault_of;
use crate::backup::catalogue::{self, State, Verified};
use crate::backup::format::{BackupId, Manifest};
use crate::backup::store::Store;
use crate::event::Outcome;
use crate::model::config::Place;
use crate::model::{ByteSize, Failure, Kind, ProjectName, Result, count};
use crate::observe::Depth;
use crate::ops::App;
use crate::ops::execute::{About, BackupAbout, Finish, RunFacts, Running};
use crate::plan::backup::drill::{DrillPlan, drill_plan};
use crate::plan::backup::restore::{PassedOver, passed_over};
use crate::state::{BackupLine, Lock};
use crate::steps::backup::{Source, Vault, check_snapshots, has_snapshots, manifest_of, read_back};

/// What was found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct VerifyReport {
    /// The backup.
    pub id: BackupId,
    /// Of which project.
    pub project: ProjectName,
    /// What was compared, place by place.
    pub places: Vec<(String, String)>,
}

/// A drill that waits for its run.
pub struct PlannedDrill {
    /// What will be done.
    pub plan: DrillPlan,
    source: Source,
    identities: Vec<std::path::PathBuf>,
    lock: Lock,
}

/// Reads backups back, in every place that has them.
///
/// # Errors
/// When anything is missing or different, naming it.
pub fn verify(app: &App, request: &VerifyRequest) -> Result<VerifyReport> {
    let vault = vault_of(app, &request.identities, None)?;
    let project = &app.project.name;
    let Which {
        id,
        having,
        lacking,
        worse,
    } = which(
        app,
        &vault,
        project,
        (request.id.as_ref(), request.from.as_ref()),
        // Reading it once more is how it comes to be trusted again.
        Counts::DamagedToo,
    )?;
    if let Some(warning) = passed_over(&worse) {
        app.options.events.warn(warning);
    }
    if !lacking.is_empty() {
        let failure = Failure::refused(format!("backup {id} is not in every place"))
            .data("nothing was changed; no byte of it was read")
            .hint("to verify it where it is: --from PLACE");
        return Err(lacking.into_iter().fold(failure, Failure::cause));
    }
    let (mut said, mut bad) = (Vec::new(), Vec::new());
    for place in &having {
        match tokio::task::block_in_place(|| verify_in(app, &vault, place, &id)) {
            Ok(line) => said.push((place.to_string(), line)),
            // Whether another copy is whole is what is asked next.
            Err(failure) if failure.kind == Kind::Refused => bad.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if !bad.is_empty() {
        let mut bad = bad.into_iter();
        let first = bad
            .next()
            .ok_or_else(|| Failure::bug("no failure among failures"))?;
        let first = bad.fold(first, |all, other| all.cause(other.to_string()));
        return Err(match said.first() {
            Some((place, _)) => first.hint(format!(
                "the copy in {place} is whole: rehome backup restore {id} --from {place}"
            )),
            None => first,
        });
    }
    note(app, &id, false);
    Ok(VerifyReport {
        id,
        project: project.clone(),
        places: said,
    })
}

/// Reads the copy in one place, and notes there what was found. Says what was compared.
fn verify_in(app: &App, vault: &Vault, place: &Place, id: &BackupId) -> Result<String> {
    let (store, project) = (vault.place(place)?, &app.project.name);
    let manifest = manifest_of(&*store, project, id)?;
    let repository = has_snapshots(&manifest).then(|| vault.repository(&store, project));
    let repository = repository.transpose()?;
    let whole = read_back(&app.options.interrupt, &*store, &manifest);
    let whole = whole.and_then(|()| {
        let checked = repository.map(|repository| check_snapshots(&repository, &manifest));
        checked.transpose()
    });
    let snapshots = match whole {
        Ok(snapshots) => snapshots,
        Err(failure) if failure.kind != Kind::Refused => {
            return Err(failure.data("nothing was changed"));
        }
        Err(failure) => {
            let found = (Timestamp::now(), &failure);
            if let Err(why) = catalogue::write_damaged(&*store, project, id, found) {
                app.options.events.warn(why.to_string());
            }
            return Err(failure.data("the backup is as it was; it cannot be relied on"));
        }
    };
    let verified = Verified::by_hashes(Timestamp::now(), manifest.entries.len());
    catalogue::write_verified(&*store, project, id, &verified)?;
    let bytes: u64 = manifest.entries.iter().map(|e| e.sealed.stored_bytes).sum();
    Ok(format!(
        "{}, {} read back: every hash (BLAKE3) as it was written{}",
        count(manifest.entries.len() as u64, "entry"),
        ByteSize(bytes),
        snapshots.map_or_else(String::new, |said| format!("; {said}"))
    ))
}

/// Plans a drill, for a backup whose hashes were compared.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub async fn plan_drill(app: &App, request: &VerifyRequest, id: &BackupId) -> Result<PlannedDrill> {
    let lock = app.lock()?;
    app.no_unfinished_run()?;
    app.engine.remove_left_helpers(&app.project.name).await?;
    let vault = vault_of(app, &request.identities, None)?;
    let named = (Some(id), request.from.as_ref());
    let Which { having, .. } = which(app, &vault, &app.project.name, named, Counts::Good)?;
    let (source, manifest) = first_of(&vault, &app.project.name, id, having)?;
    let depth = Depth {
        scan: Some(Vec::new()),
        docker_disk: true,
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    let plan = drill_plan(&world, &manifest, &source)?;
    Ok(PlannedDrill {
        plan,
        source,
        identities: request.identities.clone(),
        lock,
    })
}

impl PlannedDrill {
    /// Runs it, and notes at the backup that it was done.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self, app: &App) -> Result<Finish> {
        let about = RunFacts::Backup(Box::new(BackupAbout {
            backup: About::Drill(self.plan.facts),
            identities: self.identities.clone(),
            lender: None,
            metrics: None,
        }));
        let running = Running::as_it_is(app);
        let finish = running.begin(app, (about, self.plan.steps), self.lock).await?;
        if finish.outcome == Outcome::Done {
            let vault = vault_of(app, &self.identities, None)?;
            let store = vault.place(&self.source.place)?;
            let verified = Verified::by_drill(Timestamp::now(), finish.verified.clone());
            let noted = tokio::task::block_in_place(|| {
                catalogue::write_verified(&*store, &self.source.project, &self.source.id, &verified)
            });
            note(app, &self.source.id, true);
            if let Err(failure) = noted {
                app.options.events.warn(format!(
                    "that it was done cannot be noted at the backup: {failure}"
                ));
            }
        }
        Ok(finish)
    }
}

/// Notes for the doctor that a backup was read back.
fn note(app: &App, id: &BackupId, drill: bool) {
    let line = BackupLine::Verified {
        id: id.to_string(),
        at: Timestamp::now(),
        drill,
    };
    if let Err(failure) = app.state.append_backup(&line) {
        app.options.events.warn(failure.to_string());
    }
}

/// A backup that is meant.
pub(super) struct Which {
    pub id: BackupId,
    /// The places that have it.
    pub having: Vec<Place>,
    /// Of each other place, what it has instead.
    pub lacking: Vec<String>,
    /// Newer ones that are no good, newest first; none if one was named.
    pub worse: Vec<PassedOver>,
}

/// Which backups count where none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Those that nothing is known against.
    Good,
    /// Those too that were found damaged when they were last read back.
    DamagedToo,
}

/// Which backup is meant, and the places that have it: that which was named, or the newest complete one.
///
/// # Errors
/// When there is none, or no place.
pub(super) fn which(
    app: &App,
    vault: &Vault,
    project: &ProjectName,
    (id, from): (Option<&BackupId>, Option<&Place>),
    counts: Counts,
) -> Result<Which> {
    let places = match from {
        Some(place) => vec![place.clone()],
        None => app.settings.backup.places(),
    };
    let vault = vault.of(project);
    if places.is_empty() {
        return Err(
            Failure::usage("where from? neither --from nor `backup.to` in rehome.yml says it")
                .hint("rehome backup verify --from /var/backups/PROJECT"),
        );
    }
    let mut causes = Vec::new();
    let mut found: Vec<(BackupId, Place)> = Vec::new();
    let mut worse = Vec::new();
    for place in &places {
        let store = vault.place(place)?;
        let has = tokio::task::block_in_place(|| match id {
            Some(id) => manifest_of(&*store, project, id).map(|manifest| Some(manifest.id)),
            None => newest_good(&*store, place, project, counts, &mut worse),
        });
        match has {
            Ok(Some(id)) => found.push((id, place.clone())),
            Ok(None) => causes.push(format!("{place} has no complete backup of {project}")),
            Err(failure) => causes.push(failure.to_string()),
        }
    }
    // One place may have missed the last one.
    let newest = found.iter().map(|(id, _)| id).max().cloned();
    let mut having = Vec::new();
    for (id, place) in found {
        match Some(&id) == newest.as_ref() {
            true => having.push(place),
            false => causes.push(format!("the last one in {place} is {id}")),
        }
    }
    match newest {
        Some(id) => {
            worse.retain(|one: &PassedOver| one.id > id);
            worse.sort_by(|a, b| b.id.cmp(&a.id));
            Ok(Which {
                id,
                having,
                lacking: causes,
                worse,
            })
        }
        None => {
            let what = match id {
                Some(id) => format!("there is no backup {id} of project {project}"),
                None => format!("there is no backup of project {project}"),
            };
            let failure = Failure::refused(what).data("nothing was changed");
            Err(causes
                .into_iter()
                .fold(failure, Failure::cause)
                .hint("rehome backup list"))
        }
    }
}

/// A backup in the first of the places that have it.
///
/// # Errors
/// When it cannot be read there.
pub(super) fn first_of(
    vault: &Vault,
    project: &ProjectName,
    id: &BackupId,
    having: Vec<Place>,
) -> Result<(Source, Manifest)> {
    let source = Source {
        place: having
            .into_iter()
            .next()
            .ok_or_else(|| Failure::bug("a backup without a place"))?,
        project: project.clone(),
        id: id.clone(),
    };
    let store = vault.of(project).place(&source.place)?;
    let manifest = tokio::task::block_in_place(|| manifest_of(&*store, project, id))?;
    Ok((source, manifest))
}

/// The newest complete backup of a place; those that are not complete are noted.
fn newest_good(
    store: &dyn Store,
    place: &Place,
    project: &ProjectName,
    counts: Counts,
    worse: &mut Vec<PassedOver>,
) -> Result<Option<BackupId>> {
    let mut good = None;
    for found in catalogue::read(store, Some(project))? {
        let why = match found.state {
            State::Complete(_) => {
                good = Some(found.id);
                continue;
            }
            State::Damaged(_) if counts == Counts::DamagedToo => {
                good = Some(found.id);
                continue;
            }
            State::Incomplete => "it was never finished, or is being written".to_owned(),
            State::Unreadable(failure) | State::Damaged(failure) => failure.to_string(),
        };
        worse.push(PassedOver {
            id: found.id,
            place: place.to_string(),
            why,
        });
    }
    Ok(good)
}

//! The plan of a backup: what is dumped, what is archived, which services stand still meanwhile. Pure.

pub mod drill;
pub mod restore;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::refuse::right_volume;
use super::{START_LIMIT, all_of, did_you_mean, order, starting};
use crate::backup::format::{Encryption, ServiceNote};
use crate::datastore::Kind;
use crate::model::config::{Consistency, Place};
use crate::model::{Failure, Home, ProjectName, Result, ServiceName, SiteName, VolumeKey};
use crate::observe::{ServiceSeen, SiteSeen, VolumeSeen, World};
use crate::steps::backup::{BackupStep, BringUp, GoOn, Pause, Pausing, Publish, Save, Saving};
use crate::steps::dumps::Dumping;
use crate::steps::{Moving, Stop, Target, Tidy};

pub use text::{render, render_restore};

/// What a backup is planned from.
#[derive(Debug, Clone)]
pub struct BackupSeen {
    /// The world.
    pub world: World,
    /// Who each database server is asked as, whether or not it runs.
    pub databases: Vec<Dumping>,
    /// What runs.
    pub services: Vec<ServiceNote>,
    /// The Compose files that are there.
    pub files: Vec<PathBuf>,
    /// The resolved configuration, without values.
    pub configuration: serde_json::Value,
    /// This machine's name.
    pub machine: String,
    /// How large each entry of the last backup was.
    pub last: BTreeMap<String, u64>,
}

/// What is wanted, with every setting resolved.
#[derive(Debug, Clone)]
pub struct BackupWanted {
    /// Where to.
    pub places: Vec<Place>,
    /// Those of them that keep volumes as snapshots.
    pub snapshots: Vec<Place>,
    /// Only these services and volumes; all if empty.
    pub only: Vec<String>,
    /// Not these, and who said so.
    pub exclude: BTreeMap<String, String>,
    /// Services whose database is not dumped: the files of its volume are archived.
    pub no_dump: Vec<ServiceName>,
    /// What the services do meanwhile.
    pub consistency: Consistency,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// It is not pruned.
    pub pin: bool,
    /// When it begins.
    pub began: Timestamp,
    /// Limit for stopping each service.
    pub stop_timeout: Option<Duration>,
}

/// What is said about the plan of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupFacts {
    /// The project.
    pub project: ProjectName,
    /// When it begins.
    pub began: Timestamp,
    /// Where to, in words.
    pub places: Vec<String>,
    /// What is saved: a name, and how.
    pub saved: Vec<(String, String)>,
    /// What is not, with the reason.
    pub left_out: Vec<String>,
    /// What the services do meanwhile.
    pub consistency: Consistency,
    /// Services that stand still while volumes are read.
    pub still: Vec<ServiceName>,
    /// How it is encrypted, in words.
    pub encryption: String,
    /// It is of the whole project, and not only of what was named.
    pub whole: bool,
    /// The sites whose directories are in it.
    #[serde(default)]
    pub sites: Vec<SiteName>,
    /// What a careful person should know.
    pub warnings: Vec<String>,
}

/// A plan: what is said, and what is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BackupPlan {
    /// What is said.
    pub facts: BackupFacts,
    /// What is done, in this order.
    pub steps: Vec<BackupStep>,
}

/// What goes into a backup, sorted by how.
#[derive(Debug, Default)]
struct Chosen<'a> {
    servers: Vec<&'a Dumping>,
    sqlite: Vec<Saving>,
    volumes: Vec<&'a VolumeSeen>,
    left_out: Vec<String>,
    warnings: Vec<String>,
}

/// Makes the plan of a backup.
///
/// # Errors
/// Refuses in words whatever can be known beforehand to go wrong.
pub fn backup_plan(seen: &BackupSeen, wanted: &BackupWanted) -> Result<BackupPlan> {
    if wanted.places.is_empty() {
        return Err(
            Failure::usage("where to? neither --to nor `backup.to` in rehome.yml says it")
                .hint("for every time, in rehome.yml: backup: { to: [/var/backups/PROJECT] }")
                .hint("for this time: rehome backup create --to /var/backups/PROJECT"),
        );
    }
    names_are_known(seen, wanted)?;
    let chosen = choose(seen, wanted)?;
    if chosen.servers.is_empty() && chosen.volumes.is_empty() {
        let failure = Failure::refused("there is nothing to save").data("nothing was written");
        return Err(chosen
            .left_out
            .iter()
            .fold(failure, |f, why| f.cause(why.clone())));
    }
    let (still, before, after) = standing_still(seen, wanted, &chosen)?;
    let save = |what: Vec<Saving>, live: bool| {
        BackupStep::Save(Save {
            began: wanted.began,
            places: wanted.places.clone(),
            what,
            live,
            snapshots: wanted.snapshots.clone(),
        })
    };
    // Databases before files: a file that a row names is there when its volume is read, unless it was deleted since.
    let mut first: Vec<Saving> = seen.files.iter().map(|path| file(path)).collect();
    first.extend(chosen.servers.iter().map(|what| server(&seen.world, what)));
    first.extend(chosen.sqlite.clone());
    let volumes: Vec<Saving> = chosen
        .volumes
        .iter()
        .map(|v| Saving::Volume {
            key: v.key.clone(),
            name: v.name.clone(),
            site: v.site_dir().cloned(),
        })
        .collect();
    let mut steps = Vec::new();
    if still.is_empty() {
        first.extend(volumes);
        steps.push(save(first, true));
    } else {
        steps.push(save(first, true));
        steps.extend(before);
        steps.push(save(volumes, false));
        steps.extend(after);
    }
    steps.push(BackupStep::Publish(Publish {
        began: wanted.began,
        places: wanted.places.clone(),
        pin: wanted.pin,
        consistency: wanted.consistency,
        encryption: wanted.encryption.clone(),
        services: seen.services.clone(),
        left_out: chosen.left_out.clone(),
        configuration: seen.configuration.clone(),
        machine: seen.machine.clone(),
        prove: chosen.servers.iter().map(|what| (*what).clone()).collect(),
        last: seen.last.clone(),
    }));
    steps.push(BackupStep::Tidy(Tidy::default()));
    Ok(BackupPlan {
        facts: BackupFacts {
            project: seen.world.project.clone(),
            began: wanted.began,
            places: wanted.places.iter().map(ToString::to_string).collect(),
            saved: said(&chosen, wanted),
            sites: chosen
                .volumes
                .iter()
                .filter_map(|v| v.site_dir().map(|site| site.name.clone()))
                .collect(),
            left_out: chosen.left_out,
            consistency: wanted.consistency,
            still,
            encryption: encryption(&wanted.encryption),
            whole: wanted.only.is_empty(),
            warnings: chosen.warnings,
        },
        steps,
    })
}

fn file(path: &std::path::Path) -> Saving {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Saving::File {
        name: name.to_string_lossy().into_owned(),
        path: path.to_owned(),
    }
}

fn server(world: &World, what: &Dumping) -> Saving {
    let volume = volume_of(world, what.kind, &what.service);
    let at = volume.and_then(|v| v.datastores.iter().find(|d| d.kind == what.kind));
    Saving::Server {
        what: what.clone(),
        volume: volume.map(|v| v.key.clone()),
        at: at.map_or_else(String::new, |d| d.path.clone()),
    }
}

/// A name of the command line or of rehome.yml that nothing has is a mistake.
fn names_are_known(seen: &BackupSeen, wanted: &BackupWanted) -> Result<()> {
    let services = seen.databases.iter().map(|d| d.service.as_str());
    let known: Vec<&str> = services
        .chain(seen.world.volumes.iter().map(|v| v.key.as_str()))
        .collect();
    let no_dump = wanted.no_dump.iter().map(ServiceName::as_str);
    for name in wanted
        .only
        .iter()
        .chain(wanted.exclude.keys())
        .map(String::as_str)
        .chain(no_dump)
    {
        if !known.contains(&name) {
            let failure = Failure::refused(format!(
                "project {} has neither a volume nor a database server `{name}`",
                seen.world.project
            ))
            .data("nothing was written");
            return Err(did_you_mean(failure, name, &known));
        }
    }
    Ok(())
}

/// The volume that holds the data of a server, by what was found in it.
fn volume_of<'a>(world: &'a World, kind: Kind, service: &ServiceName) -> Option<&'a VolumeSeen> {
    let holds = |v: &&VolumeSeen| {
        v.datastores
            .iter()
            .any(|d| d.kind == kind && d.service.as_ref() == Some(service))
    };
    world
        .volumes
        .iter()
        .find(holds)
        .or_else(|| the_only_one(world, service))
}

/// A server that has not written anything yet is in none of its files: then the one volume that it alone may write to.
fn the_only_one<'a>(world: &'a World, service: &ServiceName) -> Option<&'a VolumeSeen> {
    let service = world.service(service)?;
    let mut written = service.mounts.iter().filter(|m| !m.read_only);
    let (first, None) = (written.next()?, written.next()) else {
        return None;
    };
    let others = |s: &ServiceSeen| s.name != service.name && s.mounts_volume(&first.volume);
    let volume = world.volume(&first.volume)?;
    (volume.datastores.is_empty() && !world.services.iter().any(others)).then_some(volume)
}

fn choose<'a>(seen: &'a BackupSeen, wanted: &BackupWanted) -> Result<Chosen<'a>> {
    let world = &seen.world;
    let mut chosen = Chosen::default();
    let mut in_dumps: BTreeSet<&VolumeKey> = BTreeSet::new();
    let is_wanted =
        |names: &[&str]| wanted.only.is_empty() || names.iter().any(|n| wanted.only.iter().any(|o| o == n));
    for what in &seen.databases {
        let volume = volume_of(world, what.kind, &what.service);
        let mut names = vec![what.service.as_str()];
        names.extend(volume.map(|v| v.key.as_str()));
        if wanted.no_dump.contains(&what.service) {
            not_torn(what, volume, wanted)?;
            continue;
        }
        in_dumps.extend(volume.map(|v| &v.key));
        if let Some(who) = names.iter().find_map(|n| wanted.exclude.get(*n)) {
            chosen
                .left_out
                .push(format!("{} of {}: {who}", what.kind, what.service));
            continue;
        }
        if !is_wanted(&names) {
            continue;
        }
        if !world.service(&what.service).is_some_and(|s| s.is_up()) {
            return Err(Failure::refused(format!(
                "service `{}` does not run: its {} cannot be dumped",
                what.service, what.kind
            ))
            .data("nothing was written; the older backups are as they were")
            .hint(format!("start it: rehome up {}", what.service))
            .hint(format!("or leave it out: --exclude {}", what.service)));
        }
        chosen.servers.push(what);
    }
    for volume in &world.volumes {
        let key = &volume.key;
        if in_dumps.contains(key) {
            continue;
        }
        if let Some(who) = wanted.exclude.get(key.as_str()) {
            chosen.left_out.push(format!("{}: {who}", volume.describe()));
            continue;
        }
        if !is_wanted(&[key.as_str()])
            && !no_dump_of(world, seen, wanted, volume)
                .iter()
                .any(|s| is_wanted(&[s]))
        {
            continue;
        }
        if let Some(site) = &volume.site {
            is_right(site)?;
        }
        if let (Some(site), false, None) = (volume.site_dir(), volume.exists, &volume.unseen) {
            let (name, dir) = (&site.name, site.dir.display());
            chosen.left_out.push(format!("site {name}: {dir} is not there"));
            chosen
                .warnings
                .push(format!("nothing of site {name} is saved: {dir} is not there"));
            continue;
        }
        if !volume.exists && volume.site.is_none() {
            chosen
                .left_out
                .push(format!("volume {key}: the engine does not have it yet"));
            continue;
        }
        if let Home::Other { what } = &volume.home {
            chosen
                .left_out
                .push(format!("volume {key}: its data is not on this machine ({what})"));
            chosen
                .warnings
                .push(format!("volume `{key}` is not saved: {what}"));
            continue;
        }
        if let Some(failure) = &volume.unseen {
            let what = match volume.site {
                Some(_) => volume.describe(),
                None => format!("volume `{key}`"),
            };
            return Err(failure.clone().inside(format!("{what} cannot be looked at")));
        }
        for datastore in volume.datastores.iter().filter(|d| d.kind == Kind::Sqlite) {
            chosen.sqlite.push(Saving::Sqlite {
                key: key.clone(),
                name: volume.name.clone(),
                path: datastore.path.clone(),
                site: volume.site_dir().cloned(),
            });
        }
        chosen.volumes.push(volume);
    }
    Ok(chosen)
}

/// Where the right block volume is not mounted there is nothing of a site, and nothing would be what is saved (trap 3).
fn is_right(site: &SiteSeen) -> Result<()> {
    let Some(meant) = &site.meant else { return Ok(()) };
    let name = &site.of.name;
    right_volume(meant).map_err(|failure| {
        let failure = match failure.data {
            Some(_) => failure,
            None => failure.data("nothing was changed"),
        };
        failure.inside(format!(
            "the directory of site {name}, {}, is not on the volume that it belongs on",
            site.of.dir.display()
        ))
    })
}

/// The services whose database lies in this volume and is not dumped.
fn no_dump_of<'a>(
    world: &World,
    seen: &'a BackupSeen,
    wanted: &BackupWanted,
    volume: &VolumeSeen,
) -> Vec<&'a str> {
    let of = |what: &&Dumping| {
        wanted.no_dump.contains(&what.service)
            && volume_of(world, what.kind, &what.service).map(|v| &v.key) == Some(&volume.key)
    };
    seen.databases
        .iter()
        .filter(of)
        .map(|what| what.service.as_str())
        .collect()
}

/// The files of a running database are no backup of it (trap 10).
fn not_torn(what: &Dumping, volume: Option<&VolumeSeen>, wanted: &BackupWanted) -> Result<()> {
    let key = volume.map_or("", |v| v.key.as_str());
    let left_out = wanted.exclude.contains_key(key) || wanted.exclude.contains_key(what.service.as_str());
    // A Redis replaces its file as a whole.
    let torn = !matches!(what.kind, Kind::Redis | Kind::Sqlite) && wanted.consistency != Consistency::Stop;
    if !torn || left_out || volume.is_none() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the {} of service `{}` is not dumped, and its files are written to while they are read",
        what.kind, what.service
    ))
    .cause("`backup.no_dump` in rehome.yml names it, and a copy of a running database's files is no backup")
    .data("nothing was written")
    .hint("let it be dumped, leave its volume out (`backup.exclude`), or say `consistency: stop`"))
}

/// The services that stand still while volumes are read, and the steps before and after.
fn standing_still(
    seen: &BackupSeen,
    wanted: &BackupWanted,
    chosen: &Chosen<'_>,
) -> Result<(Vec<ServiceName>, Vec<BackupStep>, Vec<BackupStep>)> {
    let world = &seen.world;
    let keys: BTreeSet<VolumeKey> = chosen.volumes.iter().map(|v| v.key.clone()).collect();
    match wanted.consistency {
        Consistency::Live => Ok(Default::default()),
        Consistency::Stop => {
            let stack = order::stack_of(world, &keys);
            let still: Vec<ServiceName> = stack.stopped().cloned().collect();
            if still.is_empty() {
                return Ok(Default::default());
            }
            let start = starting(world, &stack);
            let waves = super::stopping_waves(world, &stack, wanted.stop_timeout);
            let stop = BackupStep::Stop(Stop {
                waves,
                start: start.clone(),
                mounts: Vec::new(),
                mounting: Vec::new(),
                volumes: chosen.volumes.iter().map(|v| reading(v)).collect(),
                copying: None,
                start_limit: START_LIMIT,
            });
            let up = BackupStep::BringUp(BringUp {
                services: start,
                limit: START_LIMIT,
                stop_on_the_way_back: false,
                signals: BTreeMap::new(),
            });
            Ok((still, vec![stop], vec![up]))
        }
        Consistency::Pause => {
            let writes = |s: &&ServiceSeen| {
                s.is_up() && s.mounts.iter().any(|m| keys.contains(&m.volume) && !m.read_only)
            };
            let writers: Vec<_> = world.services.iter().rev().filter(writes).collect();
            let containers: Vec<Pausing> = writers
                .iter()
                .flat_map(|s| s.containers.iter().map(|c| (s.name.clone(), c)))
                .filter(|(_, c)| c.state.is_up())
                .map(|(service, c)| Pausing {
                    service,
                    id: c.id.clone(),
                })
                .collect();
            if containers.is_empty() {
                return Ok(Default::default());
            }
            let still = writers.iter().map(|s| s.name.clone()).collect();
            let pause = BackupStep::Pause(Pause {
                containers: containers.clone(),
            });
            Ok((still, vec![pause], vec![BackupStep::GoOn(GoOn { containers })]))
        }
    }
}

/// A volume that is only read, in the words of a step that stops services.
fn reading(volume: &VolumeSeen) -> Moving {
    let name = volume.name.clone();
    Moving {
        bytes: 0,
        entries: 0,
        ..all_of(volume, Target::Volume { name })
    }
}

fn said(chosen: &Chosen<'_>, wanted: &BackupWanted) -> Vec<(String, String)> {
    let kept = match wanted.snapshots.len() {
        0 => "archived",
        n if n < wanted.places.len() => "archived, and as a snapshot of restic",
        _ => "as a snapshot of restic",
    };
    let servers = chosen.servers.iter().map(|what| {
        (
            what.service.to_string(),
            format!("{} dumped by its own client", what.kind),
        )
    });
    let sqlite = chosen
        .sqlite
        .iter()
        .map(|s| (s.describe(), "SQLite, by its online backup".to_owned()));
    let volumes = chosen.volumes.iter().map(|v| {
        let scan = v.scan.clone().unwrap_or_default();
        let size = crate::model::ByteSize(scan.bytes);
        let files = crate::model::count(scan.files, "file");
        (v.key.to_string(), format!("{size} in {files}, {kept}"))
    });
    servers.chain(sqlite).chain(volumes).collect()
}

fn encryption(how: &Encryption) -> String {
    match how {
        Encryption::None => "not encrypted".to_owned(),
        Encryption::Recipients { recipients } => format!(
            "encrypted for {}: this machine cannot read it",
            crate::model::count(recipients.len() as u64, "recipient")
        ),
        Encryption::Passphrase => "encrypted with a passphrase".to_owned(),
    }
}

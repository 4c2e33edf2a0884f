//! What is restored: which parts of a backup, or what of a file that Rehome did not write. Pure.

use std::path::{Path, PathBuf};

use super::{Origin, RestoreSeen, RestoreWanted};
use crate::backup::format::What;
use crate::datastore::Kind;
use crate::model::{Failure, Result, ServiceName};
use crate::observe::{ServiceSeen, World};
use crate::plan::did_you_mean;
use crate::steps::backup::{Input, Part, StrangeFile, parts_of};
use crate::steps::dumps::Foreign;

/// A dump of all of a PostgreSQL: it makes roles and databases itself, so it cannot be loaded all or nothing.
const CLUSTER: &[u8] = b"PostgreSQL database cluster dump";

/// What was asked for.
pub(super) fn chosen(seen: &RestoreSeen, wanted: &RestoreWanted) -> Result<Vec<Input>> {
    let inputs = match &seen.origin {
        Origin::Backup { .. } => of_backup(seen, wanted)?,
        Origin::File { file, head } => vec![of_file(&seen.world, wanted, file, head)?],
    };
    for input in &inputs {
        if let (Some(path), Some(key)) = (input.path(), input.volume()) {
            no_database_at(seen, path, key.as_str())?;
        }
    }
    Ok(inputs)
}

fn of_backup(seen: &RestoreSeen, wanted: &RestoreWanted) -> Result<Vec<Input>> {
    let Origin::Backup { manifest, source, .. } = &seen.origin else {
        return Err(Failure::bug("a file was taken for a backup"));
    };
    let parts = parts_of(&manifest.entries);
    let names = |part: &Part| {
        let service = match part {
            Part::Server { service, .. } => Some(service.to_string()),
            Part::Volume { .. } => None,
        };
        let volume = part.volume().map(ToString::to_string);
        service.into_iter().chain(volume).collect::<Vec<_>>()
    };
    let known: Vec<String> = parts.iter().flat_map(&names).collect();
    for name in &wanted.only {
        if !known.contains(name) {
            let failure = Failure::refused(format!("backup {} has no `{name}`", manifest.id))
                .data("nothing was changed");
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(did_you_mean(failure, name, &known));
        }
    }
    let is_wanted =
        |part: &Part| wanted.only.is_empty() || names(part).iter().any(|n| wanted.only.contains(n));
    let mut chosen: Vec<Part> = parts.into_iter().filter(is_wanted).collect();
    if wanted.path.is_some() {
        chosen.retain(|part| matches!(part, Part::Volume { .. }));
        one(&chosen, "--path", "volume")?;
    }
    if let Some(database) = &wanted.database {
        chosen.retain(|part| matches!(part, Part::Server { .. }));
        one(&chosen, "--database", "service with a database")?;
        chosen = vec![with_one_dump(chosen.remove(0), database)?];
    }
    if chosen.is_empty() {
        return Err(
            Failure::refused(format!("backup {} has nothing to restore", manifest.id))
                .data("nothing was changed"),
        );
    }
    let path = wanted.path.clone();
    let input = |part| Input::Backup {
        source: source.clone(),
        part,
        path: path.clone(),
    };
    Ok(chosen.into_iter().map(input).collect())
}

/// An option that is about one thing.
fn one(chosen: &[Part], option: &str, of: &str) -> Result<()> {
    let names: Vec<String> = chosen.iter().map(Part::describe).collect();
    let refused = |what: String| Failure::usage(what).data("nothing was changed");
    match names.as_slice() {
        [_] => Ok(()),
        [] => Err(refused(format!("{option} is about a {of}, and none was chosen"))),
        _ => Err(
            refused(format!("{option} is about one {of}: say which with --only"))
                .cause(format!("the backup has {}", names.join(", "))),
        ),
    }
}

/// A server's part with one of its databases alone.
fn with_one_dump(part: Part, database: &str) -> Result<Part> {
    let Part::Server {
        service,
        kind,
        volume,
        dumps,
    } = part
    else {
        return Err(Failure::bug("a volume was taken for a server"));
    };
    if kind != Kind::Postgres {
        return Err(not_alone(kind, &service));
    }
    let name_of = |what: &What| match what {
        What::Dump(note) => note.database.clone(),
        _ => None,
    };
    let known: Vec<String> = dumps.iter().filter_map(|dump| name_of(&dump.what)).collect();
    let dumps: Vec<_> = dumps
        .into_iter()
        .filter(|dump| name_of(&dump.what).as_deref() == Some(database))
        .collect();
    if dumps.is_empty() {
        let failure = Failure::refused(format!(
            "the backup of service `{service}` has no database `{database}`"
        ))
        .data("nothing was changed");
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(did_you_mean(failure, database, &known));
    }
    Ok(Part::Server {
        service,
        kind,
        volume,
        dumps,
    })
}

fn not_alone(kind: Kind, service: &ServiceName) -> Failure {
    Failure::refused(format!("one database of a {kind} is not restored alone"))
        .cause(
            "of PostgreSQL a database can take another one's name at once; of others there is no such thing",
        )
        .data("nothing was changed")
        .hint(format!("all of it: --only {service}"))
}

fn of_file(world: &World, wanted: &RestoreWanted, file: &StrangeFile, head: &[u8]) -> Result<Input> {
    let shown = file.path.display();
    let [name] = wanted.only.as_slice() else {
        return Err(Failure::usage(format!("where shall {shown} go?"))
            .data("nothing was changed")
            .hint("to a service's database: --only SERVICE --database NAME; to a volume: --only VOLUME"));
    };
    let server = world.services.iter().find(|s| s.name.as_str() == name);
    if let Some((service, kind)) = server.and_then(|s| Some((s, s.server?))) {
        return dump(world, wanted, (service, kind), file, head);
    }
    let Some(volume) = world.volumes.iter().find(|v| v.key.as_str() == name) else {
        let failure = Failure::refused(format!(
            "project {} has neither a database server nor a volume `{name}`",
            world.project
        ))
        .data("nothing was changed");
        let servers = world.services.iter().filter(|s| s.server.is_some());
        let known: Vec<&str> = servers
            .map(|s| s.name.as_str())
            .chain(world.volumes.iter().map(|v| v.key.as_str()))
            .collect();
        return Err(did_you_mean(failure, name, &known));
    };
    // https://www.gnu.org/software/tar/manual/html_node/Standard.html
    if head.get(257..262) != Some(b"ustar") {
        return Err(Failure::refused(format!("{shown} is no tar"))
            .cause(format!("volume `{name}` is filled from the files of one"))
            .data("nothing was changed")
            .hint("a dump goes to the service of its database: --only SERVICE"));
    }
    if let Some(datastore) = volume.datastores.iter().find(|d| d.kind != Kind::Sqlite) {
        return Err(Failure::refused(format!(
            "volume `{name}` has a {}, whose files are not restored from a tar that Rehome did not write",
            datastore.kind
        ))
        .cause("nobody knows whether it ran while they were copied")
        .data("nothing was changed")
        .hint("load a dump of it: --only SERVICE"));
    }
    Ok(Input::Tar {
        file: file.clone(),
        key: volume.key.clone(),
        strip: wanted.strip,
        path: wanted.path.clone(),
    })
}

fn dump(
    world: &World,
    wanted: &RestoreWanted,
    (service, kind): (&ServiceSeen, Kind),
    file: &StrangeFile,
    head: &[u8],
) -> Result<Input> {
    let shown = file.path.display();
    let Some(format) = Foreign::recognise(kind, head) else {
        return Err(
            Failure::refused(format!("{shown} is nothing that {kind} can load"))
                .cause("it is known by its first bytes")
                .data("nothing was changed"),
        );
    };
    if wanted.path.is_some() || wanted.strip > 0 {
        return Err(
            Failure::usage("--path and --strip are about files in a volume").data("nothing was changed")
        );
    }
    if kind == Kind::Postgres {
        if head.windows(CLUSTER.len()).any(|w| w == CLUSTER) {
            return Err(
                Failure::refused(format!("{shown} is a dump of a whole cluster (pg_dumpall)"))
                    .cause(
                        "it makes its roles and databases itself, so that it cannot be loaded all or nothing",
                    )
                    .data("nothing was changed")
                    .hint("load it into an empty server by hand, and make a backup of that"),
            );
        }
        if wanted.database.is_none() {
            return Err(Failure::usage(format!(
                "into which database of service `{}` shall {shown} be loaded?",
                service.name
            ))
            .data("nothing was changed")
            .hint("--database NAME"));
        }
    } else if wanted.database.is_some() && kind != Kind::Mysql {
        return Err(not_alone(kind, &service.name));
    }
    let Some(volume) = super::super::volume_of(world, kind, &service.name) else {
        return Err(Failure::refused(format!(
            "the data of service `{}` is in no volume of the project",
            service.name
        ))
        .data("nothing was changed"));
    };
    Ok(Input::Dump {
        file: file.clone(),
        format,
        service: service.name.clone(),
        kind,
        volume: volume.key.clone(),
        database: wanted.database.clone(),
    })
}

/// A file of a database is not exchanged alone: the log beside it would be taken for the new one's.
/// <https://www.sqlite.org/howtocorrupt.html#_deleting_a_hot_journal>
fn no_database_at(seen: &RestoreSeen, path: &Path, key: &str) -> Result<()> {
    let refused = |what: String, why: &str| {
        Err(Failure::refused(what)
            .cause(why)
            .data("nothing was changed")
            .hint(format!("all of the volume: --only {key}")))
    };
    let volume = seen.world.volumes.iter().find(|v| v.key.as_str() == key);
    for datastore in volume.into_iter().flat_map(|v| &v.datastores) {
        let at: PathBuf = datastore.path.trim_start_matches("./").into();
        match datastore.kind {
            Kind::Sqlite if at == path => {
                return refused(
                    format!("{} of volume `{key}` is an SQLite database", path.display()),
                    "its log lies beside it, and would be taken for the restored one's",
                );
            }
            Kind::Sqlite => {}
            kind => {
                return refused(
                    format!("volume `{key}` has the data of a {kind}"),
                    "a part of it is no database",
                );
            }
        }
    }
    Ok(())
}

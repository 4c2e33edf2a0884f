//! Looks at everything that a check-up needs, once. It only reads: the helpers have everything read-only, the commands
//! in containers are `test -w` and queries, and what cannot be looked at is noted and passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::containers::is_anonymous;
use super::{
    AnonymousSeen, BindSeen, BootSeen, Checkup, ContainerMore, Depth, EngineVolume, HomeSeen, Known, Looked,
    Observer, PostgresSeen, SecretFile, World, Write, boot, wrong_answer,
};
use crate::block::sysroot::Sysroot;
use crate::compose::Dotenv;
use crate::compose::project::MountSource;
use crate::datastore::Kind;
use crate::engine::{Container, HelperMount, MountKind, State, same_path};
use crate::helper::mounts;
use crate::helper::protocol::{Answer, Probe, Request, Scan};
use crate::model::{Home, ProjectName, Result, VolumeKey, VolumeName};
use crate::steps::FROM;

/// `test` ends at once, unless the disk hangs.
const TEST_LIMIT: Duration = Duration::from_secs(10);
/// More containers than this are not asked.
const CONTAINERS: usize = 64;
/// More anonymous volumes than this are not looked into.
const ANONYMOUS: usize = 16;
/// Parts of names of variables that hold secrets.
const SECRET_WORDS: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "PRIVATE", "ACCESS_KEY"];

impl Observer<'_> {
    /// Looks at everything.
    ///
    /// # Errors
    /// When the engine or Compose does not answer; what cannot be looked at for another reason is in the answer.
    pub async fn checkup(&self, known: Known) -> Result<Checkup> {
        let depth = Depth {
            tolerant: true,
            ask_servers: true,
            docker_disk: true,
            override_path: known.override_path.clone(),
            ..Depth::default()
        };
        let world = self.look(&depth).await?;
        let all = self.engine.project_containers(self.project_name()).await?;
        let mounts = self.host_mounts(&world);
        let mut homes = BTreeMap::new();
        for volume in &world.volumes {
            if let Home::Block { dir } = &volume.home {
                homes.insert(volume.key.clone(), self.home(dir).await);
            }
        }
        let binds = self.binds();
        let boot = match &mounts {
            Ok(_) => boot::look(asked(&known, &world, &binds)).await,
            Err(_) => BootSeen::default(),
        };
        let mut containers = Vec::new();
        for container in all.iter().filter(|c| !c.one_off) {
            let ask = containers.len() < CONTAINERS;
            containers.extend(self.more(&world, container, mounts.is_ok(), ask).await);
        }
        Ok(Checkup {
            engine: self.engine.version().to_owned(),
            data_root: self.engine.data_root().into(),
            compose: self.compose.version().clone(),
            mounts,
            homes,
            boot,
            containers,
            binds,
            engine_volumes: self.engine_volumes().await?,
            anonymous: self.anonymous(&all).await,
            secrets: self.secret_files(),
            sites: self.checked_sites(&known),
            world,
            known,
        })
    }

    /// The mount table of the engine's host: this process's own, if it sees the engine's directory on the same device
    /// as the engine does. (Rehome in a container, or an engine on another host, does not.)
    fn host_mounts(&self, world: &World) -> Looked<Vec<mounts::Mount>> {
        if !self.engine.host().is_local() {
            return Err("the engine is on another host".to_owned());
        }
        let table = mounts::table("self").map_err(|e| format!("the mount table cannot be read: {e}"))?;
        let seen = mounts::holder(&table, Path::new(self.engine.data_root())).map(|m| &m.device);
        if seen == world.docker_disk.as_ref().map(|disk| &disk.device) {
            Ok(table)
        } else {
            Err("this process does not see the disks of the engine's host".to_owned())
        }
    }

    /// The directory of a home, mounted by itself: a volume's own mount may be older than what is mounted there now.
    async fn home(&self, dir: &Path) -> HomeSeen {
        let mount = HelperMount::Bind {
            source: dir.to_string_lossy().into_owned(),
            target: FROM.into(),
            read_only: true,
        };
        match self.probe(mount).await {
            Ok(probe) => HomeSeen::There(probe),
            Err(failure)
                if failure
                    .causes
                    .iter()
                    .any(|c| c.contains("bind source path does not exist")) =>
            {
                HomeSeen::Missing
            }
            Err(failure) => HomeSeen::Unseen(failure.to_string()),
        }
    }

    async fn probe(&self, mount: HelperMount) -> Result<Probe> {
        let request = Request::Probe {
            dir: FROM.into(),
            below: Vec::new(),
        };
        match self.ask(request, vec![mount], None).await? {
            Answer::Probe(probe) => Ok(probe),
            other => Err(wrong_answer(&other)),
        }
    }

    async fn more(
        &self,
        world: &World,
        container: &Container,
        local: bool,
        ask: bool,
    ) -> Option<ContainerMore> {
        let service = world.service(container.service.as_ref()?)?;
        let running = matches!(container.state, State::Running(_));
        let table = container
            .pid
            .filter(|_| local && container.state.is_up())
            .map(|pid| {
                mounts::table(&pid.to_string()).map_err(|e| format!("its mount table cannot be read: {e}"))
            });
        let mut writes = Vec::new();
        for mount in service.mounts.iter().filter(|m| running && ask && !m.read_only) {
            let writable = container
                .mounts
                .iter()
                .any(|m| m.writable && same_path(&m.destination, &mount.target));
            if writable {
                writes.push(Write {
                    volume: mount.volume.clone(),
                    target: mount.target.clone(),
                    may: self.may_write(container, &mount.target).await,
                });
            }
        }
        let postgres = if running && ask && service.server == Some(Kind::Postgres) {
            Some(self.postgres(container).await)
        } else {
            None
        };
        Some(ContainerMore {
            service: service.name.clone(),
            name: container.name.clone(),
            up: container.state.is_up(),
            restart: container.restart.clone(),
            healthcheck: container.healthcheck.is_some(),
            user: container.user.clone(),
            config_files: container.config_files.clone(),
            mounts: container.mounts.clone(),
            table,
            writes,
            postgres,
        })
    }

    /// Asks access(2) as the container's own user, with its groups and capabilities: nothing is written.
    async fn may_write(&self, container: &Container, target: &str) -> Looked<bool> {
        let command = ["test", "-w", target].map(str::to_owned);
        let asked = self
            .engine
            .exec(&container.id, &command, None, TEST_LIMIT, &mut |_| {})
            .await;
        match asked.map(|output| output.code) {
            Ok(0) => Ok(true),
            Ok(1) => Ok(false),
            Ok(code) => Err(format!("`test` cannot be run in it (exit {code})")),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// <https://www.postgresql.org/docs/current/catalog-pg-database.html>: `datcollversion` is there from 15 on. A library
    /// that tells no version, as Alpine's, is another than the one that told one.
    async fn postgres(&self, container: &Container) -> PostgresSeen {
        const COLLATIONS: &str = "SELECT datname || E'\\t' || datcollversion || E'\\t' || \
             coalesce(pg_database_collation_actual_version(oid), 'none') FROM pg_database WHERE datallowconn AND \
             datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid) \
             AND datcollversion IS NOT NULL ORDER BY 1 LIMIT 20";
        let collations = self.ask_postgres(container, COLLATIONS).await;
        let checksums = self.ask_postgres(container, "SHOW data_checksums").await;
        PostgresSeen {
            collations: collations.map(|text| text.lines().filter_map(three).collect()),
            checksums: checksums.map(|text| text == "on"),
        }
    }

    fn binds(&self) -> Vec<BindSeen> {
        let mut found = Vec::new();
        for service in self.project.services.values() {
            for mount in &service.mounts {
                if let MountSource::Bind {
                    source,
                    create_host_path,
                    ..
                } = &mount.source
                {
                    found.push(BindSeen {
                        service: service.name.clone(),
                        source: source.clone(),
                        target: mount.target.clone(),
                        create: *create_host_path,
                    });
                }
            }
        }
        found
    }

    async fn engine_volumes(&self) -> Result<Vec<EngineVolume>> {
        let unused: BTreeSet<VolumeName> = self
            .engine
            .unused_volumes()
            .await?
            .into_iter()
            .map(|v| v.name)
            .collect();
        let label = |volume: &crate::engine::Volume, name: &str| volume.labels.get(name).cloned();
        let all = self.engine.volumes(None).await?.into_iter();
        Ok(all
            .map(|volume| EngineVolume {
                home: volume.home(),
                project: label(&volume, "com.docker.compose.project").and_then(|p| ProjectName::new(p).ok()),
                key: label(&volume, "com.docker.compose.volume").and_then(|k| VolumeKey::new(k).ok()),
                unused: unused.contains(&volume.name),
                name: volume.name,
            })
            .collect())
    }

    async fn anonymous(&self, all: &[Container]) -> Vec<AnonymousSeen> {
        let mut found: Vec<AnonymousSeen> = Vec::new();
        for container in all.iter().filter(|c| !c.one_off) {
            for mount in &container.mounts {
                let (Some(service), MountKind::Volume(name)) = (&container.service, &mount.kind) else {
                    continue;
                };
                if is_anonymous(name.as_str()) && !found.iter().any(|f| f.name == *name) {
                    let scan = if found.len() < ANONYMOUS {
                        self.contents(name).await.map_err(|failure| failure.to_string())
                    } else {
                        Err(format!("only the first {ANONYMOUS} are looked into"))
                    };
                    found.push(AnonymousSeen {
                        service: service.clone(),
                        name: name.clone(),
                        target: mount.destination.clone(),
                        scan,
                    });
                }
            }
        }
        found
    }

    async fn contents(&self, name: &VolumeName) -> Result<Scan> {
        let mount = HelperMount::Volume {
            name: name.clone(),
            target: FROM.into(),
            read_only: true,
        };
        let request = Request::Scan { dir: FROM.into() };
        match self.ask(request, vec![mount], None).await? {
            Answer::Scan(scan) => Ok(scan),
            other => Err(wrong_answer(&other)),
        }
    }

    /// The files of variables and of secrets that are there. Of the variables only the names are looked at.
    fn secret_files(&self) -> Vec<SecretFile> {
        let variables: BTreeSet<&PathBuf> = self
            .located
            .env_files
            .iter()
            .chain([&self.located.dotenv])
            .collect();
        let mounted = self.project.secret_files.iter().map(|path| (path, true));
        let mut found = Vec::new();
        for (path, mounted) in variables.into_iter().map(|path| (path, false)).chain(mounted) {
            let Some(mode) = mode(path) else { continue };
            let names = match Dotenv::read(path) {
                Ok(file) if !mounted => secret_names(&file),
                _ => Vec::new(),
            };
            found.push(SecretFile {
                path: path.clone(),
                mode,
                open: mode & 0o004 != 0
                    && path
                        .ancestors()
                        .skip(1)
                        .all(|above| self::mode(above).is_some_and(|m| m & 0o001 != 0)),
                mounted,
                names,
            });
        }
        found
    }
}

/// What the machine is asked of its block volumes.
fn asked(known: &Known, world: &World, binds: &[BindSeen]) -> boot::Asked {
    let homes = world.volumes.iter().filter_map(|volume| match &volume.home {
        Home::Block { dir } => Some(dir.clone()),
        _ => None,
    });
    boot::Asked {
        sysroot: Sysroot::new(known.sysroot.as_deref()),
        block_root: known.block_root.clone(),
        homes: homes.collect(),
        binds: binds.iter().map(|bind| bind.source.clone()).collect(),
        all: false,
    }
}

fn mode(path: &Path) -> Option<u32> {
    let meta = std::fs::metadata(path).ok()?;
    Some(meta.permissions().mode() & 0o7777)
}

fn secret_names(file: &Dotenv) -> Vec<String> {
    let values = file.values(&BTreeMap::new());
    values
        .into_iter()
        .filter(|(name, value)| !value.is_empty() && SECRET_WORDS.iter().any(|word| name.contains(word)))
        .map(|(name, _)| name)
        .collect()
}

fn three(line: &str) -> Option<[String; 3]> {
    let mut fields = line.split('\t').map(str::to_owned);
    Some([fields.next()?, fields.next()?, fields.next()?])
}

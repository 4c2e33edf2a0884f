//! What is asked of the bucket itself: from a helper in the network of the services that will use it, so that what works
//! there works for them.

use std::path::PathBuf;

use jiff::Timestamp;

use super::{Ended, Uploads, Wanted, ended};
use crate::engine::{HelperJob, HelperMount, Network};
use crate::helper::protocol::{
    PullReport, Request, Spent, SyncJob, SyncReport, UPLOADS_TREE, UploadsAnswer, UploadsCompared,
    UploadsJob, UploadsRequest,
};
use crate::model::config::{self, Concurrency};
use crate::model::{ByteSize, Failure, ProjectName, Result, VolumeKey};
use crate::observe::{Depth, VolumeSeen};
use crate::ops::{App, Options};
use crate::s3::{About, Access, Examined, SetupReport, SetupWanted};
use crate::steps::pass_on;
use crate::steps::uploads::Media;

/// Words in the names of volumes that uploads are in.
const UPLOADS: [&str; 3] = ["media", "upload", "attachment"];

/// What a transfer may be told on the command line.
#[derive(Debug, Clone, Default)]
pub struct Transfer {
    /// Only these paths.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Over that of the configuration.
    pub concurrency: Option<Concurrency>,
    /// Over that of the configuration.
    pub bandwidth: Option<ByteSize>,
}

/// What `sync` shall do.
#[derive(Debug, Clone, Default)]
pub struct SyncRequest {
    /// How.
    pub transfer: Transfer,
    /// Delete objects that no file belongs to.
    pub delete: bool,
    /// Also when they are many.
    pub shrink: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// What `pull` shall do.
#[derive(Debug, Clone, Default)]
pub struct PullRequest {
    /// How.
    pub transfer: Transfer,
    /// A directory of the engine's machine, instead of the volume.
    pub to: Option<PathBuf>,
    /// Leave alone what is there.
    pub only_missing: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// A project, its bucket, and the way there.
pub struct Reach {
    app: App,
    uploads: Uploads,
    access: Access,
    bucket: String,
}

impl Reach {
    /// Opens the project, and finds the keys.
    ///
    /// # Errors
    /// When there is no engine, no project, no bucket or no keys.
    pub async fn open(options: Options, wanted: Wanted) -> Result<Self> {
        let uploads = Uploads::find(&options, wanted)?;
        let bucket = uploads.bucket()?.to_string();
        let app = App::open(options).await?;
        let access = Access::find(&uploads.storage()?).await?;
        Ok(Self {
            app,
            uploads,
            access,
            bucket,
        })
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> &ProjectName {
        &self.app.project.name
    }

    /// For people: `s3://bucket/prefix`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.uploads.s3.prefix)
    }

    /// Makes the bucket, sees to its settings, and sends a canary.
    ///
    /// # Errors
    /// When the storage does not answer, the bucket is somebody else's, or the canary does not come back.
    pub async fn set_up(&self, dry_run: bool) -> Result<SetupReport> {
        let wanted = self.wanted_setup(dry_run);
        let request = self.request(UploadsJob::SetUp(wanted), &Transfer::default());
        match self.ask(request, Vec::new(), None).await? {
            UploadsAnswer::SetUp(report) => Ok(report),
            other => Err(other.unexpected()),
        }
    }

    /// Looks at what works, and who can read.
    ///
    /// # Errors
    /// When the helper cannot be started; what does not work is in the list.
    pub async fn check(&self) -> Result<Vec<Examined>> {
        let job = UploadsJob::Check {
            about: self.about(),
            cors: self.uploads.s3.cors.clone(),
        };
        let request = self.request(job, &Transfer::default());
        match self.ask(request, Vec::new(), None).await? {
            UploadsAnswer::Checked { found } => Ok(found),
            other => Err(other.unexpected()),
        }
    }

    /// Brings the files of the volume into the bucket.
    ///
    /// # Errors
    /// When it could not be done, or nothing could be tried. Files that did not arrive are in the report.
    pub async fn sync(&self, request: &SyncRequest) -> Result<(VolumeKey, SyncReport)> {
        let _lock = self.lock(request.dry_run)?;
        let media = self.media().await?;
        let job = SyncJob {
            about: self.about(),
            dry_run: request.dry_run,
            delete: request.delete,
            shrink: request.shrink,
            not_over: None,
        };
        let asked = self.request(UploadsJob::Sync(job), &request.transfer);
        match self.ask(asked, vec![media.mount(true)], Some(&media.key)).await? {
            UploadsAnswer::Synced(report) => Ok((media.key, report)),
            other => Err(other.unexpected()),
        }
    }

    /// Compares every file with its object.
    ///
    /// # Errors
    /// When it could not be done. What differs is in the report.
    pub async fn verify(&self, transfer: &Transfer, read: bool) -> Result<(VolumeKey, UploadsCompared)> {
        let media = self.media().await?;
        let asked = self.request(UploadsJob::Verify { read, in_use: None }, transfer);
        match self.ask(asked, vec![media.mount(true)], Some(&media.key)).await? {
            UploadsAnswer::Verified(report) => Ok((media.key, report)),
            other => Err(other.unexpected()),
        }
    }

    /// Brings the objects into the volume, or into a directory. Says which.
    ///
    /// # Errors
    /// When it could not be done. Objects that did not arrive are in the report.
    pub async fn pull(&self, request: &PullRequest) -> Result<(String, PullReport)> {
        let _lock = self.lock(request.dry_run)?;
        let job = UploadsJob::Pull {
            dry_run: request.dry_run,
            only_missing: request.only_missing,
            since: None,
        };
        let asked = self.request(job, &request.transfer);
        let (mount, shown, key) = match &request.to {
            Some(dir) => {
                let source = dir.display().to_string();
                let mount = HelperMount::Bind {
                    source: source.clone(),
                    target: UPLOADS_TREE.to_owned(),
                    read_only: request.dry_run,
                };
                (mount, source, None)
            }
            None => {
                let media = self.media().await?;
                (
                    media.mount(request.dry_run),
                    media.key.to_string(),
                    Some(media.key),
                )
            }
        };
        match self.ask(asked, vec![mount], key.as_ref()).await? {
            UploadsAnswer::Pulled(report) => Ok((shown, report)),
            other => Err(other.unexpected()),
        }
    }

    pub(super) fn lock(&self, dry_run: bool) -> Result<Option<crate::state::Lock>> {
        let lock = match dry_run {
            true => None,
            false => Some(self.app.lock()?),
        };
        self.app.no_unfinished_run()?;
        Ok(lock)
    }

    /// How the bucket shall be.
    pub(super) fn wanted_setup(&self, dry_run: bool) -> SetupWanted {
        let s3 = &self.uploads.s3;
        SetupWanted {
            versioning: s3.versioning,
            encryption: s3.encryption,
            cors: s3.cors.clone(),
            about: self.about(),
            dry_run,
        }
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    pub(super) fn settings(&self) -> &config::S3 {
        &self.uploads.s3
    }

    fn jobs(&self, transfer: &Transfer) -> usize {
        match transfer.concurrency.unwrap_or(self.uploads.s3.concurrency) {
            Concurrency::Auto => 0,
            Concurrency::Fixed(number) => number.into(),
        }
    }

    fn bandwidth(&self, transfer: &Transfer) -> u64 {
        transfer
            .bandwidth
            .or(self.uploads.s3.bandwidth)
            .map_or(0, |rate| rate.0)
    }

    /// What objects are written with.
    fn about(&self) -> About {
        let s3 = &self.uploads.s3;
        About {
            acl: s3.acl.map(|acl| acl.as_str().to_owned()),
            cache_control: s3.cache_control.clone(),
            storage_class: s3.storage_class.clone(),
            ..About::default()
        }
    }

    fn request(&self, job: UploadsJob, transfer: &Transfer) -> UploadsRequest {
        let s3 = &self.uploads.s3;
        UploadsRequest {
            dir: UPLOADS_TREE.into(),
            bucket: self.bucket.clone(),
            prefix: s3.prefix.clone(),
            include: transfer.include.clone(),
            exclude: transfer.exclude.clone(),
            jobs: self.jobs(transfer),
            bandwidth: self.bandwidth(transfer),
            job,
        }
    }

    /// The volume with the uploads. A database is refused: a bucket is no file system (trap 20).
    pub(super) async fn media(&self) -> Result<Media> {
        let seen = look_at_uploads(&self.app, self.media_key()?).await?;
        let transfer = Transfer::default();
        Ok(Media {
            name: seen.name,
            key: seen.key,
            bucket: self.bucket.clone(),
            prefix: self.uploads.s3.prefix.clone(),
            about: self.about(),
            jobs: self.jobs(&transfer),
            bandwidth: self.bandwidth(&transfer),
        })
    }

    fn media_key(&self) -> Result<VolumeKey> {
        key_of_uploads(&self.app, self.uploads.s3.volume.as_ref())
    }

    /// Asks in a helper, and writes down what it took.
    async fn ask(
        &self,
        request: UploadsRequest,
        mounts: Vec<HelperMount>,
        volume: Option<&VolumeKey>,
    ) -> Result<UploadsAnswer> {
        let command = command(&request.job);
        let (dry, began) = (request.job.is_dry(), Timestamp::now());
        let mut spent = Spent::default();
        let answer = self.ask_in_helper(request, mounts, (volume, &mut spent)).await;
        if !dry {
            let told = Ended {
                command,
                place: self.place(),
                began,
                ended: Timestamp::now(),
                spent,
                failed: answer.as_ref().map_or(0, UploadsAnswer::failed),
                good: answer.as_ref().is_ok_and(UploadsAnswer::is_good),
            };
            ended(&self.app, &told);
        }
        answer
    }

    /// In the network of the services that have the uploads.
    async fn ask_in_helper(
        &self,
        request: UploadsRequest,
        mounts: Vec<HelperMount>,
        (volume, spent): (Option<&VolumeKey>, &mut Spent),
    ) -> Result<UploadsAnswer> {
        let app = &self.app;
        let phase = request.job.phase();
        let run = app.looking();
        app.engine.remove_left_helpers(&app.project.name).await?;
        let job = HelperJob {
            network: self.network().await?,
            ..HelperJob::new(
                &run,
                &app.project.name,
                Request::Uploads(Box::new(request)),
                mounts,
            )
        };
        let events = &app.options.events;
        let mut on_line = |line| pass_on(&**events, line, phase, volume);
        let interrupted = tokio::select! {
            answer = app.engine.uploads(job, (&self.access, spent), &mut on_line) => return answer,
            () = app.options.interrupt.raised() => Failure::interrupted("stopped before the end"),
        };
        app.engine.remove_helpers(&run).await?;
        Err(interrupted
            .data("what arrived stays; each object is whole")
            .hint("the same command goes on where it was"))
    }

    async fn network(&self) -> Result<Network> {
        // Without a volume, as before the first upload, the project's own networks are tried; what needs the volume says
        // itself that it cannot be told.
        let key = self.media_key().ok();
        let volume = key.and_then(|key| self.app.project.volumes.get(&key));
        let of = (&self.app.project.name, volume.map(|volume| &volume.name));
        self.app.engine.network_to(&self.access, of).await
    }
}

/// The volume with the uploads: the one that somebody names, or the only one whose name says it.
pub(super) fn key_of_uploads(app: &App, said: Option<&VolumeKey>) -> Result<VolumeKey> {
    let volumes = &app.project.volumes;
    if let Some(key) = said {
        return match volumes.contains_key(key) {
            true => Ok(key.clone()),
            false => Err(
                Failure::usage(format!("there is no volume `{key}` in this project"))
                    .hint(format!("there are: {}", listed(volumes.keys()))),
            ),
        };
    }
    let likely: Vec<&VolumeKey> = volumes
        .keys()
        .filter(|key| {
            UPLOADS
                .iter()
                .any(|word| key.as_str().to_ascii_lowercase().contains(word))
        })
        .collect();
    match likely.as_slice() {
        [one] => Ok((*one).clone()),
        _ => Err(Failure::usage(
            "which volume has the uploads? neither --volume nor `s3.volume` of rehome.yml says it",
        )
        .hint(format!("there are: {}", listed(volumes.keys())))
        .data("nothing was changed")),
    }
}

/// Looks at the volume. A database is refused.
pub(super) async fn look_at_uploads(app: &App, key: VolumeKey) -> Result<VolumeSeen> {
    let depth = Depth {
        scan: Some(vec![key.clone()]),
        ..Depth::default()
    };
    let world = app.look(&app.looking(), &depth).await?;
    let seen = world.volume(&key).filter(|volume| volume.exists).ok_or_else(|| {
        Failure::refused(format!("volume `{key}` does not exist yet"))
            .data("nothing was changed")
            .hint("bring the stack up once: docker compose up -d")
    })?;
    no_database(seen)?;
    Ok(seen.clone())
}

/// What was typed after `rehome s3`.
fn command(job: &UploadsJob) -> &'static str {
    match job {
        UploadsJob::Sync(_) => "sync",
        UploadsJob::Verify { .. } => "verify",
        UploadsJob::Pull { .. } => "pull",
        UploadsJob::SetUp(_) => "setup",
        UploadsJob::Check { .. } => "check",
    }
}

fn no_database(volume: &VolumeSeen) -> Result<()> {
    let Some(datastore) = volume.datastores.first() else {
        return Ok(());
    };
    Err(Failure::refused(format!(
        "volume `{}` holds the data of {}, and a database cannot live in a bucket",
        volume.key, datastore.kind
    ))
    .cause("a bucket has no locks, no partial writes and no owners: a database on one loses what was written")
    .data("nothing was changed")
    .hint("uploads go to a bucket; a database goes to a block volume: rehome move --to DIR")
    .hint("its backups go to a bucket: backup.to in rehome.yml"))
}

fn listed<'a>(keys: impl Iterator<Item = &'a VolumeKey>) -> String {
    let keys: Vec<String> = keys.map(ToString::to_string).collect();
    keys.join(", ")
}

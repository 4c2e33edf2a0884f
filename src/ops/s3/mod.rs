//! Uploads in S3-compatible storage.

mod bucket;
mod cost;
mod policy;
mod settings;
mod switch;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Options, Settings};
use crate::compose;
use crate::model::config::{self, Bucket, Prefix};
use crate::model::{Failure, Result, VolumeKey};
use crate::s3::S3Settings;

pub use bucket::{PullRequest, Reach, SyncRequest, Transfer};
pub use cost::{CostReport, CostRequest, Measured, Priced, cost, measure};
pub use policy::{Policy, PolicyRequest, Statement, UserCommands, policy, user_commands};
pub use settings::{Framework, Rendered, State, framework_settings, write_settings};
pub use switch::PlannedSwitch;
pub(in crate::ops) use tell::{Ended, ended};

/// What the command line says over the configuration.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `--volume`.
    pub volume: Option<VolumeKey>,
    /// `--bucket`.
    pub bucket: Option<Bucket>,
    /// `--prefix`.
    pub prefix: Option<Prefix>,
}

/// Where a project's uploads are to be, as far as its files say it. Needs neither an engine nor a network.
pub struct Uploads {
    /// The settings in effect: the command line's, then those of rehome.yml, then of `.env`.
    pub s3: config::S3,
    /// The directory of the project; `None` where there is none.
    pub directory: Option<PathBuf>,
    /// The variables of `.env` and the environment. Some of their values are secrets.
    variables: BTreeMap<String, String>,
}

impl Uploads {
    /// Finds the project's files and reads what they say. With a bucket named on the command line no project is needed.
    ///
    /// # Errors
    /// When there is no project and no bucket, or a file cannot be understood.
    pub fn find(options: &Options, wanted: Wanted) -> Result<Self> {
        let env = &options.project.env;
        let named = !options.project.files.is_empty() || env.contains_key("COMPOSE_FILE");
        let (directory, s3, variables) = match compose::locate(&options.project) {
            Ok(located) => {
                let settings = Settings::load(options.config.as_deref(), &located)?;
                let variables = located.variables(env)?;
                (Some(located.directory), settings.s3, variables)
            }
            Err(_) if wanted.bucket.is_some() && !named && options.config.is_none() => {
                (None, config::S3::default(), env.clone())
            }
            Err(failure) => return Err(failure),
        };
        let mut uploads = Self {
            s3,
            directory,
            variables,
        };
        let bucket = match (wanted.bucket, uploads.s3.bucket.take()) {
            (Some(bucket), _) | (None, Some(bucket)) => Some(bucket),
            (None, None) => uploads.bucket_of_env()?,
        };
        uploads.s3.bucket = bucket;
        uploads.s3.volume = wanted.volume.or(uploads.s3.volume.take());
        if let Some(prefix) = wanted.prefix {
            uploads.s3.prefix = prefix;
        }
        Ok(uploads)
    }

    /// The value of a variable, blank is none.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.variables.get(name).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    /// How the storage is reached, as far as variables say it.
    ///
    /// # Errors
    /// When nobody names a bucket, or the variables contradict each other.
    pub fn storage(&self) -> Result<S3Settings> {
        S3Settings::from_names(self.bucket()?.as_str(), &|name| self.variables.get(name).cloned())
    }

    fn bucket_of_env(&self) -> Result<Option<Bucket>> {
        const NAME: &str = "AWS_STORAGE_BUCKET_NAME";
        let bucket = self.variable(NAME).map(str::parse).transpose();
        bucket.map_err(|error: config::ParseS3Error| {
            Failure::usage(format!("{NAME} cannot be understood")).because(&error)
        })
    }

    /// The bucket.
    ///
    /// # Errors
    /// When nobody names one.
    pub fn bucket(&self) -> Result<&Bucket> {
        self.s3.bucket.as_ref().ok_or_else(|| {
            Failure::usage("which bucket? neither --bucket nor `s3.bucket` of rehome.yml says it")
                .cause("AWS_STORAGE_BUCKET_NAME is not set in .env either")
                .data("nothing was changed")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::event::{Event, Events};

    struct Silent;
    impl Events for Silent {
        fn tell(&self, _: Event) {}
    }

    fn options(cwd: &Path, env: &[(&str, &str)]) -> Options {
        let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Options {
            project: compose::Wanted {
                cwd: cwd.to_owned(),
                env: env.clone(),
                ..compose::Wanted::default()
            },
            engine: crate::engine::HostWanted::default(),
            config: None,
            state_dir: None,
            command: String::new(),
            by: None,
            events: Arc::new(Silent),
            interrupt: crate::saga::Interrupt::new(),
        }
    }

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("compose.yaml"), "services: {}\n").unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn the_command_line_counts_before_the_configuration_and_that_before_env() {
        let env = (".env", "AWS_STORAGE_BUCKET_NAME= of-env \n");
        let rehome = (
            "rehome.yml",
            "version: 1\ns3: { volume: media, bucket: of-rehome, prefix: a }\n",
        );
        let find = |files: &[(&str, &str)], wanted| {
            let dir = project(files);
            let found = Uploads::find(&options(dir.path(), &[]), wanted).unwrap();
            let volume = found.s3.volume.as_ref().map(ToString::to_string);
            (
                found.bucket().map(ToString::to_string).ok(),
                found.s3.prefix.to_string(),
                volume,
            )
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            find(&[env], Wanted::default()),
            (text("of-env"), "media/".into(), None)
        );
        assert_eq!(
            find(&[env, rehome], Wanted::default()),
            (text("of-rehome"), "a/".into(), text("media"))
        );
        let wanted = Wanted {
            volume: Some("other".parse().unwrap()),
            bucket: Some("of-flag".parse().unwrap()),
            prefix: Some("b".parse().unwrap()),
        };
        assert_eq!(
            find(&[env, rehome], wanted),
            (text("of-flag"), "b/".into(), text("other"))
        );
        assert_eq!(find(&[], Wanted::default()).0, None);
    }

    #[test]
    fn without_a_project_a_bucket_must_be_named() {
        let dir = tempfile::tempdir().unwrap();
        let named = || Wanted {
            bucket: Some("media".parse().unwrap()),
            ..Wanted::default()
        };
        assert!(Uploads::find(&options(dir.path(), &[]), Wanted::default()).is_err());
        let found = Uploads::find(&options(dir.path(), &[("AWS_REGION", "eu-west-1")]), named()).unwrap();
        assert_eq!(
            (found.directory.as_deref(), found.variable("AWS_REGION")),
            (None, Some("eu-west-1"))
        );
        // Files that somebody named and that are not there are never passed over.
        let lost = options(dir.path(), &[("COMPOSE_FILE", "gone.yml")]);
        assert!(Uploads::find(&lost, named()).is_err());
    }

    #[test]
    fn a_bucket_in_env_that_is_none_is_told() {
        let dir = project(&[(".env", "AWS_STORAGE_BUCKET_NAME=s3://media/x\n")]);
        let failure = Uploads::find(&options(dir.path(), &[]), Wanted::default())
            .err()
            .unwrap();
        assert_eq!(failure.what, "AWS_STORAGE_BUCKET_NAME cannot be understood");
    }
}

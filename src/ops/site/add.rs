//! `site add`: says what a site is. Nothing is started, and no file of a project is changed.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::{Sites, service_of};
use crate::compose::replace_file;
use crate::compose::sites::{IMAGE_SERVICE, image_project};
use crate::model::{Failure, Result, ServiceName, SiteName, shell_path};
use crate::site::{MadeOf, Published, Site, Storage};

/// What is added.
#[derive(Debug, Clone)]
pub struct AddRequest {
    /// Its name.
    pub name: SiteName,
    /// What it is.
    pub what: What,
    /// Only said.
    pub dry_run: bool,
}

/// What a site is.
#[derive(Debug, Clone)]
pub enum What {
    /// The Compose project in a directory.
    Project {
        /// Which; relative to where it was typed.
        directory: PathBuf,
        /// The service that has the data; the only one if it is not said.
        service: Option<ServiceName>,
    },
    /// An image.
    Image {
        /// Its reference.
        image: String,
        /// Where it serves.
        port: Published,
        /// The path that answers 200 when it is well.
        health: Option<String>,
    },
}

/// What was added, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct AddReport {
    /// The site.
    pub site: Site,
    /// The files that were written for it, with their text.
    pub files: Vec<(PathBuf, String)>,
}

impl Sites {
    /// Adds a site.
    ///
    /// # Errors
    /// When the name is taken, the project cannot be read, or which service is meant cannot be told.
    pub async fn add(&self, request: &AddRequest) -> Result<AddReport> {
        let all = self.all()?;
        let known = all.iter().find(|site| site.name == request.name);
        if let Some(known) = known.filter(|known| known.made_of != MadeOf::Imported) {
            return Err(
                Failure::refused(format!("there is a site {} already", known.name))
                    .data("nothing was changed")
                    .hint(format!("what it is: rehome site show {}", known.name)),
            );
        }
        let report = match &request.what {
            What::Project { directory, service } => {
                let directory = self.options.project.cwd.join(directory);
                let directory = std::path::absolute(&directory).unwrap_or(directory);
                let site = self.project(&request.name, &directory, service.as_ref()).await?;
                AddReport {
                    site,
                    files: Vec::new(),
                }
            }
            What::Image { image, port, health } => {
                self.image(&request.name, image, *port, health.as_deref(), &all)?
            }
        };
        let same = |other: &&Site| {
            other.name != report.site.name
                && other.directory == report.site.directory
                && other.service == report.site.service
        };
        if let Some(other) = all.iter().find(same) {
            return Err(Failure::refused(format!(
                "that is site {} already: the same service of the same project",
                other.name
            ))
            .data("nothing was changed"));
        }
        if !request.dry_run {
            self.write(&report)?;
        }
        Ok(report)
    }

    async fn project(
        &self,
        name: &SiteName,
        directory: &Path,
        service: Option<&ServiceName>,
    ) -> Result<Site> {
        let directory = clean(directory);
        if !directory.is_dir() {
            return Err(
                Failure::usage(format!("there is no directory {}", directory.display()))
                    .data("nothing was changed"),
            );
        }
        if directory.to_str().is_none() {
            return Err(Failure::refused(format!("{} is not UTF-8", directory.display()))
                .cause("Docker Compose cannot be given such a path")
                .data("nothing was changed"));
        }
        self.is_a_project(&directory)?;
        let app = self.open(&directory).await?;
        let service = service_of(&app, service)?;
        Ok(site(name, MadeOf::Project, directory, service))
    }

    fn image(
        &self,
        name: &SiteName,
        image: &str,
        port: Published,
        health: Option<&str>,
        all: &[Site],
    ) -> Result<AddReport> {
        let has_port = |site: &&Site| matches!(&site.made_of, MadeOf::Image { port: other, .. } if other.host == port.host);
        if let Some(other) = all.iter().find(has_port) {
            return Err(Failure::refused(format!(
                "site {} has port {} of this machine already",
                other.name, port.host
            ))
            .data("nothing was changed")
            .hint(format!(
                "take another one, and say where the image serves: --port PORT:{}",
                port.container
            )));
        }
        let directory = self.state.site(name);
        let (compose, settings) = image_project(name, image, (port.host, port.container), health);
        let files = vec![
            (directory.join("docker-compose.yml"), compose),
            (directory.join("rehome.yml"), settings),
        ];
        if let Some((there, _)) = files.iter().find(|(path, _)| path.exists()) {
            return Err(Failure::refused(format!("{} is there already", there.display()))
                .cause("of a site of this name that was removed, or of somebody else")
                .data("nothing was changed")
                .hint(format!(
                    "look at it; to take it as it is: rehome site add {name} --project {}",
                    shell_path(&directory)
                )));
        }
        let service = ServiceName::new(IMAGE_SERVICE).map_err(|error| Failure::bug(error.to_string()))?;
        let made_of = MadeOf::Image {
            image: image.to_owned(),
            port,
            health: health.map(str::to_owned),
        };
        Ok(AddReport {
            site: site(name, made_of, directory, service),
            files,
        })
    }

    fn write(&self, report: &AddReport) -> Result<()> {
        let store = self.store()?;
        if !report.files.is_empty() {
            self.state.create_site(&report.site.name)?;
        }
        let mut files = report.files.iter();
        let written = files.try_for_each(|(path, text)| replace_file(path, text.as_bytes()));
        let added = written.and_then(|()| store.add(&report.site));
        if added.is_err() {
            // The disk is full, or somebody was faster: then the files are not those of that site, if that is an image as
            // well. Nothing is left that would be in the way of the same once more.
            for (path, text) in &report.files {
                if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
                    super::remove::remove_file(path)?;
                }
            }
        }
        added
    }
}

fn site(name: &SiteName, made_of: MadeOf, directory: PathBuf, service: ServiceName) -> Site {
    Site {
        name: name.clone(),
        made_of,
        directory: Some(directory),
        service: Some(service),
        persistent_storage: Storage::Off,
        data: None,
        made: Timestamp::now(),
    }
}

/// Without `.` and `..`, by its text alone, as Compose takes it: the name of a project is that of its directory.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

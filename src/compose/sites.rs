//! The Compose files that Rehome writes for sites: the project of a site that is an image, and the override that gives
//! sites their directories, as [`SiteOverride`].
//!
//! The override has a file of its own beside the project's: that of volumes says where volumes live, and goes when
//! none is moved any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::project::{MountSource, Project};
use super::replace::{read_text, replace_file};
use super::yaml::{scalar, value};
use crate::model::{Failure, ProjectName, Result, ServiceName, SiteName};

/// Where a site has its data, in its container.
pub const DATA: &str = "/data";
/// The variable that says so.
pub const DATA_DIR: &str = "DATA_DIR";
/// No override is larger.
const LIMIT: u64 = 1 << 20;

const BEFORE: &str = "# Written by rehome ";
const BETWEEN: &str = " for the sites of project ";
const AFTER: &str = ". Do not edit: rehome site enable and rehome site disable";

/// The override of a project's sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteOverride {
    /// The project that it is for.
    pub project: ProjectName,
    /// The services that have a directory. In one project there may be several sites.
    pub services: BTreeMap<ServiceName, SiteMount>,
}

/// The directory of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteMount {
    /// Whose.
    pub site: SiteName,
    /// Where it is.
    pub source: PathBuf,
}

impl SiteOverride {
    /// One that changes nothing.
    #[must_use]
    pub fn empty(project: ProjectName) -> Self {
        Self {
            project,
            services: BTreeMap::new(),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The same with, or without, the directory of a service.
    #[must_use]
    pub fn with(mut self, service: &ServiceName, mount: Option<SiteMount>) -> Self {
        match mount {
            Some(mount) => self.services.insert(service.clone(), mount),
            None => self.services.remove(service),
        };
        self
    }

    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = format!(
            "{BEFORE}{}{BETWEEN}{}{AFTER}\n",
            env!("CARGO_PKG_VERSION"),
            self.project
        );
        if self.is_empty() {
            // Compose refuses a file with nothing in it.
            return out + "services: {}\n";
        }
        // Compose ignores `x-`; it says which service is which site.
        out += "x-rehome-sites:\n";
        for (service, mount) in &self.services {
            out += &format!(
                "  {}: {}\n",
                scalar(service.as_str()),
                scalar(mount.site.as_str())
            );
        }
        out += "services:\n";
        for (service, mount) in &self.services {
            out += &format!(
                "  {}:\n    environment:\n      {DATA_DIR}: {DATA}\n    volumes:\n      - type: bind\n        source: {}\n        target: {DATA}\n        bind: {{ create_host_path: false }}\n",
                scalar(service.as_str()),
                value(&mount.source.to_string_lossy())
            );
        }
        out
    }

    /// Reads the text of one that Rehome wrote.
    ///
    /// # Errors
    /// When the first line is not Rehome's, or the rest is not what Rehome writes.
    pub fn parse(text: &str) -> Result<Self> {
        let (header, body) = text.split_once('\n').unwrap_or((text, ""));
        let project = header
            .trim_end()
            .strip_prefix(BEFORE)
            .and_then(|rest| rest.strip_suffix(AFTER))
            .and_then(|rest| rest.split_once(BETWEEN))
            .and_then(|(_, project)| ProjectName::new(project).ok())
            .ok_or_else(|| {
                Failure::refused("the file was not written by Rehome")
                    .cause("its first line does not say so")
                    .hint("move it away: the override of sites has this name")
            })?;
        let strange = |cause: String| {
            Failure::refused("the file was written by Rehome, and somebody changed it since")
                .cause(cause)
                .hint("take the change into a file of your own, and put this one back as it was")
        };
        let raw: RawOverride = serde_yaml::from_str(body).map_err(|error| strange(error.to_string()))?;
        let mut found = Self::empty(project);
        for (service, raw_service) in raw.services {
            let site = raw.sites.get(&service);
            let (Some(site), [mount]) = (site, &raw_service.volumes[..]) else {
                return Err(strange(format!("service {service} is no site")));
            };
            let mount = SiteMount {
                site: site.clone(),
                source: mount.source.replace("$$", "$").into(),
            };
            found.services.insert(service, mount);
        }
        match found.render().split_once('\n').map(|(_, body)| body) == Some(body) {
            true => Ok(found),
            false => Err(strange("it says something else than Rehome wrote".to_owned())),
        }
    }

    /// Reads a file, if it is there.
    ///
    /// # Errors
    /// When it is not Rehome's, is for another project, or cannot be read.
    pub fn read(path: &Path, project: &ProjectName) -> Result<Option<Self>> {
        let Some(text) = read_text(path, LIMIT)? else {
            return Ok(None);
        };
        let of_file = |failure: Failure| {
            failure.inside(format!(
                "{} cannot be used as the override of sites",
                path.display()
            ))
        };
        let found = Self::parse(&text).map_err(of_file)?;
        if found.project != *project {
            return Err(Failure::refused(format!(
                "{} is the override of another project's sites",
                path.display()
            ))
            .cause(format!("it was written for {}, this is {project}", found.project)));
        }
        Ok(Some(found))
    }

    /// Writes it, atomically.
    ///
    /// # Errors
    /// When it cannot be written; the old content is then untouched.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace_file(path, self.render().as_bytes())
    }

    /// Where a resolved project is not what this asks for, in words. Nothing means: it is in effect.
    #[must_use]
    pub fn deviations(&self, resolved: &Project) -> Vec<String> {
        let mut words = Vec::new();
        for (name, mount) in &self.services {
            let Some(service) = resolved.services.get(name) else {
                words.push(format!("service {name} is not part of the project"));
                continue;
            };
            let at: Vec<_> = service.mounts.iter().filter(|m| m.target == DATA).collect();
            let is_there = matches!(at[..], [one] if !one.read_only
                && matches!(&one.source, MountSource::Bind { source, .. } if *source == mount.source));
            if !is_there {
                words.push(format!(
                    "service {name} does not mount {} at {DATA}",
                    mount.source.display()
                ));
            }
            let said = service.environment.get(DATA_DIR).and_then(Option::as_ref);
            if said.is_none_or(|said| said.reveal() != DATA) {
                words.push(format!("service {name} does not have {DATA_DIR}={DATA}"));
            }
        }
        words
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOverride {
    #[serde(default, rename = "x-rehome-sites")]
    sites: BTreeMap<ServiceName, SiteName>,
    #[serde(default)]
    services: BTreeMap<ServiceName, RawService>,
}

#[derive(Deserialize)]
struct RawService {
    volumes: Vec<RawMount>,
}

#[derive(Deserialize)]
struct RawMount {
    source: String,
}

/// The Compose file of a site that is an image, and the `rehome.yml` beside it.
#[must_use]
pub fn image_project(
    site: &SiteName,
    image: &str,
    (host, container): (u16, u16),
    health: Option<&str>,
) -> (String, String) {
    let header = format!(
        "# Written by rehome {} for site {site}. It is yours: Rehome does not write it again.\n",
        env!("CARGO_PKG_VERSION")
    );
    let compose = format!(
        "{header}name: {}\nservices:\n  {IMAGE_SERVICE}:\n    image: {}\n    restart: unless-stopped\n    ports:\n      - \"127.0.0.1:{host}:{container}\"\n",
        image_project_name(site),
        value(image),
    );
    let asks = match health {
        Some(path) => format!(
            "http: {}",
            super::yaml::quoted(&format!("http://localhost:{container}{path}"))
        ),
        None => format!("tcp: {container}"),
    };
    let settings = format!("{header}version: 1\nchecks:\n  - {{ service: {IMAGE_SERVICE}, {asks} }}\n");
    (compose, settings)
}

/// The one service of such a project.
pub const IMAGE_SERVICE: &str = "web";

/// The name of such a project.
#[must_use]
pub fn image_project_name(site: &SiteName) -> String {
    format!("site-{site}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn an_override() -> SiteOverride {
        let mount = |site: &str, source: &str| SiteMount {
            site: SiteName::new(site).unwrap(),
            source: source.into(),
        };
        SiteOverride::empty(ProjectName::new("shop").unwrap())
            .with(
                &ServiceName::new("web").unwrap(),
                Some(mount("shop", "/var/deploy/data/shop")),
            )
            .with(
                &ServiceName::new("on").unwrap(),
                Some(mount("7", "/mnt/it's $HOME \"x\"/7")),
            )
    }

    #[test]
    fn what_is_written_is_read_and_a_change_of_somebody_is_seen() {
        let all = an_override();
        assert_eq!(SiteOverride::parse(&all.render()).unwrap(), all);
        let one = all.clone().with(&ServiceName::new("on").unwrap(), None);
        insta::assert_snapshot!(one.render(), @r"
        # Written by rehome 0.1.0 for the sites of project shop. Do not edit: rehome site enable and rehome site disable
        x-rehome-sites:
          web: shop
        services:
          web:
            environment:
              DATA_DIR: /data
            volumes:
              - type: bind
                source: /var/deploy/data/shop
                target: /data
                bind: { create_host_path: false }
        ");
        let none = one.clone().with(&ServiceName::new("web").unwrap(), None);
        assert!(none.is_empty() && SiteOverride::parse(&none.render()).unwrap().is_empty());
        for (from, to) in [
            ("create_host_path: false", "create_host_path: true"),
            ("web: shop", "web: ../shop"),
            ("target: /data", "target: /elsewhere"),
            ("# Written by rehome", "# written by me"),
        ] {
            let text = one.render().replace(from, to);
            assert!(SiteOverride::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_becomes_a_project() {
        let site = SiteName::new("blog").unwrap();
        let (compose, settings) = image_project(&site, "ghcr.io/x/y:1$2", (8080, 3000), Some("/health?a=b"));
        insta::assert_snapshot!(compose, @r#"
        # Written by rehome 0.1.0 for site blog. It is yours: Rehome does not write it again.
        name: site-blog
        services:
          web:
            image: "ghcr.io/x/y:1$$2"
            restart: unless-stopped
            ports:
              - "127.0.0.1:8080:3000"
        "#);
        let config = crate::model::config::parse(&settings).unwrap();
        assert_eq!(
            config.checks[0].http.as_deref(),
            Some("http://localhost:3000/health?a=b")
        );
        let (_, settings) = image_project(&site, "x", (8080, 3000), None);
        assert_eq!(
            crate::model::config::parse(&settings).unwrap().checks[0].tcp,
            Some(3000)
        );
    }
}

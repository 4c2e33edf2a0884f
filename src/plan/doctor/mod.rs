//! What is at risk, from what a check-up saw: pure, one small function a check. No I/O, no clock.
//!
//! A new check is a function in the file of its theme and a line in [`CHECKS`]. What it needs to know that nobody has
//! looked at yet is added to `observe::Checkup`.

mod backups;
mod boot;
mod compose;
mod containers;
mod databases;
mod homes;
mod missing;
mod safety;
mod sites;

use std::fmt;

use serde::Serialize;

use crate::model::{Failure, ProjectName, ServiceName, SiteName, VolumeKey};
use crate::observe::{BootSeen, Checkup};

pub use compose::made_with_others;

/// How bad a finding is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data is at risk now, or at the next reboot, prune or deployment.
    Error,
    /// It will bite later.
    Warning,
    /// It could not be looked at: nobody knows.
    Unknown,
    /// Good to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Unknown => "unknown",
            Severity::Note => "note",
        })
    }
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The project as a whole.
    Project,
    /// A volume.
    Volume(VolumeKey),
    /// A service.
    Service(ServiceName),
    /// A site.
    Site(SiteName),
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A name for scripts, which stays: `home-not-mounted`.
    pub id: &'static str,
    /// What is the matter, one sentence.
    pub what: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// The commands that mend it, in this order.
    pub mend: Vec<String>,
    /// What it is about.
    pub about: About,
}

impl Finding {
    fn new(severity: Severity, id: &'static str, about: About, what: impl Into<String>) -> Self {
        Self {
            severity,
            id,
            what: what.into(),
            evidence: Vec::new(),
            mend: Vec::new(),
            about,
        }
    }

    fn error(id: &'static str, about: About, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, id, about, what)
    }

    fn warning(id: &'static str, about: About, what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, id, about, what)
    }

    fn note(id: &'static str, about: About, what: impl Into<String>) -> Self {
        Self::new(Severity::Note, id, about, what)
    }

    fn unknown(id: &'static str, about: About, what: impl Into<String>, why: &str) -> Self {
        Self::new(Severity::Unknown, id, about, what).seen(why)
    }

    fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    fn mend(mut self, command: impl Into<String>) -> Self {
        self.mend.push(command.into());
        self
    }

    /// A line for a service in the Compose file, and what makes it so.
    fn write(self, service: &ServiceName, line: &str) -> Self {
        self.mend(format!(
            "write into service `{service}` of the Compose file: {line}"
        ))
        .mend(format!("rehome compose -- up -d {service}"))
    }
}

/// What a check-up found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The project; without an engine it may not be known.
    pub project: Option<ProjectName>,
    /// Whether the engine answered. If not, only the machine was looked at.
    pub engine: bool,
    /// How many volumes were looked at.
    pub volumes: usize,
    /// How many services.
    pub services: usize,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// How many findings are that bad.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }
}

/// A check: nothing, or what it found.
type Check = fn(&Checkup) -> Vec<Finding>;

/// All checks. Findings of one severity are told in this order.
const CHECKS: &[Check] = &[
    safety::unfinished_run,
    missing::homes,
    missing::binds,
    homes::read_only,
    homes::stacked,
    homes::late_mount,
    homes::late_bind,
    homes::unlooked,
    |seen| of_boot(&seen.boot),
    compose::strays,
    compose::inactive_override,
    compose::other_files,
    compose::outdated_override,
    compose::creating_binds,
    compose::stack_units,
    compose::shell_setting,
    databases::outside_of_volumes,
    databases::other_version,
    databases::collations,
    databases::short_grace,
    databases::checksums,
    sites::storage,
    containers::cannot_write,
    containers::anonymous,
    containers::no_restart,
    containers::no_healthcheck,
    safety::prunable,
    safety::space,
    safety::full_soon,
    homes::on_the_root_disk,
    safety::open_secrets,
    safety::namesakes,
    safety::old_homes,
    safety::old_versions,
    backups::none,
    backups::failed,
    backups::old,
    backups::unverified,
    sites::backups,
];

/// Those of the machine alone.
const BOOT_CHECKS: &[fn(&BootSeen) -> Vec<Finding>] = &[
    boot::sentinels,
    boot::copies,
    boot::host_disks,
    boot::mounted_at_boot,
    boot::fstab,
    boot::hidden,
    boot::writable,
    boot::engine_waits,
    boot::late,
    boot::unlooked,
];

fn of_boot(seen: &BootSeen) -> Vec<Finding> {
    BOOT_CHECKS.iter().flat_map(|check| check(seen)).collect()
}

/// Makes findings of what was seen.
#[must_use]
pub fn diagnose(seen: &Checkup) -> Diagnosis {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(seen)).collect();
    findings.sort_by_key(|finding| finding.severity);
    Diagnosis {
        project: Some(seen.world.project.clone()),
        engine: true,
        volumes: seen.world.volumes.len(),
        services: seen.world.services.len(),
        findings,
    }
}

/// Makes findings of what the machine knows by itself, while its engine does not answer: that may be because of them.
/// `project` is the one that is meant, as far as that is known without an engine.
#[must_use]
pub fn diagnose_machine(seen: &BootSeen, project: Option<ProjectName>, silent: &Failure) -> Diagnosis {
    let mut findings = missing::places(seen);
    findings.extend(of_boot(seen));
    findings.push(Finding::unknown(
        "engine-silent",
        About::Project,
        "containers and volumes could not be looked at: the engine does not answer",
        &silent.to_string(),
    ));
    findings.sort_by_key(|finding| finding.severity);
    Diagnosis {
        project,
        engine: false,
        volumes: 0,
        services: 0,
        findings,
    }
}

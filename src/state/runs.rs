//! The directories of the runs of a project. What their journals say is `saga::recovery`'s business.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::dir::{ProjectDir, list};
use super::durable;
use crate::model::{Failure, Result, RunId, nearest};

/// How often another id is drawn when one is taken. Of a thousand million ids, a handful is enough.
const DRAWS: usize = 16;
/// A report has a few kilobytes for each step, and lists what was compared.
const MAX_REPORT: u64 = 16 * 1024 * 1024;

/// The directory of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    id: RunId,
    path: PathBuf,
    began: Timestamp,
}

impl RunDir {
    /// The run.
    #[must_use]
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When it was made, as far as the file system knows.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// The journal: losing it stops the run.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Whether it has a journal; it has none when the process ended before it began.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn has_journal(&self) -> Result<bool> {
        let path = self.journal();
        path.try_exists()
            .map_err(|e| Failure::environment(format!("cannot read {}", path.display())).because(&e))
    }

    /// What hooks printed.
    #[must_use]
    pub fn hooks_log(&self) -> PathBuf {
        self.path.join("hooks.log")
    }

    /// The report of the finished run.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// Writes the report, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written: a warning, because the journal says the same.
    pub fn write_report(&self, report: &serde_json::Value) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(report)
            .map_err(|e| Failure::bug("the report cannot be written as JSON").because(&e))?;
        text.push(b'\n');
        durable::write_durably(&self.report(), &text)
    }

    /// Reads the report; `None` if there is none yet, or if it is no report.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read_report(&self) -> Result<Option<serde_json::Value>> {
        let path = self.report();
        let failed =
            |e: &std::io::Error| Failure::environment(format!("cannot read {}", path.display())).because(e);
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|e| failed(&e))?,
        };
        let mut text = Vec::new();
        file.take(MAX_REPORT)
            .read_to_end(&mut text)
            .map_err(|e| failed(&e))?;
        Ok(serde_json::from_slice(&text).ok())
    }
}

impl ProjectDir {
    fn runs_path(&self) -> PathBuf {
        self.path().join("runs")
    }

    /// Makes a directory for a new run, durable.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_run(&self) -> Result<RunDir> {
        let runs = self.runs_path();
        durable::create_dirs(&runs)?;
        for _ in 0..DRAWS {
            let id = RunId::from_entropy(entropy()?);
            let path = runs.join(id.as_str());
            match durable::create_dir(&path) {
                Ok(true) => {
                    return Ok(RunDir {
                        id,
                        path,
                        began: Timestamp::now(),
                    });
                }
                Ok(false) => {}
                Err(e) => {
                    return Err(Failure::environment(format!(
                        "cannot create the directory {}",
                        path.display()
                    ))
                    .because(&e)
                    .data("nothing was begun"));
                }
            }
        }
        Err(
            Failure::environment(format!("found no free id for a run in {}", runs.display()))
                .data("nothing was begun"),
        )
    }

    /// The directories of all runs, newest first. What is not named like a run was put aside by a person.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn runs(&self) -> Result<Vec<RunDir>> {
        let mut runs = Vec::new();
        for entry in list(&self.runs_path())? {
            let Some(id) = entry.file_name().to_str().and_then(|name| RunId::new(name).ok()) else {
                continue;
            };
            let path = entry.path();
            let failed = |e: &dyn std::fmt::Display| {
                Failure::environment(format!("cannot read {}", path.display())).cause(e.to_string())
            };
            let meta = entry.metadata().map_err(|e| failed(&e))?;
            if !meta.is_dir() {
                continue;
            }
            let began = meta
                .created()
                .or_else(|_| meta.modified())
                .map_err(|e| failed(&e))?;
            let began = Timestamp::try_from(began).map_err(|e| failed(&e))?;
            runs.push(RunDir { id, path, began });
        }
        runs.sort_by(|a, b| b.began.cmp(&a.began).then_with(|| a.id.cmp(&b.id)));
        Ok(runs)
    }

    /// The run of an id, or of the beginning of one (`7k`).
    ///
    /// # Errors
    /// When no run or several begin like that.
    pub fn find_run(&self, wanted: &str) -> Result<RunDir> {
        let runs = self.runs()?;
        if let Some(run) = runs.iter().find(|run| run.id.as_str() == wanted) {
            return Ok(run.clone());
        }
        let found: Vec<&RunDir> = runs
            .iter()
            .filter(|run| !wanted.is_empty() && run.id.as_str().starts_with(wanted))
            .collect();
        match found.as_slice() {
            [run] => Ok((*run).clone()),
            [] => {
                let failure = Failure::usage(format!("there is no run {wanted:?} of this project"));
                Err(match nearest(wanted, runs.iter().map(|r| r.id.as_str())) {
                    Some(id) => failure.hint(format!("did you mean {id}?")),
                    None => failure.hint("list the runs: rehome history"),
                })
            }
            several => {
                let ids: Vec<&str> = several.iter().take(10).map(|run| run.id.as_str()).collect();
                Err(
                    Failure::usage(format!("{} runs begin with {wanted:?}", several.len()))
                        .hint(format!("write more of the id: {}", ids.join(", "))),
                )
            }
        }
    }
}

fn entropy() -> Result<[u8; 6]> {
    let mut bytes = [0; 6];
    // Up to 256 bytes come whole or not at all: getrandom(2).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Failure::environment("cannot draw a random id for the run").because(&e))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::{ProjectKey, StateDir};
    use super::*;
    use crate::model::ProjectName;

    fn project(root: &Path) -> ProjectDir {
        let dir = StateDir::resolve(Some(root), false, |_| None).unwrap();
        dir.project(&ProjectKey::new(&ProjectName::new("kms").unwrap(), None))
    }

    fn with_runs(root: &Path, ids: &[&str]) -> ProjectDir {
        let project = project(root);
        for id in ids {
            std::fs::create_dir_all(project.path().join("runs").join(id)).unwrap();
        }
        project
    }

    #[test]
    fn a_run_has_its_own_directory_and_is_found_by_its_id() {
        let root = tempfile::tempdir().unwrap();
        let project = project(root.path());
        assert!(
            project.runs().unwrap().is_empty(),
            "no directory, no runs, no error"
        );
        let run = project.create_run().unwrap();
        let other = project.create_run().unwrap();
        assert_ne!(run.id(), other.id());
        assert_eq!(
            run.path(),
            root.path().join("projects/kms/runs").join(run.id().as_str())
        );
        assert_eq!(project.find_run(run.id().as_str()).unwrap().path(), run.path());
        assert_eq!(project.runs().unwrap().len(), 2);
        assert!(!run.has_journal().unwrap());
        assert_eq!(run.read_report().unwrap(), None);
        run.write_report(&serde_json::json!({"a": 1})).unwrap();
        assert_eq!(run.read_report().unwrap(), Some(serde_json::json!({"a": 1})));
        assert_eq!(
            std::fs::read_to_string(run.report()).unwrap(),
            "{\n  \"a\": 1\n}\n"
        );
    }

    #[test]
    fn a_run_is_found_by_the_beginning_of_its_id_if_there_is_one() {
        let root = tempfile::tempdir().unwrap();
        let project = with_runs(root.path(), &["7k2f9q", "7kzzzz", "a1b2c3", "a1b2c3.damaged"]);
        std::fs::write(project.path().join("runs/abcdef"), "a file is no run").unwrap();
        let found = |wanted| {
            project
                .find_run(wanted)
                .map(|r| r.id().to_string())
                .map_err(|f| (f.what, f.hints))
        };
        assert_eq!(found("7k2").unwrap(), "7k2f9q");
        assert_eq!(found("a").unwrap(), "a1b2c3");
        let (what, hints) = found("7k").unwrap_err();
        assert_eq!(what, "2 runs begin with \"7k\"");
        assert!(
            hints[0].contains("7k2f9q") && hints[0].contains("7kzzzz"),
            "{hints:?}"
        );
        assert_eq!(found("7k2f9x").unwrap_err().1, ["did you mean 7k2f9q?"]);
        assert_eq!(found("").unwrap_err().1, ["list the runs: rehome history"]);
    }
}

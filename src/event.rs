//! What happened, as data: the one thing that every display reads.
//!
//! Operations never print. They tell an [`Events`] sink, and `ui` shows it: as bars on a terminal, as plain lines
//! in a log, or as one JSON object a line with `--json`. The field names below are that JSON contract.

use serde::{Deserialize, Serialize};

use crate::model::{Failure, ProjectName, RunId, ServiceName, VolumeKey};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began, or goes on after an interruption.
    RunStarted {
        /// The run.
        run: RunId,
        /// The project it changes.
        project: ProjectName,
        /// What it does, in words: `move postgres_data, media_volume to /mnt/kms-data`.
        title: String,
        /// Whether it continues a journal that was there.
        resumed: bool,
    },
    /// A step began.
    StepStarted {
        /// Place in the plan, from 0.
        step: usize,
        /// How many steps the plan has.
        of: usize,
        /// What it does, in words.
        title: String,
    },
    /// A step is done and verified.
    StepFinished {
        /// Place in the plan.
        step: usize,
        /// What it does, in words.
        title: String,
        /// How long it took, in milliseconds.
        millis: u64,
        /// What was found or verified, in words, if there is something to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// A step failed; what follows is the way back, or the end.
    StepFailed {
        /// Place in the plan.
        step: usize,
        /// What it does, in words.
        title: String,
        /// Why.
        failure: Failure,
    },
    /// The way back began.
    UnwindStarted {
        /// Why, in words.
        reason: String,
    },
    /// A step was undone.
    StepUndone {
        /// Place in the plan.
        step: usize,
        /// What was undone, in words.
        title: String,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// How far a long piece of work is.
    Progress {
        /// What is worked on: `copy`, `verify`, `scan`.
        phase: String,
        /// The volume, if it is about one.
        #[serde(skip_serializing_if = "Option::is_none")]
        volume: Option<VolumeKey>,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all, as far as is known; 0 while unknown.
        bytes_total: u64,
        /// Entries done.
        files: u64,
        /// Entries in all, as far as is known; 0 while unknown.
        files_total: u64,
    },
    /// The services are down from now on; the clock of the downtime runs.
    DowntimeBegan,
    /// The services are up again.
    DowntimeEnded {
        /// Measured, in milliseconds.
        millis: u64,
    },
    /// A service goes down by itself, while the others go on.
    ServiceAway {
        /// The service.
        service: ServiceName,
    },
    /// It is up again.
    ServiceBack {
        /// The service.
        service: ServiceName,
        /// Measured, in milliseconds.
        millis: u64,
    },
    /// Something worth a line.
    Note {
        /// How much it matters.
        level: Level,
        /// The sentence.
        text: String,
    },
    /// A line of output of a hook.
    HookOutput {
        /// Where it ran.
        service: String,
        /// The line, without its end.
        line: String,
    },
    /// The end; always the last event of a run.
    Finished {
        /// The run.
        #[serde(skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// How it ended.
        outcome: Outcome,
        /// The exit code of the process.
        exit: u8,
        /// Why, if not `done`.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// The run's own report, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        report: Option<serde_json::Value>,
    },
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Only with `-v`.
    Detail,
    /// Worth knowing.
    Info,
    /// Worth acting on.
    Warning,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything was done and verified.
    Done,
    /// It failed or was taken back, and everything is as it was before.
    RolledBack,
    /// Nothing was begun.
    Refused,
    /// It can be resumed or rolled back.
    Interrupted,
    /// It needs a person.
    Stuck,
    /// It failed before there was anything to roll back.
    Failed,
}

/// Where events go.
pub trait Events: Send + Sync {
    /// Takes one event. Must not block for long and must not fail: a display is never a reason to stop a run.
    fn tell(&self, event: Event);
}

impl dyn Events + '_ {
    /// Tells a note.
    pub fn note(&self, level: Level, text: impl Into<String>) {
        self.tell(Event::Note {
            level,
            text: text.into(),
        });
    }

    /// Tells something worth knowing.
    pub fn info(&self, text: impl Into<String>) {
        self.note(Level::Info, text);
    }

    /// Tells something worth acting on.
    pub fn warn(&self, text: impl Into<String>) {
        self.note(Level::Warning, text);
    }
}

/// Keeps nothing. For queries and tests.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Events for Silent {
    fn tell(&self, _: Event) {}
}

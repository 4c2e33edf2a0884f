//! Runs as lists of events, for the tests of the displays.

use crate::event::{Event, Level, Outcome};
use crate::model::{Failure, ProjectName, RunId, VolumeKey};

fn started(step: usize, title: &str) -> Event {
    Event::StepStarted {
        step,
        of: 5,
        title: title.to_owned(),
    }
}

fn finished(step: usize, title: &str, millis: u64, detail: Option<&str>) -> Event {
    Event::StepFinished {
        step,
        title: title.to_owned(),
        millis,
        detail: detail.map(str::to_owned),
    }
}

fn note(level: Level, text: &str) -> Event {
    Event::Note {
        level,
        text: text.to_owned(),
    }
}

fn hook(line: &str) -> Event {
    Event::HookOutput {
        service: "api".to_owned(),
        line: line.to_owned(),
    }
}

fn progress(phase: &str, volume: &str, part: u64, parts: u64, total: u64) -> Event {
    Event::Progress {
        phase: phase.to_owned(),
        volume: VolumeKey::new(volume).ok(),
        bytes: total * part / parts,
        bytes_total: total,
        files: 14_212 * part / parts,
        files_total: 14_212,
    }
}

fn begin() -> Vec<Event> {
    let mut events = vec![
        Event::RunStarted {
            run: RunId::new("7k2f9q").unwrap(),
            project: ProjectName::new("kms-connect").unwrap(),
            title: "move postgres_data, media_volume to /mnt/kms-data".to_owned(),
            resumed: false,
        },
        started(0, "make the directories on the block volume"),
        finished(0, "make the directories on the block volume", 420, None),
        started(1, "copy while the stack runs"),
        note(Level::Detail, "round 1 of at most 5"),
    ];
    for part in 0..=100 {
        events.push(progress("copy", "postgres_data", part, 100, 4_100_000_000));
        events.push(progress(
            "copy",
            "media_volume",
            part * 2 / 3,
            100,
            28_000_000_000,
        ));
    }
    events.extend([
        note(Level::Warning, "3 files changed while they were read"),
        finished(
            1,
            "copy while the stack runs",
            185_000,
            Some("14 212 files, 32 GB, content hashed (BLAKE3)"),
        ),
        started(2, "stop api, worker and db"),
        Event::DowntimeBegan,
        finished(
            2,
            "stop api, worker and db",
            3_100,
            Some("PostgreSQL shut down cleanly"),
        ),
        started(3, "copy what changed since and compare everything"),
    ]);
    for part in 0..=20 {
        events.push(progress("verify", "media_volume", part, 20, 120_000_000));
    }
    events
}

/// A move that works.
pub(super) fn moved() -> Vec<Event> {
    let mut events = begin();
    events.extend([
        finished(
            3,
            "copy what changed since and compare everything",
            4_800,
            Some("14 212 files: content (BLAKE3), owner, mode, mtime, xattrs, links"),
        ),
        started(4, "start db, api and worker"),
        Event::DowntimeEnded { millis: 12_300 },
        hook("Operations to perform:"),
        hook("\u{1b}[32;1m  Apply all migrations: admin, auth\u{1b}[0m"),
        note(Level::Info, "the old volumes are still there: rehome cleanup"),
        finished(
            4,
            "start db, api and worker",
            9_200,
            Some("healthy, mounts proven"),
        ),
        Event::Finished {
            run: RunId::new("7k2f9q").ok(),
            outcome: Outcome::Done,
            exit: 0,
            failure: None,
            report: None,
        },
    ]);
    events
}

/// A move that goes back.
pub(super) fn failed() -> Vec<Event> {
    let mut events = begin();
    let failure = Failure::environment("/mnt/kms-data is full")
        .cause("cannot write media/a/b.jpg")
        .cause("No space left on device (os error 28)");
    events.extend([
        Event::StepFailed {
            step: 3,
            title: "copy what changed since and compare everything".to_owned(),
            failure: failure.clone(),
        },
        Event::UnwindStarted {
            reason: "/mnt/kms-data is full".to_owned(),
        },
        Event::StepUndone {
            step: 2,
            title: "stop api, worker and db".to_owned(),
            millis: 5_400,
        },
        Event::DowntimeEnded { millis: 14_800 },
        Event::StepUndone {
            step: 0,
            title: "make the directories on the block volume".to_owned(),
            millis: 60,
        },
        Event::Finished {
            run: RunId::new("7k2f9q").ok(),
            outcome: Outcome::RolledBack,
            exit: 10,
            failure: Some(
                failure
                    .with_kind(crate::model::Kind::RolledBack)
                    .data("nothing was switched; the stack is up on its old volumes")
                    .hint("rehome status shows what is free; grow the volume and run the move again"),
            ),
            report: None,
        },
    ]);
    events
}

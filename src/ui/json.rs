//! One JSON object a line on stdout.

use std::sync::Mutex;

use super::out;
use crate::event::{Event, Events, Level};

/// Prints every event as it is. Where the answer is one document, only the event that takes its place: how it failed.
pub(super) struct Json {
    one_document: bool,
    /// Events come from several threads; a line must not be torn.
    line: Mutex<()>,
}

impl Json {
    pub(super) fn new(one_document: bool) -> Self {
        Self {
            one_document,
            line: Mutex::new(()),
        }
    }
}

impl Events for Json {
    fn tell(&self, event: Event) {
        if self.one_document {
            match &event {
                Event::Finished { .. } => {}
                Event::Note {
                    level: Level::Warning,
                    text,
                } => return out::talk(&format!("warning: {}", super::clean(text))),
                _ => return,
            }
        }
        let Ok(text) = serde_json::to_string(&event) else {
            return;
        };
        let _one_at_a_time = self
            .line
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // A reader that has gone is never a reason to stop a run.
        if let Err(failure) = out::data(&text) {
            out::talk(&super::render(&failure, false, 0));
        }
    }
}

//! Ctrl-C, as something that the executor and long steps can ask about. Signals themselves are the caller's business.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{Failure, Result};

/// A wish to stop, shared by whoever hears the signal, the executor and the steps.
///
/// Before the way back begins it is heeded. From there on, and after a point of no return, it is shielded: nobody sees
/// it as raised any more, so that an undo is not cut short by the very signal that asked for it.
#[derive(Debug, Clone)]
pub struct Interrupt {
    shared: Arc<watch::Sender<Flags>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    raised: bool,
    shielded: bool,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self::new()
    }
}

impl Interrupt {
    /// Not raised.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(watch::Sender::new(Flags::default())),
        }
    }

    /// Asks the run to stop. True if it will be heeded, false if it was raised before or is shielded: then the caller
    /// decides whether to exit, which leaves a journal that can be resumed.
    pub fn raise(&self) -> bool {
        let mut heeded = false;
        self.shared.send_modify(|flags| {
            heeded = !flags.raised && !flags.shielded;
            flags.raised = true;
        });
        heeded
    }

    /// Whether to stop now.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        let flags = *self.shared.borrow();
        flags.raised && !flags.shielded
    }

    /// Waits until it is raised; for `select!` in long steps.
    pub async fn raised(&self) {
        let mut seen = self.shared.subscribe();
        // The sender cannot go away while `self` holds it.
        if seen
            .wait_for(|flags| flags.raised && !flags.shielded)
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    /// For steps, between two pieces of work.
    ///
    /// # Errors
    /// When the run shall stop: a failure of kind `Interrupted`, which makes the executor unwind.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() {
            Err(Failure::interrupted("interrupted"))
        } else {
            Ok(())
        }
    }

    /// From now on nobody is interrupted.
    pub(super) fn shield(&self) {
        self.shared.send_modify(|flags| flags.shielded = true);
    }

    /// Whether it was raised, shielded or not.
    pub(super) fn was_raised(&self) -> bool {
        self.shared.borrow().raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shielded_interrupt_is_not_seen_and_not_heeded() {
        let interrupt = Interrupt::new();
        assert!(interrupt.check().is_ok());
        assert!(interrupt.raise(), "the first is heeded");
        assert!(!interrupt.raise(), "the second is the caller's");
        assert!(interrupt.is_raised());
        interrupt.shield();
        assert!(!interrupt.is_raised());
        assert!(interrupt.was_raised());
        assert!(!Interrupt::clone(&interrupt).raise());
    }

    #[tokio::test]
    async fn waiting_ends_when_it_is_raised_before_or_later() {
        let interrupt = Interrupt::new();
        let other = interrupt.clone();
        let waits = tokio::spawn(async move { other.raised().await });
        tokio::task::yield_now().await;
        interrupt.raise();
        waits.await.unwrap();
        interrupt.raised().await;
    }
}

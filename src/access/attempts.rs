//! How often somebody may try a password. In memory: who restarts the server can read its database anyway.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So many failures of an address.
const OF_ADDRESS: usize = 5;
/// So many of a user, from wherever.
const OF_USER: usize = 10;
/// In so long a time.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// So many addresses and users are kept in mind. When there are more, the oldest are forgotten.
const KEPT: usize = 10_000;

/// The failures of late.
#[derive(Debug, Default)]
pub struct Attempts {
    failures: HashMap<String, Vec<Instant>>,
}

impl Attempts {
    /// How long to wait before the next, if it is not now.
    #[must_use]
    pub fn wait(&self, address: &str, user: &str, now: Instant) -> Option<Duration> {
        let of = |key: String, limit: usize| {
            let mut recent: Vec<Instant> = self.failures.get(&key)?.clone();
            recent.retain(|at| now.duration_since(*at) < WINDOW);
            // The one that has to become old before there is room again.
            let oldest = recent.len().checked_sub(limit)?;
            Some(WINDOW.saturating_sub(now.duration_since(recent[oldest])))
        };
        of(from(address), OF_ADDRESS).max(of(whom(user), OF_USER))
    }

    /// Counts one before its password is looked at: many at once are counted as many.
    pub fn begin(&mut self, address: &str, user: &str, now: Instant) {
        if self.failures.len() >= KEPT {
            self.failures
                .retain(|_, at| at.last().is_some_and(|at| now.duration_since(*at) < WINDOW));
        }
        if self.failures.len() >= KEPT
            && let Some(key) = self
                .failures
                .iter()
                .min_by_key(|(_, at)| at.last().copied())
                .map(|(k, _)| k.clone())
        {
            self.failures.remove(&key);
        }
        for (key, limit) in [(from(address), OF_ADDRESS), (whom(user), OF_USER)] {
            let at = self.failures.entry(key).or_default();
            at.push(now);
            let more = at.len().saturating_sub(limit);
            at.drain(..more);
        }
    }

    /// It was the right one: it does not count.
    pub fn succeeded(&mut self, address: &str, user: &str) {
        for key in [from(address), whom(user)] {
            if let Some(at) = self.failures.get_mut(&key) {
                at.pop();
            }
        }
    }
}

fn from(address: &str) -> String {
    format!("from {address}")
}

fn whom(user: &str) -> String {
    // A name of a megabyte is nobody's, and is not kept in mind.
    format!("user {}", user.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_user_have_so_many_and_then_wait() {
        let mut attempts = Attempts::default();
        let began = Instant::now();
        for n in 0..5 {
            assert_eq!(attempts.wait("a", "ada", began), None, "{n}");
            attempts.begin("a", "ada", began);
        }
        assert_eq!(attempts.wait("a", "eve", began), Some(WINDOW), "whoever it tries");
        assert_eq!(attempts.wait("b", "ada", began), None, "another address");
        for _ in 0..5 {
            attempts.begin("b", "ada", began);
        }
        assert_eq!(attempts.wait("c", "ada", began), Some(WINDOW), "from wherever");
        assert_eq!(attempts.wait("c", "eve", began), None);
        assert_eq!(attempts.wait("a", "ada", began + WINDOW), None, "it passes");
    }

    #[test]
    fn the_right_password_does_not_count_and_memory_has_an_end() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        for _ in 0..50 {
            assert_eq!(attempts.wait("a", "ada", now), None);
            attempts.begin("a", "ada", now);
            attempts.succeeded("a", "ada");
        }
        for n in 0..KEPT + 100 {
            attempts.begin(&format!("{n}"), "ada", now);
            if n % 1000 == 0 {
                assert!(attempts.failures.len() <= KEPT + 2);
            }
        }
        assert!(attempts.failures.len() <= KEPT + 2);
    }
}

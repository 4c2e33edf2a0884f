//! A limit on bytes a second, over all threads.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::context::Context;
use super::fault::Result;

/// A bucket that fills with `rate` bytes a second and holds at most one second's worth. Whoever takes more than there
/// is goes into debt and waits until it is paid: so also blocks larger than the rate get through.
#[derive(Debug)]
pub struct Throttle {
    rate: u64,
    state: Mutex<(Instant, f64)>,
}

/// The longest sleep before looking whether the operation shall still go on.
const NAP: Duration = Duration::from_millis(100);

impl Throttle {
    /// 0 is no limit.
    #[must_use]
    pub fn new(rate: u64) -> Self {
        Self {
            rate,
            state: Mutex::new((Instant::now(), 0.0)),
        }
    }

    /// Waits until `bytes` may be transferred.
    ///
    /// # Errors
    /// When the operation shall end.
    pub fn take(&self, cx: &Context, bytes: u64) -> Result<()> {
        if self.rate == 0 {
            return Ok(());
        }
        let until = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.charge(&mut state, Instant::now(), bytes)
        };
        while let Some(left) = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            cx.go_on()?;
            std::thread::sleep(left.min(NAP));
        }
        Ok(())
    }

    /// Charges the bucket; returns the moment at which the debt is paid.
    fn charge(&self, (filled, level): &mut (Instant, f64), now: Instant, bytes: u64) -> Instant {
        let rate = self.rate as f64;
        let gained = now.saturating_duration_since(*filled).as_secs_f64() * rate;
        *level = (*level + gained).min(rate) - bytes as f64;
        *filled = now;
        // A rate of a byte a day must not overflow the clock.
        let debt = Duration::try_from_secs_f64((-*level / rate).max(0.0)).unwrap_or(Duration::MAX);
        now.checked_add(debt)
            .unwrap_or(now + Duration::from_secs(u32::MAX.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debts_are_paid_at_the_rate_and_idle_time_saves_up_one_second() {
        let throttle = Throttle::new(1000);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut state = (start, 0.0);
        assert_eq!(throttle.charge(&mut state, start, 2000), start + 2 * second);
        assert_eq!(throttle.charge(&mut state, start, 1000), start + 3 * second);
        // Ten seconds later three were needed to pay, and of the seven left only one is saved.
        let later = start + 10 * second;
        assert_eq!(throttle.charge(&mut state, later, 1000), later);
        assert_eq!(throttle.charge(&mut state, later, 500), later + second / 2);
    }
}

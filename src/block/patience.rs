//! Waiting for others that let go by themselves a moment later, and of which nobody is told.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until nothing is in the way, for so long; the last look is returned, whatever it saw.
pub async fn until_free<T>(
    patience: Duration,
    mut look: impl FnMut() -> T,
    in_the_way: impl Fn(&T) -> bool,
) -> T {
    let began = Instant::now();
    loop {
        let seen = look();
        if !in_the_way(&seen) || began.elapsed() > patience {
            return seen;
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen in turn, and how often it was looked.
    async fn looked(patience: Duration, in_the_way: fn(&u32) -> bool) -> u32 {
        let mut looks = 0;
        let look = || {
            looks += 1;
            looks
        };
        until_free(patience, look, in_the_way).await
    }

    #[tokio::test]
    async fn what_is_free_is_looked_at_once_and_what_stays_in_the_way_is_told() {
        assert_eq!(looked(Duration::MAX, |_| false).await, 1);
        assert_eq!(looked(Duration::MAX, |looks| *looks < 3).await, 3);
        assert_eq!(looked(Duration::ZERO, |_| true).await, 1);
        assert!(looked(PAUSE, |_| true).await > 1);
    }
}

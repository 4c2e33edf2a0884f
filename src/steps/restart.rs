//! A restart of services: stopped by their own rules, those that differ from the files made anew, brought up in order.
//!
//! No step of a run: nothing is written down, and nothing is taken back. What it stops it starts again, also when it
//! fails on the way; the same command once more finishes what a crash left.

use std::time::Duration;

use super::spec::{Starting, Stopping};
use super::stack::{Making, bring_up, make_containers};
use super::stop::stop;
use super::world::Cx;
use crate::model::Result;

/// Stops, makes anew, starts.
///
/// # Errors
/// When a container does not stop, cannot be made, or does not come up.
pub async fn restart(
    cx: &Cx,
    stopping: &[Stopping],
    making: &[Making],
    starting: &[Starting],
    limit: Duration,
) -> Result<()> {
    let stopped = stop_all(cx, stopping).await;
    let ended = stopped.is_ok();
    let made = match stopped {
        Ok(()) => make_containers(cx, &cx.files.after, making).await,
        Err(failure) => Err(failure),
    };
    // Also when it failed: what was stopped comes up again, as what it is by now.
    let started = bring_up(cx, starting, limit).await;
    match (made, started) {
        (Ok(()), started) => started,
        // Nothing takes back that a container was asked to stop.
        (Err(failure), Ok(())) if !ended => Err(failure
            .data("it was asked to stop and may still do so; the other services run, and no data was touched")
            .hint("once it has ended: rehome up")),
        (Err(failure), Ok(())) => Err(failure.data("the services were started again; no data was touched")),
        (Err(failure), Err(also)) => Err(failure
            .cause(format!("and they could not all be started again: {also}"))
            .data("no data was touched; services are down")
            .hint("when the cause is gone: rehome up")),
    }
}

async fn stop_all(cx: &Cx, stopping: &[Stopping]) -> Result<()> {
    for container in stopping {
        stop(cx, container).await?;
    }
    Ok(())
}

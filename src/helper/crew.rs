//! The threads of the helper: a stack of work that grows while it is worked on, and the first fault ends it all.

use std::sync::{Condvar, Mutex, PoisonError};

use super::context::Context;
use super::fault::Result;
use crate::model::MOST_THREADS;

/// The number of threads for a request; 0 lets us choose.
#[must_use]
pub fn jobs(asked: usize) -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    // A thread that waits for a disk uses no processor: with two of them, eight to sixteen threads were the fastest on
    // small files that no cache held.
    if asked == 0 {
        (4 * cpus).clamp(8, MOST_THREADS)
    } else {
        asked.min(MOST_THREADS)
    }
}

struct Stack<T> {
    waiting: Vec<T>,
    working: usize,
    over: bool,
}

/// One at work on an item; it checks out also when it panics, or the others would wait for ever.
struct Turn<'a, T>(&'a Mutex<Stack<T>>, &'a Condvar);

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut stack = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stack.working -= 1;
        stack.over |= std::thread::panicking();
        // Who waits has to know of more work, which who pushed it tells, and of the end.
        if stack.over || (stack.working == 0 && stack.waiting.is_empty()) {
            self.1.notify_all();
        }
    }
}

/// Does all of `first` and what that pushes, last in first out (so that a tree is walked in depth and the stack
/// stays small). Every thread makes its own state, and the states come back at the end.
///
/// # Errors
/// The first fault of any thread; the others end after their item.
pub fn work_off<T: Send, S: Send>(
    cx: &Context,
    jobs: usize,
    first: Vec<T>,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T, &mut Vec<T>) -> Result<()> + Sync,
) -> Result<Vec<S>> {
    let stack = Mutex::new(Stack {
        waiting: first,
        working: 0,
        over: false,
    });
    let changed = Condvar::new();
    let one = || -> Result<S> {
        let mut state = state();
        let mut more = Vec::new();
        while let Some(item) = next(&stack, &changed) {
            let turn = Turn(&stack, &changed);
            let done = cx.go_on().and_then(|()| work(&mut state, item, &mut more));
            let mut held = stack.lock().unwrap_or_else(PoisonError::into_inner);
            let pushed = !more.is_empty();
            held.waiting.append(&mut more);
            held.over |= done.is_err();
            drop(held);
            if pushed {
                changed.notify_all();
            }
            drop(turn);
            done?;
        }
        Ok(state)
    };
    if jobs <= 1 {
        return one().map(|state| vec![state]);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(one)).collect();
        let mut states = Vec::with_capacity(jobs);
        let mut fault = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(state)) => states.push(state),
                Ok(Err(error)) => fault = fault.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        fault.map_or(Ok(states), Err)
    })
}

fn next<T>(stack: &Mutex<Stack<T>>, changed: &Condvar) -> Option<T> {
    let mut held = stack.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if held.over {
            return None;
        }
        if let Some(item) = held.waiting.pop() {
            held.working += 1;
            return Some(item);
        }
        if held.working == 0 {
            return None;
        }
        held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::fault::Fault;

    #[test]
    fn everything_that_is_pushed_is_done_once() {
        let cx = Context::new();
        // Each number below 2^12 pushes its two children in a binary tree: 2^13 - 1 nodes in all.
        let counts = work_off(
            &cx,
            4,
            vec![1u32],
            || 0u32,
            |count, n, more| {
                *count += 1;
                if n < 1 << 12 {
                    more.extend([2 * n, 2 * n + 1]);
                }
                Ok(())
            },
        );
        assert_eq!(counts.unwrap().iter().sum::<u32>(), (1 << 13) - 1);
    }

    #[test]
    fn the_first_fault_ends_the_work() {
        let cx = Context::new();
        let result = work_off(
            &cx,
            4,
            (0..100_000).collect(),
            || (),
            |(), n, _| {
                if n == 99_000 {
                    Err(Fault::refused("no", "it is 99000"))
                } else {
                    Ok(())
                }
            },
        );
        assert_eq!(result.unwrap_err().because, "it is 99000");
    }
}

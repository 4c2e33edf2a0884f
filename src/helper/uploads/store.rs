//! The bucket, asked with patience: when the network or the storage goes away for a while, it is waited for.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::{Held, Spent, UploadsRequest, told};
use crate::helper::context::Context;
use crate::helper::crew::{jobs, work_off};
use crate::helper::fault::Fault;
use crate::helper::protocol::FailClass;
use crate::helper::throttle::Throttle;
use crate::model::config::Prefix;
use crate::model::{Failure, Kind, Result};
use crate::s3::{Access, Bucket, Limits};

/// How long a storage that went away is waited for.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between two questions whether it is back.
const PAUSE: Duration = Duration::from_secs(1);
/// How often one thing is begun anew after the storage came back.
const ROUNDS: u32 = 4;
/// So many refusals in a row, without anything that worked between them, are one of everything.
const REFUSALS: u32 = 20;
/// More threads only wait for each other.
const MOST_JOBS: usize = 256;
/// What is read and not yet sent, in MiB, over all threads.
const MEMORY: usize = 48;
/// The unit of [`MEMORY`].
pub(super) const UNIT: usize = 1 << 20;

/// What the store is asked with: a second or two apart, five times each.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    answer: Duration::from_secs(60),
    slowest: 64 << 10,
    attempts: 5,
    part: 8 << 20,
};

/// See the module.
pub(super) struct Store<'a> {
    pub cx: &'a Context,
    pub bucket: Bucket,
    pub prefix: Prefix,
    pub throttle: Throttle,
    pub jobs: usize,
    /// One permit a MiB.
    pub memory: Arc<Semaphore>,
    runtime: Runtime,
    refused: AtomicU32,
    /// What the bucket has, by the last list and what was done since.
    held: Mutex<Option<Held>>,
    /// Why everything ended.
    over: Mutex<Option<Failure>>,
}

impl<'a> Store<'a> {
    pub fn open(cx: &'a Context, request: &UploadsRequest, access: &Access) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::environment("cannot begin to talk to the storage").because(&e))?;
        let bucket = runtime.block_on(Bucket::open(access, &request.bucket, LIMITS))?;
        Ok(Self {
            cx,
            bucket,
            prefix: request.prefix.clone(),
            throttle: Throttle::new(request.bandwidth),
            jobs: match request.jobs {
                0 => jobs(0),
                asked => asked.min(MOST_JOBS),
            },
            memory: Arc::new(Semaphore::new(MEMORY)),
            runtime,
            refused: AtomicU32::new(0),
            held: Mutex::default(),
            over: Mutex::default(),
        })
    }

    /// What all of it asked of the storage, and what that has by now.
    pub fn spent(&self) -> Spent {
        Spent {
            asked: self.bucket.asked(),
            held: *self.held(),
        }
    }

    /// What a list says that there is.
    pub fn listed(&self, held: Held) {
        *self.held() = Some(held);
    }

    /// An object was written, in the place of another one or of none.
    pub fn wrote(&self, before: Option<u64>, bytes: u64) {
        if let Some(held) = &mut *self.held() {
            held.objects += u64::from(before.is_none());
            held.bytes = (held.bytes + bytes).saturating_sub(before.unwrap_or(0));
        }
    }

    /// An object was deleted.
    pub fn deleted(&self, bytes: u64) {
        if let Some(held) = &mut *self.held() {
            held.objects = held.objects.saturating_sub(1);
            held.bytes = held.bytes.saturating_sub(bytes);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one request, or several that belong together.
    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Sends something on its way.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Does something that may be done again, and waits for a storage that went away in the middle of it.
    pub fn patiently<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut round = 1;
        loop {
            match work() {
                Err(failure) if failure.kind == Kind::Environment && round < ROUNDS => {
                    self.until_it_answers().map_err(|again| match again.kind {
                        // What happened first says more than that it did not come back.
                        Kind::Environment => failure,
                        _ => again,
                    })?;
                    round += 1;
                }
                done => return done,
            }
        }
    }

    fn until_it_answers(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            self.cx.go_on().map_err(told)?;
            match self.wait(self.bucket.answers(self.prefix.as_str())) {
                Err(failure) if failure.kind == Kind::Environment && began.elapsed() < PATIENCE => {
                    std::thread::sleep(PAUSE);
                }
                answered => return answered,
            }
        }
    }

    /// So much memory, until it is given back; a single piece may be larger than all of it.
    pub async fn room(memory: Arc<Semaphore>, bytes: usize) -> Result<tokio::sync::OwnedSemaphorePermit> {
        let units = bytes.div_ceil(UNIT).clamp(1, MEMORY);
        let permits = u32::try_from(units).unwrap_or(1);
        memory
            .acquire_many_owned(permits)
            .await
            .map_err(|e| Failure::bug("the memory of uploads is closed").because(&e))
    }

    /// Works off a list with the threads of the helper. What goes wrong with a single item is noted; a storage that refuses
    /// one after the other, or that somebody stops, ends it all.
    pub fn each<T: Send, S: Send>(
        &self,
        items: Vec<T>,
        state: impl Fn() -> S + Sync,
        one: impl Fn(&mut S, &T) -> Result<()> + Sync,
        note: impl Fn(&mut S, &T, Failure) + Sync,
    ) -> Result<Vec<S>> {
        let states = work_off(self.cx, self.jobs, items, state, |state, item, _| {
            let Err(failure) = one(state, &item) else {
                self.refused.store(0, Relaxed);
                return Ok(());
            };
            let refusals = match failure.kind {
                Kind::Refused => self.refused.fetch_add(1, Relaxed) + 1,
                _ => 0,
            };
            if refusals < REFUSALS {
                note(state, &item, failure);
                return Ok(());
            }
            let fault = Fault::new(
                FailClass::Other,
                failure.what.clone(),
                "it was refused again and again",
            );
            self.over
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(failure);
            Err(fault)
        });
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
        match over {
            Some(failure) => Err(failure),
            None => states.map_err(told),
        }
    }
}

//! A small stack with its data: services that write while they run, an old and a new home, the project's files, and
//! the disk with the journal. Everything that touches it passes one gate, where faults happen.
//!
//! The gate is also where an independent eye looks: it knows nothing of the executor, only what must never be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};
use std::sync::{Arc, Mutex, MutexGuard};

use rehome::model::{Failure, Result};
use rehome::saga::{Interrupt, Point, Probe, Store};
use serde::{Deserialize, Serialize};

pub type Files = BTreeMap<String, u64>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Home {
    Old,
    New,
}

/// In dependency order. `beat` was stopped by its owner long ago; `cache` has nothing to do with the move.
pub const SERVICES: [&str; 5] = ["db", "api", "nginx", "beat", "cache"];
pub const MOVED: [&str; 3] = ["db", "api", "nginx"];
pub const LINE: &str = "COMPOSE_FILE=docker-compose.yml:override.yml";

/// What happens at one passage of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An error; nothing happened.
    FailBefore,
    /// An error; but it happened.
    FailAfter,
    /// The process is gone before it happened.
    CrashBefore,
    /// The process is gone after it happened.
    CrashAfter,
    /// The power goes: of a journal line this many bytes are on disk. Elsewhere as `CrashBefore`.
    Torn(usize),
    /// Ctrl-C, while it happens.
    Interrupt,
    /// It reports success and did nothing: a disk that lies. Only copies do that.
    Lie,
}

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The undo of this step does nothing.
    UndoesNothing(&'static str),
    /// Stop's undo believes that apply ran to its end.
    UndoAssumesAll,
    /// The line is added to `.env` each time.
    AppendsAgain,
    /// The home must not exist when it is made, also not when it is made again.
    MakesOnce,
    /// Brings up every service of the project, also the one that its owner had stopped.
    StartsStopped,
    /// Whatever was copied, it is fine.
    VerifiesBlindly,
    /// What was written to the new home goes with it on the way back.
    KeepsNothing,
    /// A journal line reaches the disk with the next one, after the effect that it announces.
    JournalsLate,
    /// The copy goes the wrong way round.
    WritesToSource,
    /// The services are started while the switch is still being written.
    UndoesOutOfOrder,
}

/// Which of a step's methods is at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Look,
    Apply,
    Undo,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Where each service that runs has its data.
    pub running: BTreeMap<String, Home>,
    pub old: Files,
    pub new: Option<Files>,
    /// What was set aside on a way back.
    pub kept: Option<Files>,
    pub override_file: bool,
    pub env: Vec<String>,
    pub finished: bool,
}

pub struct Inside {
    pub stack: Stack,
    /// What the journal's disk holds.
    pub journal: Vec<u8>,
    late: Option<Vec<u8>>,
    /// Writes that were acknowledged to a client, by where they went.
    pub written: [Files; 2],
    writes: u64,
    /// What must never be, and was.
    pub violations: Vec<String>,
    pub passages: usize,
    /// Which passages were journal appends, and how long their lines were.
    pub appends: Vec<(usize, usize)>,
    /// Which passages only looked.
    pub looks: Vec<usize>,
    pub points: Vec<String>,
    faults: BTreeMap<usize, Fault>,
    crash_at: Option<String>,
    /// The undo of this step fails, however often it is tried.
    pub cursed: Option<&'static str>,
    pub dead: bool,
    interrupt: Interrupt,
}

/// Shared by steps, store and probe.
#[derive(Clone)]
pub struct World {
    inside: Arc<Mutex<Inside>>,
    pub mutant: Option<Mutant>,
}

impl World {
    pub fn new(mutant: Option<Mutant>) -> Self {
        let old = Files::from([("db".into(), 0), ("photo".into(), 7), ("report".into(), 9)]);
        let running = MOVED
            .iter()
            .chain(&["cache"])
            .map(|s| ((*s).to_owned(), Home::Old))
            .collect::<BTreeMap<_, _>>();
        let env = vec!["# who changes this?".to_owned(), "SITE=kms".to_owned()];
        let stack = Stack {
            running,
            old,
            new: None,
            kept: None,
            override_file: false,
            env,
            finished: false,
        };
        let inside = Inside {
            stack,
            journal: Vec::new(),
            late: None,
            written: [Files::new(), Files::new()],
            writes: 0,
            violations: Vec::new(),
            passages: 0,
            appends: Vec::new(),
            looks: Vec::new(),
            points: Vec::new(),
            faults: BTreeMap::new(),
            crash_at: None,
            cursed: None,
            dead: false,
            interrupt: Interrupt::new(),
        };
        Self {
            inside: Arc::new(Mutex::new(inside)),
            mutant,
        }
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// A new process comes to the same world, with its own share of bad luck.
    pub fn next_process(&self, faults: &[(usize, Fault)], crash_at: Option<&str>) -> Interrupt {
        let mut inside = self.inside();
        inside.dead = false;
        inside.late = None;
        inside.passages = 0;
        inside.appends.clear();
        inside.looks.clear();
        inside.points.clear();
        inside.faults = faults.iter().copied().collect();
        inside.crash_at = crash_at.map(str::to_owned);
        inside.interrupt = Interrupt::new();
        inside.interrupt.clone()
    }

    /// Everything that a step does or sees passes here. After a crash nothing comes back from here.
    pub async fn pass<T>(
        &self,
        step: &'static str,
        doing: Doing,
        effect: impl FnOnce(&mut Inside) -> Result<T>,
    ) -> Result<T> {
        let Some(result) = self.passage(step, doing, effect) else {
            return std::future::pending().await;
        };
        result
    }

    fn passage<T>(
        &self,
        step: &'static str,
        doing: Doing,
        effect: impl FnOnce(&mut Inside) -> Result<T>,
    ) -> Option<Result<T>> {
        let mut inside = self.inside();
        let at = inside.passages;
        let fault = inside.fault()?;
        if doing == Doing::Look {
            inside.looks.push(at);
        }
        let failed = || Some(Err(Failure::environment(format!("{step}: something broke"))));
        if doing == Doing::Undo && inside.cursed == Some(step) {
            return failed();
        }
        match fault {
            Some(Fault::FailBefore) => return failed(),
            Some(Fault::CrashBefore | Fault::Torn(_)) => {
                inside.dead = true;
                return None;
            }
            _ => {}
        }
        inside.traffic();
        inside.announced(step, doing);
        let result = effect(&mut inside);
        inside.observe();
        inside.traffic();
        match fault {
            Some(Fault::CrashAfter) => {
                inside.dead = true;
                None
            }
            Some(Fault::FailAfter) if doing != Doing::Look => failed(),
            _ => Some(result),
        }
    }

    /// Copies one file from the old home to the new one; a disk that lies says so and does nothing.
    pub async fn copy(&self, step: &'static str, name: &str) -> Result<()> {
        let backwards = self.has(Mutant::WritesToSource);
        let lies = {
            let inside = self.inside();
            inside.faults.get(&inside.passages) == Some(&Fault::Lie)
        };
        self.pass(step, Doing::Apply, |inside| {
            let stack = &mut inside.stack;
            let Some(new) = &mut stack.new else {
                return Err(Failure::environment("no new home"));
            };
            match stack.old.get(name) {
                _ if lies => {}
                Some(value) if backwards => {
                    stack
                        .old
                        .insert(name.to_owned(), new.get(name).copied().unwrap_or(*value));
                    new.insert(name.to_owned(), *stack.old.get(name).unwrap());
                }
                Some(value) => {
                    new.insert(name.to_owned(), *value);
                }
                None => {
                    new.remove(name);
                }
            }
            Ok(())
        })
        .await
    }
}

impl Inside {
    /// Counts a passage. `None`: the process is gone.
    fn fault(&mut self) -> Option<Option<Fault>> {
        if self.dead {
            return None;
        }
        let fault = self.faults.get(&self.passages).copied();
        self.passages += 1;
        if fault == Some(Fault::Interrupt) {
            self.interrupt.raise();
        }
        Some(fault)
    }

    pub fn active(&self) -> Home {
        let switched = self.stack.override_file && self.stack.env.iter().any(|line| line == LINE);
        if switched { Home::New } else { Home::Old }
    }

    pub fn start(&mut self, service: &str) -> Result<()> {
        if self.stack.running.contains_key(service) {
            return Ok(());
        }
        if !self.stack.override_file && self.stack.env.iter().any(|line| line == LINE) {
            return Err(Failure::environment("compose: override.yml not found"));
        }
        let home = self.active();
        if home == Home::New && self.stack.new.is_none() {
            return Err(Failure::environment("the new home is not mounted"));
        }
        self.stack.running.insert(service.to_owned(), home);
        Ok(())
    }

    pub fn stop(&mut self, service: &str) {
        self.stack.running.remove(service);
    }

    /// Clients write while the database runs, and are told that it was written.
    fn traffic(&mut self) {
        let Some(home) = self.stack.running.get("db").copied() else {
            return;
        };
        self.writes += 1;
        let mut rows = vec![("db".to_owned(), self.writes)];
        if self.writes.is_multiple_of(7) {
            rows.push((format!("upload-{}", self.writes), self.writes));
        }
        let files = match home {
            Home::Old => &mut self.stack.old,
            Home::New => match &mut self.stack.new {
                Some(files) => files,
                None => {
                    return self
                        .violations
                        .push("the database runs on a home that is gone".into());
                }
            },
        };
        for (name, value) in rows {
            files.insert(name.clone(), value);
            self.written[home as usize].insert(name, value);
        }
    }

    /// What must be on disk before a step may change anything.
    fn announced(&mut self, step: &'static str, doing: Doing) {
        let journal = String::from_utf8_lossy(&self.journal);
        let place = super::steps::ORDER.iter().position(|s| *s == step).unwrap();
        let fine = match doing {
            Doing::Look => true,
            Doing::Apply => journal.contains(&format!(r#""prepared":{{"step":{place},"#)),
            Doing::Undo => journal.contains(r#""unwind_began""#),
        };
        if !fine {
            self.violations
                .push(format!("{step} {doing:?} came before its record was on disk"));
        }
    }

    /// What must hold at every moment.
    fn observe(&mut self) {
        let stack = &self.stack;
        let on = |home| {
            stack
                .running
                .iter()
                .any(|(s, h)| MOVED.contains(&s.as_str()) && *h == home)
        };
        let mut seen = Vec::new();
        if on(Home::Old) && on(Home::New) {
            seen.push("services run on both homes".to_owned());
        }
        if stack.running.contains_key("beat") {
            seen.push("a service runs that was stopped before".to_owned());
        }
        if !stack.running.contains_key("cache") {
            seen.push("a service was stopped that has nothing to do with it".to_owned());
        }
        let source = self.expected_old();
        if stack.old != source {
            seen.push("the source was changed".to_owned());
        }
        if on(Home::New) {
            let new = stack.new.clone().unwrap_or_default();
            let expected = complete(source, &self.written[Home::New as usize]);
            if new != expected {
                seen.push("the stack runs on new data that are not complete".to_owned());
            }
        }
        let known: BTreeSet<_> = self.violations.iter().cloned().collect();
        self.violations
            .extend(seen.into_iter().filter(|v| !known.contains(v)));
    }

    /// What the old home must hold: what was there, and what clients wrote to it.
    pub fn expected_old(&self) -> Files {
        let first = Files::from([("db".into(), 0), ("photo".into(), 7), ("report".into(), 9)]);
        complete(first, &self.written[Home::Old as usize])
    }
}

/// The files with the later writes over them.
pub fn complete(mut files: Files, written: &Files) -> Files {
    files.extend(written.iter().map(|(name, value)| (name.clone(), *value)));
    files
}

/// The journal's disk.
pub struct Disk(pub World);

impl Store for Disk {
    fn name(&self) -> String {
        "/state/journal".into()
    }

    fn reader(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        let bytes = self.0.inside().journal.clone();
        Ok(Box::new(io::Cursor::new(bytes)))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let late = self.0.has(Mutant::JournalsLate);
        let mut inside = self.0.inside();
        let gone = || io::Error::other("the process is gone");
        let at = inside.passages;
        inside.appends.push((at, line.len()));
        let fault = inside.fault().ok_or_else(gone)?;
        let kept = match fault {
            Some(Fault::FailBefore | Fault::CrashBefore) => 0,
            Some(Fault::Torn(bytes)) => bytes.min(line.len()),
            _ => line.len(),
        };
        if late {
            let before = inside.late.take().unwrap_or_default();
            inside.journal.extend(before);
            inside.late = Some(line[..kept].to_vec());
            // The end is waited for by every program.
            if line.windows(10).any(|w| w == br#"{"closed":"#) {
                let last = inside.late.take().unwrap_or_default();
                inside.journal.extend(last);
            }
        } else {
            inside.journal.extend_from_slice(&line[..kept]);
        }
        match fault {
            Some(Fault::CrashBefore | Fault::CrashAfter | Fault::Torn(_)) => {
                inside.dead = true;
                Err(gone())
            }
            Some(Fault::FailBefore | Fault::FailAfter) => Err(io::Error::other("no space left on device")),
            _ => Ok(()),
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.inside().journal.truncate(len as usize);
        Ok(())
    }
}

/// Ends the process at a named point.
pub struct Watch(pub World);

impl Probe for Watch {
    fn reached(&self, point: Point) {
        let mut inside = self.0.inside();
        let point = point.to_string();
        if inside.crash_at.as_ref() == Some(&point) {
            inside.dead = true;
        }
        inside.points.push(point);
    }
}

//! Plays a scenario through as many processes as it takes, and checks the end. The checker knows the stack before,
//! what clients were told, and the journal's bytes; of the executor it knows nothing.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rehome::event::{Outcome, Silent};
use rehome::model::{Failure, ProjectName, RunId};
use rehome::saga::{Ended, Executor, Journal, Next, Plan, State, Step};

use super::steps::{ORDER, SimStep, plan};
use super::world::{Disk, Fault, Home, LINE, MOVED, Mutant, Stack, Watch, World, complete};

/// Which way a process goes that takes a run up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Resume,
    Rollback,
}

/// One process and what happens to it. The first one of a scenario begins the run.
#[derive(Debug, Clone)]
pub struct Process {
    pub way: Way,
    pub faults: Vec<(usize, Fault)>,
    pub crash_at: Option<String>,
}

impl Process {
    pub fn new(way: Way, faults: &[(usize, Fault)]) -> Self {
        Self {
            way,
            faults: faults.to_vec(),
            crash_at: None,
        }
    }
}

/// What happens, up to the last process, to which nothing happens.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub mutant: Option<Mutant>,
    /// Whether the last step is behind a point of no return.
    pub no_return: bool,
    pub processes: Vec<Process>,
    pub last: Way,
}

impl Scenario {
    pub fn quiet() -> Self {
        Self {
            mutant: None,
            no_return: false,
            processes: Vec::new(),
            last: Way::Resume,
        }
    }

    pub fn one(faults: &[(usize, Fault)], last: Way) -> Self {
        Self {
            processes: vec![Process::new(Way::Resume, faults)],
            last,
            ..Self::quiet()
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    AsBefore,
    Complete,
}

/// How a scenario went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    pub end: End,
    /// How many of its processes were killed.
    pub killed: usize,
}

/// What one process came to.
pub enum Came {
    Crashed,
    To(Box<Ended>),
    Refused(Failure),
}

pub fn the_plan<S: Step + From<SimStep>>(no_return: bool) -> Plan<S> {
    Plan {
        run: RunId::new("7k2f9q").unwrap(),
        project: ProjectName::new("kms").unwrap(),
        title: "move".into(),
        header: serde_json::json!({ "directory": "/srv/kms" }),
        steps: plan().into_iter().map(S::from).collect(),
        point_of_no_return: no_return.then_some(ORDER.len() - 1),
    }
}

/// A process that crashes never comes back from the world's gate: its future stays pending, and is dropped.
pub fn poll<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

pub fn process<S>(world: &World, first: bool, no_return: bool, process: &Process) -> Came
where
    S: Step<Cx = World> + From<SimStep>,
{
    let interrupt = world.next_process(&process.faults, process.crash_at.as_deref());
    let executor = Executor::new(Arc::new(Silent))
        .heeding(interrupt)
        .with_probe(Arc::new(Watch(world.clone())));
    let disk = Disk(world.clone());
    let result = match (first, process.way) {
        (true, _) => poll(executor.run::<S>(the_plan(no_return), disk, world)),
        (false, Way::Resume) => poll(executor.resume::<S>(disk, world)),
        (false, Way::Rollback) => poll(executor.rollback::<S>(disk, world)),
    };
    match result {
        None => Came::Crashed,
        Some(Ok(ended)) => Came::To(Box::new(ended)),
        Some(Err(failure)) => Came::Refused(failure),
    }
}

/// Plays and checks. The error is what is wrong, in words.
pub fn play<S>(scenario: &Scenario) -> Result<Played, String>
where
    S: Step<Cx = World> + From<SimStep>,
{
    let world = World::new(scenario.mutant);
    let before = world.inside().stack.clone();
    let calm = Process::new(scenario.last, &[]);
    // Once nothing happens any more, one process finishes it. (The second is for a rollback that comes too late.)
    let onward = Process::new(Way::Resume, &[]);
    let processes = scenario.processes.iter().chain([&calm, &onward]);
    let mut killed = 0;
    for (number, it) in processes.enumerate() {
        if let Came::To(ended) = process::<S>(&world, number == 0, scenario.no_return, it) {
            consistent(&ended)?;
        }
        killed += usize::from(world.inside().dead);
        let played = |outcome| check(&world, &before, outcome).map(|end| Played { end, killed });
        if let Some(outcome) = over(&world)? {
            return played(outcome);
        }
        if number == 0 && world.inside().journal.is_empty() {
            // The run never began: the next process would be a new run.
            return played(None);
        }
    }
    Err(format!(
        "it did not come to an end: {:?}",
        read(&world)?.map(|s| format!("{:?}", s.next()))
    ))
}

fn consistent(ended: &Ended) -> Result<(), String> {
    let next = ended.state.next();
    let fits = match ended.outcome {
        Outcome::Interrupted => true,
        Outcome::Stuck => matches!(next, Next::Stuck(..)),
        closed => next == Next::Ended(closed),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("it said {:?}, and its journal {next:?}", ended.outcome))
    }
}

fn read(world: &World) -> Result<Option<State>, String> {
    let contents =
        Journal::read(Disk(world.clone())).map_err(|f| format!("the journal does not read back: {f}"))?;
    State::fold(&contents.entries)
        .map_err(|(line, e)| format!("the journal makes no sense: line {line}: {e}"))
}

/// The outcome in the journal, once it is closed; `Some(None)` when a journal holds no whole record.
fn over(world: &World) -> Result<Option<Option<Outcome>>, String> {
    match read(world)? {
        None => Ok(Some(None)),
        Some(state) => Ok(state.outcome().map(Some)),
    }
}

fn check(world: &World, before: &Stack, outcome: Option<Outcome>) -> Result<End, String> {
    let inside = world.inside();
    let now = &inside.stack;
    if let Some(violation) = inside.violations.first() {
        return Err(violation.clone());
    }
    let same = |what: &str, holds: bool| {
        if holds {
            Ok(())
        } else {
            Err(format!("{outcome:?}, but {what}"))
        }
    };
    same(
        "the source is not what it must be",
        now.old == inside.expected_old(),
    )?;
    let names = |stack: &Stack| stack.running.keys().cloned().collect::<Vec<_>>();
    same("other services run than before", names(now) == names(before))?;
    let to_new = &inside.written[Home::New as usize];
    if outcome == Some(Outcome::Done) {
        let on_new = |s: &&str| now.running.get(*s) == Some(&Home::New);
        same("a service is not on the new home", MOVED.iter().all(on_new))?;
        let expected = complete(inside.expected_old(), to_new);
        same(
            "the new home is not complete",
            now.new.as_ref() == Some(&expected),
        )?;
        let mut env = before.env.clone();
        env.push(LINE.to_owned());
        same(
            "the switch is not as it should be",
            now.override_file && now.env == env,
        )?;
        same("it is not finished", now.finished && now.kept.is_none())?;
        return Ok(End::Complete);
    }
    same("services do not run as before", now.running == before.running)?;
    same(
        "the project's files are not as before",
        !now.override_file && now.env == before.env,
    )?;
    same("it left something behind", now.new.is_none() && !now.finished)?;
    let kept = now.kept.clone().unwrap_or_default();
    let lost = to_new.iter().find(|(name, value)| kept.get(*name) != Some(value));
    same(
        &format!("what was written to the new home is lost: {lost:?}"),
        lost.is_none(),
    )?;
    Ok(End::AsBefore)
}

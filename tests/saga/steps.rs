//! The steps of a move as they would be in the simulated world, in the shape of the real ones; and the bugs that a
//! tired person writes.

use rehome::model::{Failure, Result};
use rehome::saga::Step;
use rehome::step_set;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::world::{Doing, Files, Home, Inside, LINE, MOVED, Mutant, SERVICES, World};

/// The names of the steps, in the order of the plan.
pub const ORDER: [&str; 9] = [
    "make home",
    "pre-copy",
    "stop",
    "delta",
    "compare",
    "switch",
    "start",
    "prove",
    "finish",
];

step_set! {
    /// A step of the simulated move.
    #[derive(Debug, Clone)]
    pub enum SimStep {
        MakeHome(MakeHome),
        PreCopy(PreCopy),
        Stop(Stop),
        Delta(Delta),
        Compare(Compare),
        Switch(Switch),
        Start(Start),
        Prove(Prove),
        Finish(Finish),
    }
}

pub fn plan() -> Vec<SimStep> {
    vec![
        SimStep::MakeHome(MakeHome {}),
        SimStep::PreCopy(PreCopy {}),
        SimStep::Stop(Stop {
            services: MOVED.map(str::to_owned).to_vec(),
        }),
        SimStep::Delta(Delta {}),
        SimStep::Compare(Compare {}),
        SimStep::Switch(Switch {
            line: LINE.to_owned(),
        }),
        SimStep::Start(Start {
            services: MOVED.map(str::to_owned).to_vec(),
        }),
        SimStep::Prove(Prove {}),
        SimStep::Finish(Finish {}),
    ]
}

/// The same step, but everything is done twice, as after a crash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Twice<S>(pub S);

impl<S: Step> Step for Twice<S>
where
    S: Serialize + DeserializeOwned,
{
    type Cx = S::Cx;
    type Receipt = S::Receipt;
    fn title(&self) -> String {
        self.0.title()
    }
    async fn prepare(&self, cx: &S::Cx) -> Result<S::Receipt> {
        self.0.prepare(cx).await?;
        self.0.prepare(cx).await
    }
    async fn apply(&self, cx: &S::Cx, receipt: &S::Receipt) -> Result<()> {
        self.0.apply(cx, receipt).await?;
        self.0.apply(cx, receipt).await
    }
    async fn verify(&self, cx: &S::Cx, receipt: &S::Receipt) -> Result<Option<String>> {
        self.0.verify(cx, receipt).await?;
        self.0.verify(cx, receipt).await
    }
    async fn undo(&self, cx: &S::Cx, receipt: &S::Receipt) -> Result<()> {
        self.0.undo(cx, receipt).await?;
        self.0.undo(cx, receipt).await
    }
}

fn require(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Failure::environment(what))
    }
}

async fn look<T>(w: &World, step: &'static str, f: impl FnOnce(&mut Inside) -> Result<T>) -> Result<T> {
    w.pass(step, Doing::Look, f).await
}

async fn act<T>(w: &World, step: &'static str, f: impl FnOnce(&mut Inside) -> T) -> Result<T> {
    w.pass(step, Doing::Apply, |i| Ok(f(i))).await
}

async fn back<T>(w: &World, step: &'static str, f: impl FnOnce(&mut Inside) -> Result<T>) -> Result<()> {
    if w.has(Mutant::UndoesNothing(step)) {
        return Ok(());
    }
    w.pass(step, Doing::Undo, |i| f(i).map(|_| ())).await
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MakeHome {}

impl Step for MakeHome {
    type Cx = World;
    /// Whether it was there before.
    type Receipt = bool;
    fn title(&self) -> String {
        ORDER[0].into()
    }
    async fn prepare(&self, w: &World) -> Result<bool> {
        look(w, ORDER[0], |i| {
            require(i.stack.new.is_none(), "something is there already").map(|()| false)
        })
        .await
    }
    async fn apply(&self, w: &World, _: &bool) -> Result<()> {
        let once = w.has(Mutant::MakesOnce);
        w.pass(ORDER[0], Doing::Apply, |i| {
            require(!once || i.stack.new.is_none(), "mkdir: file exists")?;
            i.stack.new.get_or_insert_default();
            Ok(())
        })
        .await
    }
    async fn verify(&self, w: &World, _: &bool) -> Result<Option<String>> {
        look(w, ORDER[0], |i| {
            require(i.stack.new.is_some(), "it was not made").map(|()| None)
        })
        .await
    }
    async fn undo(&self, w: &World, existed: &bool) -> Result<()> {
        back(w, ORDER[0], |i| {
            if !existed {
                i.stack.new = None;
            }
            Ok(())
        })
        .await
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PreCopy {}

impl Step for PreCopy {
    type Cx = World;
    type Receipt = ();
    fn title(&self) -> String {
        ORDER[1].into()
    }
    async fn prepare(&self, w: &World) -> Result<()> {
        look(w, ORDER[1], |i| require(i.stack.new.is_some(), "no new home")).await
    }
    async fn apply(&self, w: &World, (): &()) -> Result<()> {
        let names: Vec<String> = look(w, ORDER[1], |i| Ok(i.stack.old.keys().cloned().collect())).await?;
        for name in names {
            w.copy(ORDER[1], &name).await?;
        }
        Ok(())
    }
    async fn verify(&self, _: &World, (): &()) -> Result<Option<String>> {
        Ok(None)
    }
    async fn undo(&self, _: &World, (): &()) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stop {
    services: Vec<String>,
}

impl Step for Stop {
    type Cx = World;
    /// What ran, in the order in which it is started.
    type Receipt = Vec<String>;
    fn title(&self) -> String {
        ORDER[2].into()
    }
    async fn prepare(&self, w: &World) -> Result<Vec<String>> {
        let ran = |i: &mut Inside| {
            let runs = |s: &&String| i.stack.running.contains_key(*s);
            Ok(self.services.iter().filter(runs).cloned().collect())
        };
        look(w, ORDER[2], ran).await
    }
    async fn apply(&self, w: &World, ran: &Vec<String>) -> Result<()> {
        for service in ran.iter().rev() {
            act(w, ORDER[2], |i| i.stop(service)).await?;
        }
        Ok(())
    }
    async fn verify(&self, w: &World, ran: &Vec<String>) -> Result<Option<String>> {
        let quiet =
            |i: &mut Inside| require(!ran.iter().any(|s| i.stack.running.contains_key(s)), "still up");
        look(w, ORDER[2], quiet).await?;
        Ok(Some(format!("{} services are down", ran.len())))
    }
    async fn undo(&self, w: &World, ran: &Vec<String>) -> Result<()> {
        if w.has(Mutant::UndoAssumesAll)
            && look(w, ORDER[2], |i| {
                Ok(ran.iter().any(|s| i.stack.running.contains_key(s)))
            })
            .await?
        {
            return Ok(());
        }
        for service in bring(w, ran) {
            back(w, ORDER[2], |i| i.start(&service)).await?;
        }
        Ok(())
    }
}

fn bring(w: &World, services: &[String]) -> Vec<String> {
    if w.has(Mutant::StartsStopped) {
        SERVICES.map(str::to_owned).to_vec()
    } else {
        services.to_vec()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delta {}

impl Step for Delta {
    type Cx = World;
    type Receipt = ();
    fn title(&self) -> String {
        ORDER[3].into()
    }
    async fn prepare(&self, w: &World) -> Result<()> {
        look(w, ORDER[3], |i| {
            require(!i.stack.running.contains_key("db"), "the database runs")
        })
        .await
    }
    async fn apply(&self, w: &World, (): &()) -> Result<()> {
        let dirty = look(w, ORDER[3], |i| {
            let new = i.stack.new.clone().unwrap_or_default();
            let all = i.stack.old.keys().chain(new.keys()).cloned();
            let mut dirty: Vec<String> = all.filter(|n| i.stack.old.get(n) != new.get(n)).collect();
            dirty.dedup();
            Ok(dirty)
        })
        .await?;
        for name in dirty {
            w.copy(ORDER[3], &name).await?;
        }
        Ok(())
    }
    async fn verify(&self, _: &World, (): &()) -> Result<Option<String>> {
        Ok(None)
    }
    async fn undo(&self, _: &World, (): &()) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Compare {}

impl Step for Compare {
    type Cx = World;
    type Receipt = ();
    fn title(&self) -> String {
        ORDER[4].into()
    }
    async fn prepare(&self, _: &World) -> Result<()> {
        Ok(())
    }
    async fn apply(&self, _: &World, (): &()) -> Result<()> {
        Ok(())
    }
    async fn verify(&self, w: &World, (): &()) -> Result<Option<String>> {
        let blind = w.has(Mutant::VerifiesBlindly);
        let same = |i: &mut Inside| {
            let same = i.stack.new.as_ref() == Some(&i.stack.old);
            require(same || blind, "the homes differ").map(|()| i.stack.old.len())
        };
        let files = look(w, ORDER[4], same).await?;
        Ok(Some(format!("{files} files, content")))
    }
    async fn undo(&self, _: &World, (): &()) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Switch {
    line: String,
}

impl Step for Switch {
    type Cx = World;
    /// The lines of the file before.
    type Receipt = Vec<String>;
    fn title(&self) -> String {
        ORDER[5].into()
    }
    async fn prepare(&self, w: &World) -> Result<Vec<String>> {
        look(w, ORDER[5], |i| {
            require(!i.stack.override_file, "an override is there").map(|()| i.stack.env.clone())
        })
        .await
    }
    async fn apply(&self, w: &World, before: &Vec<String>) -> Result<()> {
        let again = w.has(Mutant::AppendsAgain);
        act(w, ORDER[5], |i| i.stack.override_file = true).await?;
        act(w, ORDER[5], |i| {
            if !again {
                i.stack.env = before.clone();
            }
            i.stack.env.push(self.line.clone());
        })
        .await
    }
    async fn verify(&self, w: &World, _: &Vec<String>) -> Result<Option<String>> {
        look(w, ORDER[5], |i| {
            require(i.active() == Home::New, "the switch is not there").map(|()| None)
        })
        .await
    }
    async fn undo(&self, w: &World, before: &Vec<String>) -> Result<()> {
        back(w, ORDER[5], |i| {
            i.stack.env = before.clone();
            Ok(())
        })
        .await?;
        back(w, ORDER[5], |i| {
            i.stack.override_file = false;
            Ok(())
        })
        .await
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    services: Vec<String>,
}

impl Step for Start {
    type Cx = World;
    type Receipt = ();
    fn title(&self) -> String {
        ORDER[6].into()
    }
    async fn prepare(&self, w: &World) -> Result<()> {
        look(w, ORDER[6], |i| require(i.active() == Home::New, "not switched")).await
    }
    async fn apply(&self, w: &World, (): &()) -> Result<()> {
        for service in bring(w, &self.services) {
            w.pass(ORDER[6], Doing::Apply, |i| i.start(&service)).await?;
        }
        Ok(())
    }
    async fn verify(&self, w: &World, (): &()) -> Result<Option<String>> {
        self.all_up(w, ORDER[6]).await.map(|()| None)
    }
    async fn undo(&self, w: &World, (): &()) -> Result<()> {
        for service in self.services.iter().rev() {
            back(w, ORDER[6], |i| {
                i.stop(service);
                Ok(())
            })
            .await?;
        }
        if w.has(Mutant::UndoesOutOfOrder) {
            back(w, ORDER[6], |i| i.start("db")).await?;
        }
        let keeps = !w.has(Mutant::KeepsNothing);
        back(w, ORDER[6], |i| {
            let differs = i.stack.new.as_ref().is_some_and(|new| *new != i.stack.old);
            if differs && keeps {
                i.stack.kept = i.stack.new.take();
            }
            Ok(())
        })
        .await
    }
}

impl Start {
    async fn all_up(&self, w: &World, step: &'static str) -> Result<()> {
        let up = |i: &mut Inside| {
            let up = |s: &String| i.stack.running.get(s) == Some(&Home::New);
            require(
                self.services.iter().all(up),
                "a service does not run on the new home",
            )
        };
        look(w, step, up).await
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prove {}

impl Step for Prove {
    type Cx = World;
    type Receipt = ();
    fn title(&self) -> String {
        ORDER[7].into()
    }
    async fn prepare(&self, _: &World) -> Result<()> {
        Ok(())
    }
    async fn apply(&self, w: &World, (): &()) -> Result<()> {
        look(w, ORDER[7], |i| {
            let row = i.stack.new.as_ref().and_then(|files: &Files| files.get("db"));
            require(row.is_some(), "the database does not answer")
        })
        .await
    }
    async fn verify(&self, w: &World, (): &()) -> Result<Option<String>> {
        look(w, ORDER[7], |i| {
            require(i.stack.running.get("db") == Some(&Home::New), "not healthy").map(|()| None)
        })
        .await
    }
    async fn undo(&self, _: &World, (): &()) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finish {}

impl Step for Finish {
    type Cx = World;
    type Receipt = ();
    fn title(&self) -> String {
        ORDER[8].into()
    }
    async fn prepare(&self, _: &World) -> Result<()> {
        Ok(())
    }
    async fn apply(&self, w: &World, (): &()) -> Result<()> {
        act(w, ORDER[8], |i| i.stack.finished = true).await
    }
    async fn verify(&self, w: &World, (): &()) -> Result<Option<String>> {
        look(w, ORDER[8], |i| {
            require(i.stack.finished, "not finished").map(|()| None)
        })
        .await
    }
    async fn undo(&self, w: &World, (): &()) -> Result<()> {
        back(w, ORDER[8], |i| {
            i.stack.finished = false;
            Ok(())
        })
        .await
    }
}

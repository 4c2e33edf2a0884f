//! `s3 enable` and `s3 disable`: the switch of uploads to a bucket and back, as one run.

use std::collections::BTreeMap;

use super::bucket::Reach;
use crate::compose::Dotenv;
use crate::model::{Failure, Result, ServiceName};
use crate::ops::deploy::{DeployRequest, look};
use crate::ops::execute::{Finish, RunFacts, Running, UploadsAbout};
use crate::plan::uploads::{Direction, SwitchPlan, SwitchWanted, switch_plan};
use crate::state::Lock;

/// Variables that a service which stores in a bucket reads, beside the switch itself.
const OF_BUCKETS: [&str; 2] = ["AWS_STORAGE_BUCKET_NAME", "AWS_ACCESS_KEY_ID"];
/// What a switch says when it is on, and when it is off.
const OPPOSITES: [(&str, &str); 4] = [("1", "0"), ("true", "false"), ("yes", "no"), ("on", "off")];

/// A plan, ready to run. The project stays locked while it exists.
pub struct PlannedSwitch {
    /// What will be done.
    pub plan: SwitchPlan,
    lock: Option<Lock>,
}

impl PlannedSwitch {
    /// Runs it.
    ///
    /// # Errors
    /// Only when the run could not be begun; how it ended is in [`Finish`].
    pub async fn run(self, reach: &Reach) -> Result<Finish> {
        let lock = self
            .lock
            .ok_or_else(|| Failure::bug("a dry run was asked to run"))?;
        let SwitchPlan { facts, steps } = self.plan;
        let about = RunFacts::Uploads(Box::new(UploadsAbout { uploads: facts }));
        Running::as_it_is(reach.app())
            .begin(reach.app(), (about, steps), lock)
            .await
    }
}

impl Reach {
    /// Looks at the world and plans the switch.
    ///
    /// # Errors
    /// Refuses in words whatever can be known beforehand to go wrong.
    pub async fn plan_switch(&self, direction: Direction, dry_run: bool) -> Result<PlannedSwitch> {
        let lock = self.lock(dry_run)?;
        let app = self.app();
        let media = self.media().await?;
        let (seen, deploy) = look(app, &DeployRequest::of_what_is_here(dry_run)).await?;
        let values = self.values(direction)?;
        let dotenv = app.located.dotenv.clone();
        let written = Dotenv::read(&dotenv)?;
        let wanted = SwitchWanted {
            direction,
            media,
            setup: self.wanted_setup(false),
            is_set: values
                .iter()
                .all(|(name, value)| written.get(name, &BTreeMap::new()).as_deref() == Some(value)),
            readers: self.readers(),
            dotenv,
            values,
            deploy,
            drain: app.settings.deploy.drain,
        };
        Ok(PlannedSwitch {
            plan: switch_plan(&seen, &wanted)?,
            lock,
        })
    }

    /// The switch of the configuration, or its opposite.
    fn values(&self, direction: Direction) -> Result<BTreeMap<String, String>> {
        let on = &self.settings().switch;
        match direction {
            Direction::ToBucket => Ok(on.clone()),
            Direction::ToVolume => on
                .iter()
                .map(|(name, value)| Ok((name.clone(), opposite(name, value)?)))
                .collect(),
        }
    }

    /// The services whose environment has the switch, or what belongs to a bucket.
    fn readers(&self) -> Vec<ServiceName> {
        let switch = &self.settings().switch;
        let reads = |name: &String| switch.contains_key(name) || OF_BUCKETS.contains(&name.as_str());
        let services = self.app().project.services.values();
        let readers = services.filter(|service| service.active && service.environment.keys().any(reads));
        readers.map(|service| service.name.clone()).collect()
    }
}

fn opposite(name: &str, value: &str) -> Result<String> {
    let lower = value.to_ascii_lowercase();
    let found = OPPOSITES.iter().find(|(on, _)| *on == lower);
    found.map(|(_, off)| (*off).to_owned()).ok_or_else(|| {
        Failure::usage(format!("what is the opposite of {name}={value}?"))
            .cause("`s3.switch` of rehome.yml says only how it is switched on")
            .data("nothing was changed")
            .hint("a switch is one of 1, true, yes, on")
    })
}

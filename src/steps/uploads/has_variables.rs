//! Looks into the containers that were made anew: have they the values that send them to the bucket, or away from it? What
//! `.env` says reaches a service only where its definition asks for it, and never by a restart (trap 32).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words_of;
use crate::model::{Failure, Result, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HasVariables {
    /// The services that were made anew.
    pub services: Vec<ServiceName>,
    /// The variables with their values.
    pub values: BTreeMap<String, String>,
}

impl Step for HasVariables {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        let names: Vec<_> = self.services.iter().map(ServiceName::as_str).collect();
        format!("see that {} have {}", names.join(", "), words_of(&self.values))
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let (mut have, mut without) = (Vec::new(), Vec::new());
        for service in &self.services {
            let containers = cx.all_running(service).await?;
            for (name, value) in &self.values {
                match containers.iter().find(|c| c.env(name) != Some(value)) {
                    None => have.push(service.as_str()),
                    Some(container) if container.env(name).is_some() => return Err(own(service, name)),
                    Some(_) => without.push((service, name)),
                }
            }
        }
        have.dedup();
        if have.is_empty() {
            let names: Vec<&str> = self.values.keys().map(String::as_str).collect();
            let names = names.join(", ");
            return Err(
                Failure::environment(format!("no service has {names} in its environment"))
                    .cause("its value in .env reaches none of them")
                    .hint(format!("env_file: [.env], or environment: [{names}]")),
            );
        }
        for (service, name) in without {
            cx.events.warn(format!(
                "service `{service}` has the keys of a bucket and not {name}: where it stores is not seen"
            ));
        }
        Ok(Some(format!(
            "{} have {} (inspected)",
            have.join(", "),
            words_of(&self.values)
        )))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

/// The value is not repeated: it may be anything.
fn own(service: &ServiceName, name: &str) -> Failure {
    Failure::environment(format!("service `{service}` does not follow {name} of .env"))
        .cause(
            "it has another value, although it was to be made anew: its Compose file gives it one of its own",
        )
        .hint(format!(
            "let it read .env: env_file: [.env], or environment: [{name}]"
        ))
}

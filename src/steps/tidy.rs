//! Removes what the run made for itself: helpers and the small volume with the manifests. Never a home.

use serde::{Deserialize, Serialize};

use super::world::Cx;
use crate::engine::LABEL_RUN;
use crate::model::Result;
use crate::saga::Step;

/// See the module.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tidy {}

impl Step for Tidy {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        "remove the helpers".to_owned()
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, cx: &Cx, (): &()) -> Result<()> {
        cx.engine.remove_helpers(&cx.run).await?;
        cx.engine
            .remove_own_volume(&cx.state_volume()?, (LABEL_RUN, cx.run.as_str()))
            .await
    }

    async fn verify(&self, _: &Cx, (): &()) -> Result<Option<String>> {
        Ok(None)
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

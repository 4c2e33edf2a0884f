//! A plan and the question below it: the same for whatever can be begun in a browser.

use std::sync::Arc;

use axum::http::StatusCode;

use super::super::Server;
use super::super::pages::{self, ConfirmView};
use super::super::work::{Shown, Work};
use super::{Actor, Fields, Page, Visitor, html, to_run};
use crate::model::{Failure, Result};

/// What somebody is asked.
pub(super) struct Question {
    /// The question: `Deploy shop?`.
    pub(super) title: String,
    /// What to know before, in a sentence or two.
    pub(super) lead: &'static str,
    /// What the button says.
    pub(super) button: &'static str,
    /// Where the answer goes.
    pub(super) action: String,
    /// What the answer says besides the plan that was read.
    pub(super) fields: Vec<(String, String)>,
    /// Where the way back leads.
    pub(super) back: String,
    /// Whether it is the second page of the move of a project.
    pub(super) wizard: bool,
}

impl Question {
    /// The plan of the work, and the question.
    pub(super) async fn ask(self, server: &Arc<Server>, visitor: &Visitor, work: Work) -> Page {
        let plan = work.plan(server).await;
        self.page(server, visitor, plan, None).await
    }

    /// The question below a plan, or why there is none; with the `problem` that the plan before this one had.
    pub(super) async fn page(
        self,
        server: &Arc<Server>,
        visitor: &Visitor,
        plan: Result<Shown>,
        problem: Option<Failure>,
    ) -> Page {
        let status = match plan.is_ok() && problem.is_none() {
            true => StatusCode::OK,
            false => StatusCode::CONFLICT,
        };
        let mut view = ConfirmView {
            frame: visitor.frame(server).await?,
            title: self.title,
            lead: self.lead.to_owned(),
            plan: Ok(String::new()),
            warnings: Vec::new(),
            problem,
            action: self.action,
            fields: self.fields,
            button: self.button.to_owned(),
            back: self.back,
            wizard: self.wizard,
        };
        match plan {
            Ok(shown) => {
                view.plan = Ok(shown.text);
                view.warnings = shown.warnings;
                view.fields.push(("plan".to_owned(), shown.mark));
            }
            Err(failure) => view.plan = Err(failure),
        }
        html(status, pages::confirm(&view))
    }

    /// Somebody said yes to the plan of the field `plan`: to the page of the run; or to the plan as it is now, if that is
    /// another; or why it did not begin.
    pub(super) async fn begin(
        self,
        server: &Arc<Server>,
        Actor { visitor, audit }: Actor,
        work: Work,
        fields: &Fields,
    ) -> Page {
        let read = Some(fields.text("plan").to_owned());
        let begun = work.clone().begin(server, visitor.who.clone(), audit, read).await;
        let failure = match begun {
            Ok(run) => return Ok(to_run(&run)),
            Err(failure) => failure,
        };
        match work.plan(server).await {
            Ok(shown) => self.page(server, &visitor, Ok(shown), Some(failure)).await,
            Err(_) => self.page(server, &visitor, Err(failure), None).await,
        }
    }
}

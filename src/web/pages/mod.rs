//! The dashboard's pages: plain data in, HTML out. Nothing here asks anybody; whoever answers a request fills the views.
//!
//! Each page is a template in `templates/web/`, compiled in, and every value in it is escaped. No page has a script or a
//! style of its own, so that the strictest content security policy holds; all of them work without the script.

mod parts;
mod views;

use askama::Template;

pub(super) use parts::part;
pub use parts::{Fill, RunState, StepState, Tone};
pub use views::*;

use crate::model::{Failure, Result};

/// A file that pages use: its media type and its bytes.
pub type Asset = (&'static str, &'static [u8]);

/// The address below which [`asset`]s are served.
pub const ASSETS: &str = "/assets/";

/// A file that pages use, by its name below [`ASSETS`]. The login page needs `rehome.css`, and nothing else.
#[must_use]
pub fn asset(name: &str) -> Option<Asset> {
    match name {
        "rehome.css" => Some((
            "text/css; charset=utf-8",
            include_bytes!("../../../templates/web/rehome.css"),
        )),
        "rehome.js" => Some((
            "text/javascript; charset=utf-8",
            include_bytes!("../../../templates/web/rehome.js"),
        )),
        _ => None,
    }
}

fn page(template: &impl Template) -> Result<String> {
    template
        .render()
        .map_err(|error| Failure::bug("a page cannot be made").because(&error))
}

/// The login page: the only one that is shown to anybody.
///
/// # Errors
/// When the template cannot be filled.
pub fn login(view: &LoginView) -> Result<String> {
    page(view)
}

/// The first page: what there is, where it lives, and what wants attention.
///
/// # Errors
/// When the template cannot be filled.
pub fn overview(view: &OverviewView) -> Result<String> {
    page(view)
}

/// Every site, and the form that adds one.
///
/// # Errors
/// When the template cannot be filled.
pub fn sites(view: &SitesView) -> Result<String> {
    page(view)
}

/// One site, in the tab that the view names.
///
/// # Errors
/// When the template cannot be filled.
pub fn site(view: &SiteView) -> Result<String> {
    page(view)
}

/// One project.
///
/// # Errors
/// When the template cannot be filled.
pub fn project(view: &ProjectView) -> Result<String> {
    page(view)
}

/// The first page of the move: which volumes, and where to.
///
/// # Errors
/// When the template cannot be filled.
pub fn pick(view: &PickView) -> Result<String> {
    page(view)
}

/// A plan, and the question whether it shall be run: of a site's switch, a move, a deployment, a backup, a removal.
///
/// # Errors
/// When the template cannot be filled.
pub fn confirm(view: &ConfirmView) -> Result<String> {
    page(view)
}

/// One run: its steps, live while it goes on, and its end in words.
///
/// # Errors
/// When the template cannot be filled.
pub fn run(view: &RunView) -> Result<String> {
    page(view)
}

/// Every run.
///
/// # Errors
/// When the template cannot be filled.
pub fn history(view: &HistoryView) -> Result<String> {
    page(view)
}

/// Who changed what.
///
/// # Errors
/// When the template cannot be filled.
pub fn audit(view: &AuditView) -> Result<String> {
    page(view)
}

/// What did not work, in words.
///
/// # Errors
/// When the template cannot be filled.
pub fn error(view: &ErrorView) -> Result<String> {
    page(view)
}

//! All that concerns Docker Compose: finding a project's files, running `docker compose`, the resolved project,
//! the override, and the `.env`.
//!
//! Compose itself resolves the project; nothing here reimplements that. What lives here decides nothing about a
//! move and talks to no engine: it reads, renders and runs.

mod compose_file;
mod dotenv;
mod locate;
pub mod override_file;
pub mod project;
mod replace;
mod runner;
pub mod sites;
mod trouble;
mod yaml;

pub use compose_file::{compose_file_with, compose_file_without};
pub use dotenv::Dotenv;
pub use locate::{FoundBy, Located, Wanted, locate};
pub use override_file::{Override, Style};
pub use project::Project;
pub use replace::replace_file;
pub use runner::{Call, Compose, Version};
pub use sites::{SiteMount, SiteOverride};
pub use trouble::Trouble;

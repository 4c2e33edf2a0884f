//! Docker Compose: where the project is, what it resolves to, the override, `.env`, and running `docker compose`.
//!
//! The project model and the creation of containers are Compose's own; nothing here reimplements them. What is read
//! is what `docker compose config` prints, and what is written is one override file and one line of `.env`.

mod dotenv;
mod locate;
mod override_file;
mod project;
mod project_file;
mod runner;

pub use dotenv::Dotenv;
pub use locate::{FoundBy, Located, Wanted, locate};
pub use override_file::{BindMount, Entry, Place, is_our_override, parse, render_binds, render_volumes};
pub use project::{Condition, Mount, Project, Service, Volume};
pub use project_file::write_project_file;
pub use runner::{Runner, Version};

//! The command line.

pub mod args;
pub mod exit;
pub mod plugin;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

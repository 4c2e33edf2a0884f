//! Calls the binary with nothing from this machine but the binary.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The commands of the contract, the words that reach each.
pub const COMMANDS: [&[&str]; 59] = [
    &["init"],
    &["status"],
    &["doctor"],
    &["mount"],
    &["grow"],
    &["size"],
    &["override"],
    &["env"],
    &["move"],
    &["deploy"],
    &["backup"],
    &["backup", "create"],
    &["backup", "list"],
    &["backup", "verify"],
    &["backup", "restore"],
    &["backup", "prune"],
    &["backup", "schedule"],
    &["backup", "pin"],
    &["backup", "unpin"],
    &["backup", "freeze"],
    &["s3"],
    &["s3", "policy"],
    &["s3", "settings"],
    &["s3", "cost"],
    &["site"],
    &["site", "add"],
    &["site", "list"],
    &["site", "show"],
    &["site", "enable"],
    &["site", "disable"],
    &["site", "move"],
    &["site", "remove"],
    &["site", "import"],
    &["serve"],
    &["serve", "user", "add"],
    &["serve", "user", "list"],
    &["serve", "user", "remove"],
    &["serve", "token", "create"],
    &["serve", "token", "list"],
    &["serve", "token", "revoke"],
    &["serve", "unit"],
    &["resume"],
    &["rollback"],
    &["history"],
    &["show"],
    &["config"],
    &["config", "schema"],
    &["config", "show"],
    &["compose"],
    &["up"],
    &["down"],
    &["ps"],
    &["logs"],
    &["exec"],
    &["restart"],
    &["completions"],
    &["man"],
    &["helper"],
    &[],
];

/// Those of them that people see at the top.
pub const VISIBLE: [&str; 28] = [
    "init",
    "status",
    "doctor",
    "mount",
    "grow",
    "size",
    "override",
    "env",
    "move",
    "deploy",
    "backup",
    "s3",
    "site",
    "serve",
    "resume",
    "rollback",
    "history",
    "show",
    "config",
    "compose",
    "up",
    "down",
    "ps",
    "logs",
    "exec",
    "restart",
    "completions",
    "man",
];

/// The binary, called in `directory`, with an empty environment and nothing to read.
pub fn rehome(directory: &Path) -> Command {
    called(env!("CARGO_BIN_EXE_rehome").as_ref(), directory)
}

/// The same under another name.
pub fn called(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().stdin(Stdio::null());
    command.env("HOME", directory);
    command
}

/// What a call said, and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn said(command: &mut Command) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Said {
        code: status.code().expect("ended by itself"),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A call in a directory with nothing in it.
pub fn anywhere(arguments: &[&str]) -> Said {
    let directory = tempfile::tempdir().unwrap();
    said(rehome(directory.path()).args(arguments))
}

/// The one event that a refused call prints with `--json`.
pub fn event(out: &str) -> serde_json::Value {
    assert_eq!(out.lines().count(), 1, "one line: {out}");
    serde_json::from_str(out).unwrap()
}

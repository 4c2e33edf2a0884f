//! The binary in a project of its own, and the Python that looks at what it made.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What `scripts/s3 up` says, without the prefix.
pub fn server(name: &str) -> &'static str {
    static SERVERS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let servers = SERVERS.get_or_init(|| {
        let told = said(Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/s3")).arg("up"));
        let pairs = told
            .lines()
            .filter_map(|line| line.strip_prefix("export REHOME_S3_")?.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    });
    servers
        .get(name)
        .unwrap_or_else(|| panic!("scripts/s3 does not say {name}"))
}

/// Runs a program that has to succeed, and returns what it said.
#[track_caller]
pub fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A project with this `s3:` section.
pub fn project(s3: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("compose.yaml"), "services: {}\n").unwrap();
    std::fs::write(dir.path().join("rehome.yml"), format!("version: 1\ns3: {s3}\n")).unwrap();
    dir
}

/// The binary, called there with nothing else of this machine.
pub fn rehome(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehome"));
    command
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .env("HOME", dir)
        .stdin(Stdio::null());
    command
}

/// A Python with boto3, Django and the linter.
pub fn python() -> Command {
    let mut command = Command::new(server("PYTHON"));
    // What it compiles would lie beside what it reads.
    command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a program of Python with something to read, which has to succeed and to print JSON.
#[track_caller]
pub fn asked(command: &mut Command, program: &str, input: &str) -> serde_json::Value {
    let mut child = command
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

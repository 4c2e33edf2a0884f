//! stdout is data, stderr is talk: broken pipes, full disks, colors.

use std::process::Stdio;

use super::support::{anywhere, rehome, said};

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["completions", "bash"][..],
        &["man"],
        &["config", "schema"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Nobody reads: the first write of the child meets a pipe without an end.
        drop(reader);
        let child = rehome(directory.path())
            .args(arguments)
            .stdout(Stdio::from(writer))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), told.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_run_whose_events_nobody_reads_ends_with_its_own_code() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = rehome(directory.path())
        .args(["move", "--to", "/mnt/x", "--json"])
        .stdout(Stdio::from(writer))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn data_that_could_not_be_written_is_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = rehome(directory.path())
        .args(["config", "schema"])
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot write to stdout"), "{told}");
}

#[test]
fn colors_are_used_where_they_are_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let escapes = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = rehome(directory.path());
        let said = said(command.args(arguments).envs(variables.iter().copied()));
        assert_eq!(said.code, 1, "{}", said.err);
        said.err.contains('\u{1b}')
    };
    assert!(!escapes(&["status"], &[]), "no terminal");
    assert!(escapes(&["status", "--color", "always"], &[]));
    assert!(
        escapes(&["--color=always", "status"], &[("NO_COLOR", "1")]),
        "said by name"
    );
    assert!(!escapes(
        &["status", "--color", "never"],
        &[("CLICOLOR_FORCE", "1")]
    ));
    assert!(escapes(&["status"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn data_and_talk_do_not_mix() {
    let said = anywhere(&["completions", "fish"]);
    assert_eq!(said.err, "");
    let said = anywhere(&["status"]);
    assert_eq!(said.out, "");
}

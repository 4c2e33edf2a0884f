//! The unit of systemd, as the command line says and writes it.

use std::process::Output;

use super::support::command;

fn unit(state: &std::path::Path, arguments: &[&str]) -> Output {
    command(state)
        .env("DEPLOY_DATA_PATH", "/srv/my sites")
        .args(["serve", "unit"])
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_unit_says_what_the_command_line_said_and_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let printed = unit(&state, &["--listen", "[::1]:7000", "--host-name", "home.example"]);
    assert!(printed.status.success(), "{printed:?}");
    let text = String::from_utf8(printed.stdout).unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    assert_eq!(
        line("ExecStart="),
        format!(
            "{} --host unix:///nonexistent/docker.sock --state-dir {} serve --listen \"[::1]:7000\" --host-name home.example",
            env!("CARGO_BIN_EXE_rehome"),
            state.display()
        )
    );
    assert!(
        line("Environment=").ends_with(" \"DEPLOY_DATA_PATH=/srv/my sites\""),
        "{text}"
    );
    let socket = unit(&state, &["--socket", "run/x.sock"]);
    let socket = String::from_utf8(socket.stdout).unwrap();
    let absolute = format!("serve --socket {}/run/x.sock\n", dir.path().display());
    assert!(socket.contains(&absolute), "{socket}");
    assert!(!state.exists(), "nothing is made for it");

    let root = dir.path().join("image");
    let at = root.join("etc/systemd/system/rehome-serve.service");
    let sysroot = root.to_str().unwrap();
    std::fs::create_dir_all(&root).unwrap();
    let without = unit(&state, &["--write", "-y", "--sysroot", sysroot]);
    assert_eq!(without.status.code(), Some(3), "there is no systemd: {without:?}");
    std::fs::create_dir_all(root.join("run/systemd/system")).unwrap();
    let asked = unit(&state, &["--write", "--sysroot", sysroot]);
    assert_eq!(asked.status.code(), Some(3), "nobody said yes: {asked:?}");
    assert!(!at.exists());
    let wanted = unit(&state, &[]).stdout;
    for _ in 0..2 {
        let written = unit(&state, &["--write", "-y", "--sysroot", sysroot]);
        assert!(written.status.success(), "{written:?}");
        assert_eq!(std::fs::read(&at).unwrap(), wanted);
    }
    // Another one of ours is replaced, and anybody else's is left.
    let other = unit(
        &state,
        &["--write", "-y", "--sysroot", sysroot, "--listen", "127.0.0.1:1"],
    );
    assert!(other.status.success(), "{other:?}");
    assert_ne!(std::fs::read(&at).unwrap(), wanted);
    std::fs::write(&at, "[Service]\nExecStart=/bin/true\n").unwrap();
    let foreign = unit(&state, &["--write", "-y", "--sysroot", sysroot]);
    assert_eq!(foreign.status.code(), Some(3), "{foreign:?}");
    assert_eq!(
        std::fs::read_to_string(&at).unwrap(),
        "[Service]\nExecStart=/bin/true\n"
    );
}

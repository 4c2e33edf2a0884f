//! What packagers and the Docker command line ask for.

use std::io::Write;
use std::process::{Command, Stdio};

use super::support::{VISIBLE, anywhere, called, said};

#[test]
fn completions_know_every_command_in_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = anywhere(&["completions", shell]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{shell}");
        for command in VISIBLE {
            assert!(said.out.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn bash_completes_with_them() {
    let script = anywhere(&["completions", "bash"]).out;
    for (typed, expected) in [("mov", "move"), ("roll", "rollback"), ("hist", "history")] {
        let ask = format!(
            "{script}\nCOMP_WORDS=(rehome {typed}) COMP_CWORD=1\n_rehome rehome {typed} rehome\necho \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash")
            .args(["--noprofile", "--norc", "-s"])
            .env_remove("BASH_ENV")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        bash.stdin.take().unwrap().write_all(ask.as_bytes()).unwrap();
        let output = bash.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            expected,
            "{typed}: {told}"
        );
    }
}

#[test]
fn the_manual_names_every_command_and_exit_code() {
    let said = anywhere(&["man"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.contains(".TH rehome 1"), "{}", said.out);
    for command in VISIBLE {
        assert!(said.out.contains(&format!("rehome\\-{command}(1)")), "{command}");
    }
}

#[test]
fn the_schema_is_one_json_document() {
    let said = anywhere(&["config", "schema"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let schema: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(schema["title"], "rehome.yml");
    for key in ["version", "block", "data_root", "hooks", "checks", "s3", "backup"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
}

#[test]
fn docker_learns_who_its_plugin_is() {
    let said = anywhere(&["docker-cli-plugin-metadata"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let metadata: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        metadata,
        serde_json::json!({
            "SchemaVersion": "0.1.0",
            "Vendor": "Rehome",
            "Version": env!("CARGO_PKG_VERSION"),
            "ShortDescription": "Gives the data of a Compose stack a new home",
        })
    );
}

#[test]
fn as_a_plugin_it_is_called_with_a_word_more() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("docker-rehome");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rehome"), &plugin).unwrap();
    let as_plugin = said(called(&plugin, directory.path()).args(["rehome", "env", "--help"]));
    assert_eq!(
        (as_plugin.code, as_plugin.out),
        (0, anywhere(&["env", "--help"]).out)
    );
    // `docker --context prod rehome status`: the context is Docker's option, and ours.
    let with_context =
        said(called(&plugin, directory.path()).args(["--context", "prod", "rehome", "status"]));
    assert_eq!(with_context.code, 1, "{}", with_context.err);
    assert!(
        with_context.err.contains("no Compose file"),
        "{}",
        with_context.err
    );
}

#[test]
fn the_docker_command_line_finds_and_runs_it() {
    let home = tempfile::tempdir().unwrap();
    let plugins = home.path().join(".docker/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rehome"), plugins.join("docker-rehome")).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let mut docker = called("docker".as_ref(), home.path());
    let version = said(docker.env("PATH", path).args(["rehome", "--version"]));
    assert_eq!(
        (version.code, version.out),
        (0, format!("rehome {}\n", env!("CARGO_PKG_VERSION"))),
        "{}",
        version.err
    );
}

//! What is said, where, and with which exit code, when a call cannot do what it was asked.

use rehome::compose;
use rehome::ops::Settings;
use rehome::ui;

use super::support::{anywhere, event, rehome, said};

const COMPOSE: &str = "services:\n  web:\n    image: nginx\n    volumes: [data:/data]\nvolumes:\n  data:\n";

#[test]
fn a_usage_error_exits_2_and_says_so_on_stderr() {
    for (arguments, words) in [
        (&[][..], "Usage: rehome"),
        (&["mvoe"], "a similar subcommand exists: 'move'"),
        (&["move", "--frobnicate"], "unexpected argument '--frobnicate'"),
        (&["show"], "<RUN>"),
        (&["status", "-q", "-v"], "cannot be used with"),
        (&["move", "--to", "mnt"], "no absolute path"),
        (
            &["move", "--only", "a", "--exclude", "a"],
            "left out with --exclude",
        ),
        (&["compose"], "<ARGS>"),
    ] {
        let said = anywhere(arguments);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{arguments:?}");
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn a_usage_error_ends_a_json_stream_too() {
    let said = anywhere(&["show", "--json"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        event(&said.out),
        serde_json::json!({
            "event": "finished",
            "outcome": "refused",
            "exit": 2,
            "failure": {
                "kind": "usage",
                "what": "the following required arguments were not provided: <RUN>",
            },
        })
    );
}

#[test]
fn where_there_is_no_project_it_says_what_it_looked_for() {
    for arguments in [&["status"][..], &["move", "--to", "/mnt/x"], &["history"]] {
        let said = anywhere(arguments);
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{arguments:?}");
        assert!(said.err.starts_with("error: no Compose file in "), "{}", said.err);
        assert!(said.err.contains("\nhint: "), "{}", said.err);
    }
    let said = anywhere(&["status", "--json"]);
    let event = event(&said.out);
    assert_eq!(
        (said.code, &event["event"], &event["exit"]),
        (1, &"finished".into(), &1.into())
    );
    assert_eq!(event["outcome"], "failed");
}

#[test]
fn without_an_engine_it_names_the_address_that_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("compose.yaml"), COMPOSE).unwrap();
    let socket = directory.path().join("no.sock");
    let address = format!("unix://{}", socket.display());
    let by_flag = said(rehome(directory.path()).args(["status", "-H", &address]));
    let by_variable = said(
        rehome(directory.path())
            .arg("status")
            .env("DOCKER_HOST", &address),
    );
    for said in [by_flag, by_variable] {
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        assert!(said.err.starts_with("error: "), "{}", said.err);
        assert!(said.err.contains(&address), "{}", said.err);
    }
}

#[test]
fn an_unknown_key_of_rehome_yml_names_the_nearest_known_one() {
    let directory = tempfile::tempdir().unwrap();
    let text = "version: 1\nblock:\n  root: /mnt/kms-data\n  volumes:\n    media: { paht: uploads }\n";
    std::fs::write(directory.path().join("rehome.yml"), text).unwrap();
    std::fs::write(directory.path().join("compose.yaml"), COMPOSE).unwrap();
    let cwd = directory.path().to_owned();
    let located = compose::locate(&compose::Wanted {
        cwd,
        ..compose::Wanted::default()
    })
    .unwrap();
    let failure = Settings::load(None, &located).unwrap_err();
    let text = ui::render(&failure, false, 0).replace(&directory.path().display().to_string(), "DIR");
    insta::assert_snapshot!(text, @r"
    error: cannot read DIR/rehome.yml:5
    caused by: unknown key `paht` in `block.volumes.media`
    hint: did you mean `path`?
    ");
}

//! rehome.yml, read and written.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::model::ServiceName;

const WHOLE: &str = r#"
version: 1
block:
  root: /mnt/kms-data
  override: docker-compose.prod.block.yml
  volumes:
    postgres_data: { path: postgres }
    media_volume:  { path: media,  owner: "1000:1000" }
    static_volume: { path: static, owner: 1000:1000 }
  exclude: [redis_data]
hooks:
  after_start:
    - { service: api, run: ["python", "manage.py", "migrate", "--noinput"] }
    - { service: api, run: ["python", "manage.py", "collectstatic"], on_failure: warn, timeout: 5m, user: app }
checks:
  - { service: api, http: "http://localhost:8000/health/", status: 204, within: 90s }
  - { service: api, http: "http://localhost:8000/" }
stop_timeout: 120
s3:
  volume: media_volume
  prefix: media/
  switch: { USE_S3: "1" }
backup:
  to: [ { dir: /var/backups/kms }, { s3: "s3://bucket/kms" } ]
  keep: { daily: 7, weekly: 4, monthly: 6, minimum: 3 }
  schedule: "02:00"
"#;

/// What is for deployments.
const MORE: &str = r#"
version: 1
hooks:
  before_pull:
    - { run: [git, submodule, update], dir: sub, env: [TOKEN] }
  before_start:
    - { service: api, how: run, run: [python, manage.py, migrate], env: [DATABASE_URL], dir: /app }
  after_start: []
  after_healthy:
    - { service: api, run: [warm] }
  on_failure:
    - { run: [logger, failed] }
  after_finish:
    - { run: [logger, done], on_failure: ignore }
checks:
  - { service: api, http: "http://localhost:8000/health/", body: "ok: yes" }
  - { http: "https://www.example.org/" }
  - { service: db, tcp: 5432, within: 5s }
  - { service: api, command: [python, -c, "import sys"], code: 3 }
  - { service: api, log_free_of: Traceback, within: 10s }
  - { file: certs/a.pem }
deploy:
  git: pull
  stable: 10s
variants:
  - { file: docker-compose.tls.yml, when: { files: [certs/a.pem, certs/b.pem] } }
  - { file: debug.yml, when: { env: DEBUG } }
notify:
  - { url: "https://hc-ping.com/uuid", on: [success, failure], format: healthchecks }
  - { url_from: SLACK_URL, format: slack }
"#;

fn error(text: &str) -> ConfigError {
    parse(text).unwrap_err()
}

#[test]
fn a_whole_file_is_read() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.block.root.as_deref(), Some(Path::new("/mnt/kms-data")));
    let volume = |key: &str| config.block.volumes[&VolumeKey::new(key).unwrap()].clone();
    assert_eq!(volume("postgres_data").path.unwrap().as_str(), "postgres");
    assert_eq!(
        volume("static_volume").owner,
        Some(Owner { uid: 1000, gid: 1000 })
    );
    let hooks = config.hooks.unwrap().after_start;
    assert_eq!(hooks[0].on_failure, OnFailure::Stop);
    assert_eq!(hooks[1].timeout, Some(Duration::from_secs(300)));
    assert_eq!(
        (config.checks[0].status, config.checks[1].status),
        (Some(204), None)
    );
    assert_eq!(config.checks[1].limit(), Duration::from_secs(60));
    assert_eq!(config.stop_timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.s3.switch["USE_S3"], "1");
    assert_eq!(parse("version: 1").unwrap(), Config::default());
    assert_eq!(
        parse("version: 1\nhooks: {}").unwrap().hooks,
        Some(Hooks::default())
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    for (text, line, what, hint) in [
        (
            "version: 1\nblok:\n  root: /x\n",
            2,
            "unknown key `blok`",
            "did you mean `block`?",
        ),
        (
            "version: 1\nblock:\n  root: /x\n  volume: {}\n",
            4,
            "unknown key `volume` in `block`",
            "did you mean `volumes`?",
        ),
        (
            "version: 1\nblock:\n  volumes:\n    a: { path: x }\n    b: { path: y, ownr: \"1:1\" }\n",
            5,
            "unknown key `ownr` in `block.volumes.b`",
            "did you mean `owner`?",
        ),
        (
            "version: 1\nchecks:\n  - service: api\n    http: http://x/\n    colour: red\n",
            5,
            "unknown key `colour` in `checks[0]`",
            "known here: service, http, status, body, tcp, command, code, log_free_of, file, within",
        ),
    ] {
        let error = error(text);
        assert_eq!(error.what, what);
        assert_eq!(error.line, Some(line), "{text}");
        assert_eq!(error.hint.as_deref(), Some(hint));
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (text, words) in [
        ("", "key: value"),
        ("block: {}", "`version` is missing"),
        ("version: 2\nfuture: 1", "version 2"),
        ("version: 1\nversion: 1", "duplicate"),
        (
            "version: 1\nblock: { volumes: { a: { path: x }, a: { path: y } } }",
            "duplicate",
        ),
        ("version: 1\nblock: { root: mnt }", "no absolute path"),
        (
            "version: 1\ndata_root: sites",
            "data_root: \"sites\" is no absolute path",
        ),
        ("version: 1\ndata_root: /mnt/../x", "goes up"),
        (
            "version: 1\nblock: { volumes: { a: { path: ../x } } }",
            "is no directory below",
        ),
        (
            "version: 1\nblock: { volumes: { a: { path: x }, b: { path: x/y } } }",
            "a and b would",
        ),
        (
            "version: 1\nblock: { volumes: { media_data: {}, media: { path: media/up } } }",
            "media and media_data would live in the same directory media/up",
        ),
        ("version: 1\nblock: { root: / }", "root disk itself"),
        ("version: 1\nblock: { override: ../x.yml }", "is no file name"),
        ("version: 1\nblock: { exclude: [a, b, a] }", "twice"),
        (
            "version: 1\nchecks: [ { service: a, http: \"https://x/\" } ]",
            "is no URL",
        ),
        ("version: 1\nblock: { volumes: { a: {} }, exclude: [a] }", "both"),
        ("version: 1\nblock: { volumes: { a: { owner: www } } }", "UID:GID"),
        (
            "version: 1\nhooks: { after_start: [ { service: a, run: [] } ] }",
            "runs nothing",
        ),
        (
            "version: 1\nchecks: [ { service: a, http: localhost } ]",
            "is no URL",
        ),
        ("version: 1\nchecks: [ { service: a } ]", "it asks nothing"),
        (
            "version: 1\nchecks: [ { http: \"http://x/\", tcp: 80 } ]",
            "http and tcp are two checks",
        ),
        (
            "version: 1\nchecks: [ { tcp: 80, status: 200 } ]",
            "`status` is for `http`",
        ),
        (
            "version: 1\nchecks: [ { tcp: 80, code: 1 } ]",
            "`code` is for `command`",
        ),
        ("version: 1\nchecks: [ { log_free_of: x } ]", "names no service"),
        (
            "version: 1\nchecks: [ { service: a, file: x } ]",
            "no absolute path",
        ),
        (
            "version: 1\nchecks: [ { service: a, command: [] } ]",
            "runs nothing",
        ),
        (
            "version: 1\nhooks: { before_pull: [ { run: [a], how: run } ] }",
            "names no service",
        ),
        (
            "version: 1\nhooks: { on_failure: [ { run: [a], user: www } ] }",
            "as whoever runs rehome",
        ),
        (
            "version: 1\nhooks: { after_finish: [ { run: [a], env: [\"A=b\"] } ] }",
            "is no name of a variable",
        ),
        (
            "version: 1\nvariants: [ { file: a.yml, when: {} } ]",
            "has no condition",
        ),
        (
            "version: 1\nvariants: [ { file: \"\", when: { env: A } } ]",
            "is no file name",
        ),
        ("version: 1\nnotify: [ {} ]", "names no address"),
        (
            "version: 1\nnotify: [ { url: \"https://x/\", url_from: A } ]",
            "two addresses",
        ),
        (
            "version: 1\nnotify: [ { url: \"ftp://s3cret/\" } ]",
            "notify: it is no URL",
        ),
        (
            "version: 1\nchecks: [ { service: a, http: \"http://x\", within: soon } ]",
            "no duration",
        ),
        ("version: 1\nstop_timeout: soon", "no duration"),
        ("version: 1\nblock: [", "line"),
    ] {
        let error = error(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn a_refused_value_is_on_its_own_line() {
    for (text, line) in [
        ("# new\n\nversion: 2\n", 3),
        ("version: 1\nblock:\n  exclude: []\n  root: mnt\n", 4),
        ("version: 1\nblock:\n  root: /x\n  override: a/b\n", 4),
        (
            "version: 1\nblock:\n  volumes:\n    a:\n      path: x\n\n      owner: www\n",
            7,
        ),
        (
            "version: 1\nblock:\n  volumes:\n    a:\n      owner: 1:1\n      path: ../x\n",
            6,
        ),
        (
            "version: 1\nblock:\n  volumes:\n    a: {}\n    b: { path: a/b }\n",
            5,
        ),
        ("version: 1\nblock:\n  volumes:\n    a_data: {}\n    a: {}\n", 4),
        (
            "version: 1\nblock:\n  volumes: { a: {} }\n  exclude:\n    - b\n    - a\n",
            6,
        ),
        ("version: 1\nblock:\n  exclude:\n    - b\n    - a b\n", 5),
        (
            "version: 1\nhooks:\n  after_start:\n    - service: a\n      run: []\n",
            5,
        ),
        (
            "version: 1\nhooks:\n  after_start:\n    - run: [x]\n      timeout: soon\n      service: a\n",
            5,
        ),
        (
            "version: 1\nchecks:\n  - service: a\n    http: http://a/\n    within: soon\n",
            5,
        ),
        (
            "version: 1\nchecks:\n  - service: a\n    http: http://a/\n    status: 99\n",
            5,
        ),
        ("version: 1\nchecks:\n  - service: a b\n    http: http://a/\n", 3),
        ("version: 1\n\nstop_timeout: soon\n", 3),
        (
            "version: 1\nchecks:\n  - tcp: 1\n  - service: a\n    within: 5s\n",
            4,
        ),
        (
            "version: 1\nhooks:\n  after_healthy:\n    - run: [x]\n      env:\n        - 1A\n",
            6,
        ),
        ("version: 1\nnotify:\n  - on: [start]\n    url_from: a b\n", 4),
        (
            "version: 1\nvariants:\n  - file: a.yml\n    when:\n      env: a b\n",
            5,
        ),
    ] {
        let error = error(text);
        assert_eq!(error.line, Some(line), "{text}: {error}");
    }
}

#[test]
fn the_failure_names_the_file_and_the_line() {
    let failure = error("version: 1\nblok: {}\n").into_failure(Path::new("rehome.yml"));
    assert_eq!(failure.what, "cannot read rehome.yml:2");
    assert_eq!(failure.causes, ["unknown key `blok`"]);
    assert_eq!(failure.hints, ["did you mean `block`?"]);
}

#[test]
fn the_commented_file_reads_back_as_the_same() {
    for text in [
        WHOLE,
        "version: 1",
        "version: 1\nhooks: {}",
        "version: 1\nblock: { exclude: [no, 'on'] }",
        MORE,
    ] {
        let config = parse(text).unwrap();
        let written = write_commented(&config);
        assert_eq!(parse(&written).unwrap(), config, "{written}");
    }
    insta::assert_snapshot!(write_commented(&parse(WHOLE).unwrap()));
}

#[test]
fn the_schema_knows_every_key_and_refuses_others() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    for key in [
        "version",
        "block",
        "hooks",
        "checks",
        "stop_timeout",
        "s3",
        "backup",
    ] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["required"], serde_json::json!(["version"]));
    assert_eq!(schema["$defs"]["Block"]["additionalProperties"], false);
}

#[test]
fn an_address_does_not_show_in_debug_output() {
    let config = parse(MORE).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("uuid") && shown.contains("SLACK_URL"), "{shown}");
    let shown: Vec<_> = config.notify.iter().map(Notify::shown).collect();
    assert_eq!(shown, ["hc-ping.com", "the address in SLACK_URL"]);
    assert_eq!(host("https://user:pw@ntfy.sh:8443/topic?x"), Some("ntfy.sh:8443"));
}

proptest! {
    #[test]
    fn any_words_survive_the_commented_file(
        words in prop::collection::vec("[^\0]{1,12}", 1..4),
        path in "[^/\0]{1,12}",
        user in "\\PC{1,8}",
        millis in 0_u64..10_000_000,
    ) {
        let mut config = Config::default();
        if let Ok(subdir) = path.parse::<Subdir>() {
            let volume = Volume { path: Some(subdir), owner: None };
            config.block.volumes.insert(VolumeKey::new("1_true").unwrap(), volume);
        }
        config.hooks = Some(Hooks { after_start: vec![Hook {
            service: Some(ServiceName::new("null").unwrap()),
            run: words.clone(),
            how: How::Run,
            user: Some(user),
            dir: Some(path.clone()),
            env: vec!["NAME".to_owned()],
            timeout: Some(Duration::from_millis(millis)),
            on_failure: OnFailure::Ignore,
        }], before_pull: vec![Hook { run: words.clone(), dir: Some(path.clone()), ..Hook::default() }], ..Hooks::default() });
        config.checks = vec![
            Check { service: Some(ServiceName::new("on").unwrap()), log_free_of: words.first().cloned(), ..Check::default() },
            Check { command: Some(words), code: Some(3), ..Check::default() },
            Check { file: Some(path), within: Some(Duration::from_millis(millis)), ..Check::default() },
        ];
        let written = write_commented(&config);
        prop_assert_eq!(parse(&written).map_err(|e| TestCaseError::fail(format!("{e}\n{written}")))?, config);
    }
}

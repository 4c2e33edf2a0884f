//! Every command as its user meets it: what it prints, what it writes, how it ends.

// long because: one test a command, each a whole use of it from its files to what it prints

use std::process::Command;

use crate::stacks::{small, small_up};
use crate::support::{Block, Run, Stack, sh, tree, wait_for};

/// The files of the project's directory, names and contents.
fn files(stack: &Stack) -> String {
    sh(&format!(
        "cd {} && find . -type f -printf '%p %m %T@\\n' -exec sha256sum {{}} \\; | sort",
        stack.dir.display()
    ))
}

fn volumes(stack: &Stack) -> String {
    sh(&format!(
        "docker volume ls -q | grep '{}' | sort || true",
        stack.name
    ))
}

/// Ids of the project's containers: whoever makes one anew changes them.
fn ids(stack: &Stack) -> String {
    sh(&format!(
        "docker ps -aq --no-trunc --filter label=com.docker.compose.project={} | sort",
        stack.name
    ))
}

#[test]
fn status_says_where_everything_lives_before_and_after_a_move() {
    let block = Block::ext4(100);
    let stack = small_up();
    let volume = |status: &serde_json::Value, key: &str| {
        let all = status["volumes"].as_array().expect("volumes");
        all.iter().find(|v| v["key"] == key).expect("the volume").clone()
    };
    let before = stack.rehome("status --json").exits(0).json();
    assert_eq!(before["project"], stack.name);
    assert!(before["override_active"].is_null() && before["last_run"].is_null());
    let data = volume(&before, "data");
    assert_eq!(data["home"], "volume");
    assert_eq!(data["path"], stack.volume_dir("data").to_str().expect("text"));
    assert_eq!(data["owner"], serde_json::json!("999:998"), "{data}");
    assert_eq!(data["mounted_by"], serde_json::json!(["app", "web:ro"]));
    assert!(data["bytes"].as_u64().expect("bytes") > 3_000_000);
    assert!(data["free"].as_u64().expect("free") > 0);
    let text = stack.rehome("status").exits(0).out;
    assert!(
        text.contains("Override: none") && text.contains("999:998"),
        "{text}"
    );
    assert!(text.contains("Running: app, side, web"), "{text}");

    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let after = stack.rehome("status --json").exits(0).json();
    let data = volume(&after, "data");
    assert_eq!(data["home"], "block");
    assert_eq!(data["path"], format!("{}/data", block.path()));
    assert_eq!(data["owner"], serde_json::json!("999:998"));
    assert_eq!(volume(&after, "side_volume")["home"], "volume");
    assert_eq!(after["override_active"], true);
    assert_eq!(after["warnings"], serde_json::json!([]));
    assert_eq!(after["last_run"]["outcome"], "done");
    let text = stack.rehome("status").exits(0).out;
    assert!(text.contains("Override: active"), "{text}");
    assert!(text.contains(&format!("{}/data", block.path())), "{text}");
    assert!(text.contains("Last run:"), "{text}");

    // Stopped and removed: the data is still found, and nothing runs.
    stack.compose("down");
    let text = stack.rehome("status").exits(0).out;
    assert!(text.contains("Running: nothing"), "{text}");
    assert!(text.contains(&format!("{}/data", block.path())), "{text}");
    stack.assert_tidy();
}

#[test]
fn init_writes_what_it_found_once_and_the_file_is_understood() {
    let stack = small_up();
    let mine = stack.read("rehome.yml");
    stack
        .rehome("init")
        .exits(3)
        .says("exists already")
        .says("rehome init --force");
    assert_eq!(stack.read("rehome.yml"), mine);
    let shown = stack.rehome("init --dry-run").exits(0);
    assert!(
        shown.out.contains("version: 1") && shown.out.contains("data:"),
        "{}",
        shown.out
    );
    assert!(shown.err.contains("volume data"), "{}", shown.err);
    assert_eq!(stack.read("rehome.yml"), mine, "a dry run wrote");

    stack.rehome("init --force").exits(0).says("wrote");
    assert_eq!(stack.read("rehome.yml").trim_end(), shown.out.trim_end());
    let settings = stack.rehome("config show --json").exits(0).json();
    let all = settings.as_array().expect("settings");
    let path = all.iter().find(|s| s["name"] == "block.volumes.data.path");
    let path = path.unwrap_or_else(|| panic!("{settings}"));
    assert_eq!(path["value"], "data", "{settings}");
    assert!(path["from"].to_string().contains("rehome.yml"), "{settings}");
    std::fs::remove_file(stack.dir.join("rehome.yml")).expect("it was there");
    let report = stack.rehome("init --json").exits(0).json();
    assert_eq!(report["text"], stack.read("rehome.yml"));
    stack.rehome("status").exits(0);
}

#[test]
fn config_show_and_schema_and_an_unknown_key() {
    let stack = small();
    let schema = stack.rehome("config schema").exits(0).json();
    assert_eq!(schema["title"], "rehome.yml");
    assert!(schema["properties"]["block"].is_object(), "{schema}");
    stack.file(
        "rehome.yml",
        "version: 1\nstop_timeout: 90s\nblock:\n  root: /mnt/x\n  volumes:\n    data: { path: d, owner: \"1:2\" }\n",
    );
    let text = stack.rehome("config show").exits(0).out;
    let line = |name: &str| {
        text.lines()
            .find(|l| l.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("block.root").contains("/mnt/x") && line("block.root").contains("rehome.yml:4"),
        "{text}"
    );
    assert!(line("stop_timeout").contains("90s"), "{text}");
    assert!(line("block.override").contains("default"), "{text}");
    stack.file("rehome.yml", "version: 1\nblock:\n  rooot: /mnt/x\n");
    stack.rehome("config show").exits(2).says("rooot").says("root");
    stack.rehome("status").exits(2).says("rooot");
    // That needs no engine.
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    stack.rehome_env("config show", &nowhere).exits(2).says("rooot");
}

#[test]
fn override_prints_writes_and_checks_and_never_leaves_data_behind() {
    let block = Block::ext4(100);
    let stack = small_up();
    let before = (files(&stack), volumes(&stack), ids(&stack));
    stack.rehome("override").exits(2).says("where to?");
    let to = format!("override --to {}", block.path());
    let text = stack.rehome(&to).exits(0).out;
    assert!(
        text.contains(&format!("device: {}/data", block.path())) && !text.contains("side"),
        "{text}"
    );
    let bind = stack.rehome(&format!("{to} --style bind")).exits(0).out;
    assert!(
        bind.contains("services:") && bind.contains("type: bind"),
        "{bind}"
    );
    assert!(bind.contains("create_host_path: false"), "{bind}");
    // Compose itself understands both.
    for text in [&text, &bind] {
        let file = stack.dir.parent().expect("a base").join("tried.yml");
        std::fs::write(&file, text).expect("a file");
        let resolved = stack.compose(&format!("-f docker-compose.yml -f {} config", file.display()));
        assert!(resolved.contains(&format!("{}/data", block.path())), "{resolved}");
    }
    stack
        .rehome(&format!("{to} --check"))
        .exits(3)
        .says("there is no override");
    for style in ["", " --style bind"] {
        stack
            .rehome(&format!("{to} --write{style}"))
            .exits(3)
            .says("its data would be left behind")
            .says("rehome move");
    }
    stack.rehome(&format!("{to} --write --dry-run")).exits(0);
    assert_eq!((files(&stack), volumes(&stack), ids(&stack)), before);

    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let run = stack.rehome("override --check").exits(0);
    assert!(run.out.contains("the stack runs with"), "{}", run.out);
    let json = stack.rehome("override --check --json").exits(0).json();
    assert_eq!(json["uses_override"], true);
    // What is there stays as it is.
    assert_eq!(
        stack.rehome("override").exits(0).out.trim_end(),
        stack.read("docker-compose.block.yml").trim_end()
    );
    // Somebody starts the stack without it. (Compose before 2.32 would let the container be.)
    sh(&format!(
        "cd {} && docker compose -f docker-compose.yml up -d --force-recreate app",
        stack.dir.display()
    ));
    stack
        .rehome("override --check")
        .exits(3)
        .says("app")
        .says("rehome compose -- up -d");
    let json = stack.rehome("override --check --json").exits(3).json();
    assert_eq!(json["uses_override"], false);
}

#[test]
fn override_write_is_enough_for_a_stack_that_has_no_data_yet() {
    let block = Block::ext4(100);
    let stack = small();
    sh(&format!("mkdir {}/data", block.path()));
    stack
        .rehome(&format!("override --to {} --write", block.path()))
        .exits(0)
        .says("wrote");
    stack.compose("up -d");
    assert!(stack.mounted("app", "/data").contains("_block_"));
    assert_eq!(stack.mounted("app", "/data"), stack.mounted("web", "/www"));
    wait_for("the log", || block.root.join("data/log").exists());
    stack.rehome("override --check").exits(0);
}

#[test]
fn env_prints_an_export_that_works_anywhere_and_writes_the_setting() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.rehome(&format!("move --to {} -y", block.path())).exits(0);
    let home = stack.mounted("app", "/data");
    let below = stack.dir.join("deep");
    std::fs::create_dir_all(&below).expect("a directory");
    let output = stack
        .command("env", &[])
        .current_dir(&below)
        .output()
        .expect("rehome runs");
    let export = Run::of(output).exits(0).out;
    assert!(export.starts_with("export COMPOSE_FILE=/"), "{export}");
    let resolved = sh(&format!(
        "cd / && {export} docker compose config --volumes >/dev/null && {export} docker compose config"
    ));
    assert!(resolved.contains(&home), "{resolved}");
    sh(&format!(
        "cd / && {export} docker compose -p {} up -d --force-recreate app",
        stack.name
    ));
    assert_eq!(stack.mounted("app", "/data"), home);

    let kept = stack.read(".env");
    stack.file(".env", "# mine\nOTHER=1\n");
    let json = stack.rehome("env --json").exits(0).json();
    assert_eq!(json["current"], false);
    stack.rehome("env --write --dry-run").exits(0).says("would write");
    assert_eq!(stack.read(".env"), "# mine\nOTHER=1\n");
    stack.rehome("status").exits(0);
    stack.rehome("env --write").exits(0).says("COMPOSE_FILE=");
    assert_eq!(stack.read(".env"), format!("# mine\nOTHER=1\n{kept}"));
    assert_eq!(stack.rehome("env --json").exits(0).json()["current"], true);
    stack.compose("up -d");
    assert_eq!(stack.mounted("app", "/data"), home);
}

#[test]
fn compose_hands_everything_on_and_guards_the_data() {
    let stack = small_up();
    let run = stack.rehome("compose -- ps --services").exits(0);
    assert_eq!(run.out.lines().count(), 3, "{}", run.out);
    for line in ["down -v", "rm -sfv app", "up -d -V"] {
        stack
            .rehome(&format!("compose -- {line}"))
            .exits(3)
            .says(&format!(
                "docker compose {}",
                line.replace(" -d", "").replace(" app", "")
            ))
            .says("--allow-data-loss");
    }
    assert_eq!(stack.running(), ["app", "side", "web"]);
    // The exit code is that of the program inside; its stdout is nothing but its own.
    let run = stack.rehome("compose -- exec -T app false").exits(1);
    assert_eq!(run.out, "");
    let run = Run::of(
        stack
            .command("compose -- exec -T app sh -c", &[])
            .arg("echo out; echo err >&2; exit 42")
            .output()
            .expect("rehome runs"),
    )
    .exits(42);
    assert_eq!(run.out, "out\n");
    assert!(run.err.contains("err"), "{}", run.err);
    // With a terminal the program has one too, and hears what is typed.
    let typed = sh(&format!(
        "cd {} && printf 'echo typed $((40 + 2)); exit 7\\n' | script -qec '{} --state-dir {} compose -- exec app sh -c \"tty; exec sh\"; echo code $?' /dev/null",
        stack.dir.display(),
        env!("CARGO_BIN_EXE_rehome"),
        stack.state.display()
    ));
    assert!(
        typed.contains("/dev/pts/") && typed.contains("typed 42"),
        "{typed}"
    );
    assert!(typed.contains("code 7"), "{typed}");

    stack.rehome("compose --allow-data-loss -- down -v").exits(0);
    assert_eq!(volumes(&stack), "");
}

#[test]
fn a_dry_run_and_an_unanswered_question_change_nothing() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.compose("stop app");
    let look = |stack: &Stack| {
        (
            files(stack),
            volumes(stack),
            ids(stack),
            stack.shape(),
            tree(&stack.volume_dir("data")),
            sh(&format!("ls -A {}", block.path())),
        )
    };
    let before = look(&stack);
    let to = format!("move --to {}", block.path());
    let plan = stack.rehome(&format!("{to} --dry-run")).exits(0).out;
    for words in [
        "What happens",
        "Down for about",
        "web",
        "If anything fails",
        "side_volume",
    ] {
        assert!(plan.contains(words), "{words:?} is not in\n{plan}");
    }
    let json = stack.rehome(&format!("{to} --dry-run --json")).exits(0).json();
    assert_eq!(json["facts"]["volumes"][0]["key"], "data");
    assert!(json["steps"].as_array().expect("steps").len() > 4, "{json}");
    stack
        .rehome(&to)
        .exits(3)
        .says("no terminal to ask on")
        .says("-y");
    let refused = stack.rehome(&format!("{to} --json")).exits(3);
    let last = refused.events().pop().expect("events");
    assert_eq!(
        (&last["event"], &last["outcome"]),
        (&"finished".into(), &"refused".into())
    );
    // A person who says no.
    let answer = sh(&format!(
        "cd {} && printf 'n\\n' | script -qec '{} --state-dir {} {to}; echo code $?' /dev/null",
        stack.dir.display(),
        env!("CARGO_BIN_EXE_rehome"),
        stack.state.display()
    ));
    assert!(
        answer.contains("Do this? [y/N]") && answer.contains("code 3"),
        "{answer}"
    );
    assert_eq!(look(&stack), before);
    assert_eq!(
        stack.rehome("history --json").exits(0).json(),
        serde_json::json!([])
    );
    stack.assert_tidy();
}

#[test]
fn history_show_and_the_way_back_through_rollback() {
    let block = Block::ext4(100);
    let stack = small_up();
    for command in ["resume", "rollback", "resume --dry-run"] {
        stack.rehome(command).exits(3).says("no run of this project");
    }
    stack.rehome("show abcdef").exits(2).says("rehome history");
    let text = stack.rehome("history").exits(0).out;
    assert!(text.contains("no runs"), "{text}");

    let run = stack
        .rehome(&format!("move --to {} -y --json", block.path()))
        .exits(0);
    let events = run.events();
    let last = events.last().expect("events");
    assert_eq!(
        (&last["event"], &last["outcome"], &last["exit"]),
        (&"finished".into(), &"done".into(), &0.into())
    );
    assert_eq!(events.iter().filter(|e| e["event"] == "finished").count(), 1);
    let id = last["run"].as_str().expect("a run").to_owned();
    let history = stack.rehome("history --json").exits(0).json();
    assert_eq!(
        (&history[0]["run"], &history[0]["outcome"]),
        (&id.clone().into(), &"done".into())
    );
    assert!(history[0]["downtime_millis"].as_u64().expect("it was down") > 0);
    let text = stack.rehome("history").exits(0).out;
    assert!(text.contains(&id) && text.contains("done"), "{text}");
    let shown = stack.rehome(&format!("show {id} --json")).exits(0).json();
    assert_eq!(shown["outcome"], "done");
    assert!(
        shown["command"]
            .as_str()
            .expect("what was typed")
            .contains("move --to")
    );
    assert!(
        shown["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .all(|s| s["status"] == "applied"),
        "{shown}"
    );
    let text = stack.rehome(&format!("show {id}")).exits(0).out;
    assert!(
        text.contains("outcome  done") && text.contains("BLAKE3"),
        "{text}"
    );

    stack.rehome("resume").exits(3).says("no run of this project");
    stack
        .rehome(&format!("resume {id}"))
        .exits(3)
        .says("nothing to take up");
    // Going back: what was written since is said and comes along.
    stack.exec("app", "sh -c 'echo new > /data/since'");
    let before = (ids(&stack), files(&stack));
    stack
        .rehome("rollback")
        .exits(3)
        .says("Since then")
        .says("no terminal to ask on");
    let dry = stack.rehome("rollback --dry-run").exits(0);
    assert!(
        dry.err.contains("data: ") && dry.err.contains("added"),
        "{}",
        dry.err
    );
    assert_eq!((ids(&stack), files(&stack)), before);
    stack
        .rehome("rollback -y")
        .exits(0)
        .says("added")
        .says("1 volume");
    assert!(!stack.mounted("app", "/data").contains("_block_"));
    assert_eq!(stack.exec("app", "cat /data/since"), "new");
    assert_eq!(stack.running(), ["app", "side", "web"]);
    // Once more there is nothing that could go back.
    stack.rehome(&format!("rollback {id} -y")).exits(3);
    stack.assert_tidy();
}

#[test]
fn volumes_are_chosen_mapped_and_given_owners() {
    let block = Block::ext4(100);
    let stack = small_up();
    std::fs::remove_file(stack.dir.join("rehome.yml")).expect("it was there");
    let to = format!("move --to {} -y", block.path());
    for (arguments, words) in [
        ("--map data=../x", ".."),
        ("--map data=/x", "/x"),
        ("--owner data=nobody", "nobody"),
        ("--stop-timeout soon", "soon"),
        ("--bandwidth 0", "never end"),
    ] {
        stack.rehome(&format!("{to} {arguments}")).exits(2).says(words);
    }
    stack.rehome("move --to volume -y").exits(2).says("volumes");
    stack
        .rehome(&format!("{to} --map data=x,side_volume=x/y"))
        .exits(3)
        .says("would meet");
    stack
        .rehome("move --to volumes -y")
        .exits(3)
        .says("none lives on a block volume");

    stack
        .rehome(&format!(
            "{to} --only data --map data=deep/er --owner data=1000:1001 --offline --no-hooks"
        ))
        .exits(0);
    assert_eq!(
        sh(&format!("stat -c %u:%g {}/deep/er/a/big", block.path())),
        "1000:1001"
    );
    assert!(!stack.mounted("side", "/side").contains("_block_"));
    // The rest, in a second run: the override keeps both.
    let plan = stack.rehome(&format!("{to} --dry-run")).exits(0).out;
    assert!(
        plan.contains("lives in") && plan.contains("deep/er already"),
        "{plan}"
    );
    stack.rehome(&format!("{to} --exclude data")).exits(0);
    assert!(stack.mounted("side", "/side").contains("_side_volume_block_"));
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    assert_eq!(stack.exec("side", "cat /side/file"), "side");
    assert!(block.root.join("side/file").exists());
    stack.compose("up -d");
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    stack.rehome("move --to volumes -y --only side_volume").exits(0);
    assert!(!stack.mounted("side", "/side").contains("_block_"));
    assert!(stack.mounted("app", "/data").contains("_data_block_"));
    stack.assert_tidy();
}

#[test]
fn without_data_starts_empty_and_keeps_the_old_volume() {
    let block = Block::ext4(100);
    let stack = small_up();
    stack.compose("stop app");
    let source = tree(&stack.volume_dir("data"));
    stack.compose("start app");
    wait_for("app to be healthy", || {
        sh(&format!(
            "docker inspect -f '{{{{.State.Health.Status}}}}' {}-app-1",
            stack.name
        )) == "healthy"
    });
    let run = stack
        .rehome(&format!("move --to {} -y --without-data data", block.path()))
        .exits(0);
    assert!(
        run.err.contains("STARTS EMPTY") && run.err.contains("stays whole"),
        "{}",
        run.err
    );
    assert!(stack.mounted("app", "/data").contains("_block_"));
    assert_eq!(sh(&format!("ls {}/data", block.path())), "log");
    let old = tree(&stack.volume_dir("data"));
    let files = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|l| !l.contains("./log"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        files(&old).len(),
        files(&source).len(),
        "the old volume lost something"
    );
    stack.assert_tidy();
}

#[test]
fn a_downtime_that_would_be_too_long_is_given_up_with_the_stack_up() {
    let block = Block::ext4(100);
    let stack = small_up();
    let before = stack.shape();
    let run = stack
        .rehome(&format!(
            "move --to {} -y --offline --max-downtime 1ms",
            block.path()
        ))
        .exits(10);
    assert!(run.err.contains("--max-downtime"), "{}", run.err);
    assert_eq!(stack.shape(), before);
    assert_eq!(stack.running(), ["app", "side", "web"]);
    assert!(!stack.read(".env").contains("COMPOSE_FILE"));
    stack.assert_tidy();
}

#[test]
fn every_command_explains_itself_without_an_engine() {
    let rehome = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_rehome"))
            .args(arguments)
            .env("DOCKER_HOST", "unix:///nonexistent.sock")
            .output()
            .expect("rehome runs");
        Run::of(output)
    };
    let top = rehome(&["--help"]).exits(0).out;
    let commands: Vec<&str> = top
        .lines()
        .skip_while(|l| !l.starts_with("Commands:"))
        .skip(1)
        .take_while(|l| !l.trim().is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    for wanted in [
        "init",
        "status",
        "override",
        "env",
        "move",
        "resume",
        "rollback",
        "history",
        "show",
        "config",
        "compose",
        "completions",
        "man",
    ] {
        assert!(commands.contains(&wanted), "{wanted} is not in {commands:?}");
    }
    for command in &commands {
        for flag in ["--help", "-h"] {
            let help = rehome(&[command, flag]).exits(0);
            assert!(help.out.contains("Usage: rehome"), "{command}: {}", help.out);
            assert_eq!(help.err, "");
        }
    }
    for command in ["show", "schema"] {
        rehome(&["config", command, "--help"]).exits(0);
    }
    assert!(!top.contains("helper"), "{top}");
    assert!(rehome(&["--version"]).exits(0).out.starts_with("rehome "));
    rehome(&["config", "schema"]).exits(0);
    assert!(rehome(&["man"]).exits(0).out.contains(".TH rehome"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            rehome(&["completions", shell]).exits(0).out.contains("rollback"),
            "{shell}"
        );
    }
    rehome(&["mvoe"]).exits(2).says("move");
}

//! Every override through the real Compose: base and override together resolve to the base with exactly the wanted
//! difference. What is expected is made from Compose's own answer for the base, by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rehome::compose::override_file::Destination;
use rehome::compose::{Located, Override, Project, Style, compose_file_with};
use rehome::model::{Kind, VolumeKey};
use serde_json::{Value, json};

use crate::support::Lab;

const FIXTURES: [&str; 6] = ["everything", "twice", "ten", "targets", "names", "reset"];
/// What a path may hold that YAML, Compose or a shell could misread.
const ODD: &str = "/mnt/it's a \"disk\": ${X} $$ #1 é";

fn key(name: &str) -> VolumeKey {
    VolumeKey::new(name).unwrap()
}

fn to(
    project: &Project,
    root: &str,
    keys: impl IntoIterator<Item = VolumeKey>,
) -> BTreeMap<VolumeKey, Destination> {
    assert!(!project.volumes.is_empty());
    keys.into_iter()
        .map(|key| {
            (
                key.clone(),
                Destination::Directory(PathBuf::from(format!("{root}/{key}"))),
            )
        })
        .collect()
}

/// The keys that the style can move, each tried alone.
fn movable(project: &Project, style: Style, root: &str) -> Vec<VolumeKey> {
    let alone =
        |key: &&VolumeKey| Override::build(project, style, 1, &to(project, root, [(*key).clone()])).is_ok();
    project.volumes.keys().filter(alone).cloned().collect()
}

/// The model with every service, by hand, with these files.
fn model(lab: &Lab, located: &Located) -> Value {
    let mut args: Vec<&str> = vec![
        "--profile",
        "*",
        "--project-directory",
        located.directory.to_str().unwrap(),
    ];
    for file in &located.files {
        args.extend(["-f", file.to_str().unwrap()]);
    }
    lab.by_hand(&lab.root(), &args)
}

fn with_override(lab: &Lab, located: &Located, made: &Override) -> Located {
    let path = lab.root().join("rehome.override.yml");
    made.write(&path).unwrap();
    let mut files = located.files.clone();
    files.push(path);
    located.clone().with_files(files)
}

#[tokio::test]
async fn trap_40_style_volume_changes_the_definitions_and_nothing_else() {
    for fixture in FIXTURES {
        let lab = Lab::fixture(fixture);
        let located = lab.located();
        let project = lab.project().await;
        let keys = movable(&project, Style::Volume, ODD);
        let made =
            Override::build(&project, Style::Volume, 0x5f3a, &to(&project, ODD, keys.clone())).unwrap();
        let moved = with_override(&lab, &located, &made);

        let mut expected = model(&lab, &located);
        for key in &keys {
            // An unused volume is not part of what Compose prints, with or without the override.
            let Some(volume) = expected["volumes"].get_mut(key.as_str()) else {
                continue;
            };
            let labels = volume.get("labels").cloned();
            *volume = json!({
                "name": format!("{}_{key}_block_5f3a", project.name),
                "driver": "local",
                // `config` doubles dollars in what it prints.
                "driver_opts": { "type": "none", "o": "bind", "device": format!("{ODD}/{key}").replace('$', "$$") },
            });
            if let Some(labels) = labels {
                volume["labels"] = labels;
            }
        }
        assert_eq!(model(&lab, &moved), expected, "{fixture}");
        assert!(
            keys.len() > usize::from(fixture == "everything"),
            "{fixture}: {keys:?}"
        );
        assert_eq!(
            made.deviations(&lab.project_of(&moved).await),
            Vec::<String>::new(),
            "{fixture}"
        );
        assert!(!made.deviations(&project).is_empty(), "{fixture}");
    }
}

#[tokio::test]
async fn trap_39_style_bind_replaces_each_mount_in_its_spelling_and_keeps_the_rest() {
    for fixture in FIXTURES {
        let lab = Lab::fixture(fixture);
        let located = lab.located();
        let project = lab.project().await;
        let keys = movable(&project, Style::Bind, ODD);
        let made = Override::build(&project, Style::Bind, 0x5f3a, &to(&project, ODD, keys.clone())).unwrap();
        let moved = with_override(&lab, &located, &made);

        let mut expected = model(&lab, &located);
        for service in expected["services"].as_object_mut().unwrap().values_mut() {
            for mount in service["volumes"].as_array_mut().into_iter().flatten() {
                let Some(key) = keys
                    .iter()
                    .find(|key| mount["type"] == "volume" && mount["source"] == key.as_str())
                else {
                    continue;
                };
                let mut source = format!("{ODD}/{key}").replace('$', "$$");
                if let Some(subpath) = mount["volume"]["subpath"].as_str() {
                    source = format!("{source}/{subpath}");
                }
                let mut bound =
                    json!({ "type": "bind", "source": source, "target": mount["target"], "bind": {} });
                for (at, name) in [("/read_only", "read_only"), ("/bind/selinux", "selinux")] {
                    match (mount.pointer(at).cloned(), name) {
                        (Some(value), "selinux") => bound["bind"]["selinux"] = value,
                        (Some(value), name) => bound[name] = value,
                        (None, _) => {}
                    }
                }
                *mount = bound;
            }
        }
        // The definitions are unused now, and what is unused is not printed.
        for key in &keys {
            expected["volumes"].as_object_mut().unwrap().remove(key.as_str());
        }
        if expected["volumes"].as_object().unwrap().is_empty() {
            expected.as_object_mut().unwrap().remove("volumes");
        }
        // Compose shows extensions, and does nothing with them.
        let homes = keys
            .iter()
            .map(|key| (key.to_string(), format!("{ODD}/{key}").replace('$', "$$").into()));
        expected["x-rehome"] = Value::Object(homes.collect());
        assert_eq!(sorted(model(&lab, &moved)), sorted(expected), "{fixture}");
        assert_eq!(
            made.deviations(&lab.project_of(&moved).await),
            Vec::<String>::new(),
            "{fixture}"
        );
        assert!(!made.deviations(&project).is_empty(), "{fixture}");
    }
}

/// Replaced mounts may change their place in the list.
fn sorted(mut model: Value) -> Value {
    for service in model["services"].as_object_mut().unwrap().values_mut() {
        if let Some(mounts) = service["volumes"].as_array_mut() {
            mounts.sort_by_key(|mount| mount["target"].to_string());
        }
    }
    model
}

#[tokio::test]
async fn the_way_back_to_docker_is_a_new_volume_with_the_labels_it_had() {
    let lab = Lab::fixture("twice");
    let located = lab.located();
    let project = lab.project().await;
    let there = Override::build(
        &project,
        Style::Volume,
        0x0001,
        &to(&project, "/mnt/d", [key("static")]),
    )
    .unwrap();
    let moved = with_override(&lab, &located, &there);
    let project = lab.project_of(&moved).await;
    let wanted = BTreeMap::from([(key("static"), Destination::Docker)]);
    let back = Override::build(&project, Style::Volume, 0x0002, &wanted)
        .unwrap()
        .over(&there);
    let resolved = model(&lab, &with_override(&lab, &located, &back));
    let expected = json!({
        "name": "lab_static_volume_0002", "driver": "local",
        // Keys are not interpolated, so the base file's `a$$b` is just that; and `config` doubles dollars again.
        "labels": { "a$$$$b": "c$$d", "plain": "yes", "with space": "it's \"x\": #y" },
    });
    assert_eq!(resolved["volumes"]["static"], expected);
}

#[tokio::test]
async fn an_override_that_was_written_is_read_back_and_found_to_be_edited_or_foreign() {
    for fixture in FIXTURES {
        let lab = Lab::fixture(fixture);
        let project = lab.project().await;
        for style in [Style::Volume, Style::Bind] {
            let keys = movable(&project, style, ODD);
            let made = Override::build(&project, style, 0xabcd, &to(&project, ODD, keys)).unwrap();
            let path = lab.root().join("o.yml");
            made.write(&path).unwrap();
            let found = Override::read(&path, &project.name).unwrap().unwrap();
            assert_eq!(
                (found.content, found.edited),
                (made, false),
                "{fixture} {style:?}"
            );
        }
    }
}

/// What a refusal says, one line each.
fn words(failure: &rehome::model::Failure) -> String {
    assert_eq!(failure.kind, Kind::Refused);
    let mut lines = vec![failure.what.clone()];
    lines.extend(failure.causes.iter().map(|cause| format!("because {cause}")));
    lines.extend(failure.hints.iter().map(|hint| format!("hint: {hint}")));
    lines.join("\n")
}

#[tokio::test]
async fn what_cannot_be_expressed_is_refused_in_words() {
    let lab = Lab::with(
        r#"
name: shop
services:
  a:
    image: x
    volumes: ["v:/v", "/anonymous", "data:/data", "both:/both", "ext:/ext", "named:/n"]
    tmpfs: [/both/]
volumes:
  v:
  data:
  both:
  unused:
  ext: { external: true, name: theirs }
  named: { name: one }
  twin: { name: one }
  nfs: { driver_opts: { type: nfs, o: "addr=10.0.0.1,password=hunter2", device: ":/x" } }
  ram: { driver_opts: { type: tmpfs, o: "size=1g", device: tmpfs } }
  plug: { driver: rexray }
"#,
    );
    let project = lab.project().await;
    let mut said = Vec::new();
    let mut refuse = |style: Style, name: &str, destination: Destination| {
        let failure =
            Override::build(&project, style, 1, &BTreeMap::from([(key(name), destination)])).unwrap_err();
        said.push(words(&failure));
    };
    let there = || Destination::Directory("/mnt/d/x".into());
    for name in [
        "dta",
        "nothing-like-it",
        "v",
        "ext",
        "nfs",
        "ram",
        "plug",
        "named",
    ] {
        refuse(Style::Volume, name, there());
    }
    refuse(Style::Bind, "unused", there());
    refuse(Style::Bind, "both", there());
    refuse(Style::Bind, "data", Destination::Docker);
    for path in ["relative", "/", "/mnt/../etc", "/mnt/a\nb"] {
        refuse(Style::Volume, "data", Destination::Directory(path.into()));
    }
    let shared = BTreeMap::from([
        (key("data"), Destination::Directory("/mnt/d".into())),
        (key("both"), Destination::Directory("/mnt/d/both".into())),
    ]);
    said.push(words(
        &Override::build(&project, Style::Volume, 1, &shared).unwrap_err(),
    ));
    let said = said.join("\n\n");
    assert!(!said.contains("hunter2"));
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn trap_39_a_target_that_stands_twice_is_refused() {
    let lab = Lab::with(
        "services: {a: {image: x, volumes: ['data:/x', {type: volume, source: other, target: /x/}]}}\nvolumes: {data: , other: }\n",
    );
    // Newer versions of Compose refuse it themselves, older ones hand it to the engine.
    let loaded = rehome::compose::project::load(&lab.compose().await, &lab.located()).await;
    match loaded {
        Err(failure) => assert!(failure.causes[0].contains("already mounted"), "{failure:?}"),
        Ok(project) => {
            let wanted = to(&project, "/mnt/d", [key("data")]);
            let failure = Override::build(&project, Style::Bind, 1, &wanted).unwrap_err();
            assert_eq!(
                failure.causes,
                ["it is written /x and /x/; Compose and the engine do not agree on what that means"]
            );
        }
    }
}

#[tokio::test]
async fn the_overrides_of_the_fixtures_look_as_in_the_design() {
    let mut shown = Vec::new();
    for (fixture, style, name) in [
        ("everything", Style::Volume, "pg"),
        ("twice", Style::Volume, "static"),
        ("names", Style::Volume, "null"),
        ("ten", Style::Bind, "shared"),
        ("targets", Style::Bind, "data"),
        ("twice", Style::Bind, "media"),
        ("names", Style::Bind, "ext"),
    ] {
        let project = Lab::fixture(fixture).project().await;
        let made = Override::build(
            &project,
            style,
            0x5f3a,
            &to(&project, "/mnt/kms-data", [key(name)]),
        )
        .unwrap();
        shown.push(made.render());
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn with_compose_file_set_a_compose_by_hand_finds_the_override() {
    for (dotenv, files) in [
        (None, "compose.yaml:compose.override.yaml:rehome.override.yml"),
        (
            Some("COMPOSE_FILE=./compose.yaml\n"),
            "./compose.yaml:rehome.override.yml",
        ),
        (
            Some("COMPOSE_PATH_SEPARATOR=;\nCOMPOSE_FILE=rehome.override.yml;compose.yaml\n"),
            "compose.yaml;rehome.override.yml",
        ),
    ] {
        let lab = Lab::fixture("reset");
        lab.write("rehome.override.yml", "volumes: {kept: {name: elsewhere}}\n");
        if let Some(dotenv) = dotenv {
            lab.write(".env", dotenv);
        }
        let located = lab.located();
        let value = compose_file_with(&located, &lab.root().join("rehome.override.yml")).unwrap();
        assert_eq!(value, files);

        let mut edited = rehome::compose::Dotenv::read(&located.dotenv).unwrap();
        edited.set("COMPOSE_FILE", &value).unwrap();
        edited.write(&located.dotenv).unwrap();
        assert_eq!(
            lab.by_hand(&lab.root(), &[])["volumes"]["kept"]["name"],
            "elsewhere"
        );
        assert_eq!(
            compose_file_with(&lab.located(), &lab.root().join("rehome.override.yml")).unwrap(),
            files
        );
    }
    let lab = Lab::with("services: {a: {image: x}}\n");
    let error = compose_file_with(&lab.located(), Path::new("/mnt/a:b.yml")).unwrap_err();
    assert_eq!(
        error.what,
        "/mnt/a:b.yml cannot be listed in COMPOSE_FILE: it holds \":\""
    );
}

//! A project is found where `docker compose` finds it, and Compose resolves the same from what is found.

use std::path::PathBuf;

use rehome::compose::{FoundBy, Wanted, locate};
use rehome::model::Kind;

use crate::support::Lab;

const PLAIN: &str = "services: {a: {image: x, labels: {v: '${V-unset}'}}}\n";

#[tokio::test]
async fn the_default_files_are_found_from_a_sub_directory_with_the_same_name_and_values() {
    let lab = Lab::with(PLAIN);
    // Compose takes an override with the other spelling as well.
    lab.write("docker-compose.override.yml", "services: {b: {image: y}}\n");
    lab.write(".env", "V=root\n");
    let sub = lab.root().join("src/deep");
    std::fs::create_dir_all(&sub).unwrap();

    let located = locate(&Wanted {
        cwd: sub.clone(),
        ..lab.wanted()
    })
    .unwrap();

    assert_eq!(located.found_by, FoundBy::Default);
    assert_eq!(located.directory, lab.root());
    assert_eq!(located.written, ["compose.yaml", "docker-compose.override.yml"]);
    let project = lab.project_of(&located).await;
    let oracle = lab.by_hand(&sub, &[]);
    assert_eq!(oracle["name"], project.name.as_str());
    assert_eq!(
        oracle["services"].as_object().unwrap().len(),
        project.services.len()
    );
    assert_eq!(oracle["services"]["a"]["labels"]["v"], "root");
    assert_eq!(
        project.services.values().next().unwrap().labels["v"].reveal(),
        "root"
    );
}

#[tokio::test]
async fn trap_29_compose_file_in_the_projects_dotenv_counts_from_a_sub_directory() {
    let lab = Lab::with(PLAIN);
    lab.write("block.yaml", "services: {b: {image: y}}\n");
    lab.write(
        ".env",
        "# files\nCOMPOSE_FILE=compose.yaml:block.yaml\nCOMPOSE_PROJECT_NAME=named\n",
    );
    let sub = lab.root().join("src");
    std::fs::create_dir(&sub).unwrap();

    let located = locate(&Wanted {
        cwd: sub.clone(),
        ..lab.wanted()
    })
    .unwrap();

    assert_eq!(located.found_by, FoundBy::Dotenv);
    assert_eq!(
        located.files,
        [lab.root().join("compose.yaml"), lab.root().join("block.yaml")]
    );
    assert_eq!(located.dotenv, lab.root().join(".env"));
    assert_eq!(located.project_name.as_ref().unwrap().as_str(), "named");
    let project = lab.project_of(&located).await;
    assert_eq!(project.services.len(), 2);
    // The trap is real: from there, by hand, Compose drops the second file without a word, or finds none (2.26).
    let by_hand = lab.try_by_hand(&sub, &[]);
    let services = by_hand.map(|model| model["services"].as_object().unwrap().len());
    assert!(
        services
            .as_ref()
            .map_or_else(|words| words.contains("no such file"), |count| *count == 1),
        "{services:?}"
    );
    assert_eq!(
        lab.by_hand(&lab.root(), &[])["services"]
            .as_object()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn flags_win_over_the_environment_and_that_over_the_dotenv() {
    let lab = Lab::with(PLAIN);
    for name in ["flag", "env", "dot"] {
        lab.write(
            &format!("{name}.yaml"),
            &format!("name: {name}\nservices: {{a: {{image: x}}}}\n"),
        );
    }
    lab.write(".env", "COMPOSE_FILE=dot.yaml\n");
    let mut wanted = lab.wanted();
    assert_eq!(
        lab.project_of(&locate(&wanted).unwrap()).await.name.as_str(),
        "dot"
    );
    wanted
        .env
        .insert("COMPOSE_FILE".to_owned(), "env.yaml".to_owned());
    let located = locate(&wanted).unwrap();
    assert_eq!(located.found_by, FoundBy::Environment);
    assert_eq!(lab.project_of(&located).await.name.as_str(), "env");
    wanted.files = vec![PathBuf::from("flag.yaml")];
    let located = locate(&wanted).unwrap();
    assert_eq!(located.found_by, FoundBy::Flags);
    assert_eq!(lab.project_of(&located).await.name.as_str(), "flag");
}

#[tokio::test]
async fn a_dotenv_beside_and_one_in_the_project_directory_both_count_as_by_hand() {
    let lab = Lab::new();
    lab.write(
        "deploy/compose.yaml",
        "services: {a: {image: x, labels: {v: '${V-}', w: '${W-}'}}}\n",
    );
    lab.write(".env", "COMPOSE_FILE=deploy/compose.yaml\nV=outer\n");
    lab.write("deploy/.env", "V=inner\nW=inner\n");

    let located = lab.located();

    assert_eq!(located.directory, lab.root().join("deploy"));
    let labels = &lab
        .project_of(&located)
        .await
        .services
        .into_values()
        .next()
        .unwrap()
        .labels;
    let oracle = lab.by_hand(&lab.root(), &[]);
    for name in ["v", "w"] {
        assert_eq!(
            oracle["services"]["a"]["labels"][name],
            labels[name].reveal(),
            "{name}"
        );
    }
    assert_eq!((labels["v"].reveal(), labels["w"].reveal()), ("outer", "inner"));
}

#[tokio::test]
async fn env_files_profiles_and_separator_are_taken_from_where_compose_takes_them() {
    let lab = Lab::new();
    lab.write(
        "a.yaml",
        "services: {a: {image: x, labels: {v: '${V}'}}, p: {image: x, profiles: [extra]}}\n",
    );
    lab.write("b.yaml", "services: {b: {image: y}}\n");
    lab.write(
        "one.env",
        "V=one\nCOMPOSE_FILE=a.yaml;b.yaml\nCOMPOSE_PATH_SEPARATOR=;\nCOMPOSE_PROFILES=extra, other\n",
    );
    lab.write("two.env", "V=two\n");
    let mut wanted = lab.wanted();
    wanted
        .env
        .insert("COMPOSE_ENV_FILES".to_owned(), "one.env,two.env".to_owned());

    let located = locate(&wanted).unwrap();

    assert_eq!(located.separator, ";");
    assert_eq!(located.profiles, ["extra", "other"]);
    let project = lab.project_of(&located).await;
    let service = |name: &str| {
        project
            .services
            .values()
            .find(|s| s.name.as_str() == name)
            .unwrap()
    };
    assert_eq!(service("a").labels["v"].reveal(), "two");
    assert!(service("p").active);
    assert_eq!(project.services.len(), 3);
}

#[test]
fn trap_04_the_name_of_a_linked_directory_stays_that_of_the_link() {
    let lab = Lab::with(PLAIN);
    let link = lab.root().with_file_name("current");
    std::os::unix::fs::symlink(lab.root(), &link).unwrap();
    let mut wanted = lab.wanted();
    wanted.env.insert("PWD".to_owned(), link.display().to_string());
    assert_eq!(locate(&wanted).unwrap().directory, link);
    wanted.env.insert("PWD".to_owned(), "/tmp".to_owned());
    assert_eq!(locate(&wanted).unwrap().directory, lab.root());
}

#[test]
fn what_cannot_be_found_is_said_in_words() {
    let lab = Lab::new();
    let error = locate(&lab.wanted()).unwrap_err();
    assert_eq!(error.kind, Kind::Environment);
    assert!(error.what.starts_with("no Compose file in "), "{error:?}");
    // One by another name is pointed out, and what it takes.
    lab.write("docker-compose.prod.yml", PLAIN);
    let error = locate(&lab.wanted()).unwrap_err();
    assert_eq!(
        error.causes.last().map(String::as_str),
        Some("in it is docker-compose.prod.yml, which Compose does not look for")
    );
    lab.write(".env", "COMPOSE_FILE=docker-compose.prod.yml\n");
    assert!(error.hints[0].starts_with("write COMPOSE_FILE=docker-compose.prod.yml into .env"));
    assert_eq!(
        locate(&lab.wanted()).unwrap().files,
        [lab.root().join("docker-compose.prod.yml")]
    );

    let with = |files: &[&str]| Wanted {
        files: files.iter().map(PathBuf::from).collect(),
        ..lab.wanted()
    };
    let error = locate(&with(&["-"])).unwrap_err();
    assert_eq!(
        (error.kind, error.what.as_str()),
        (Kind::Usage, "a Compose file on standard input cannot be used")
    );
    let error = locate(&with(&["missing.yaml"])).unwrap_err();
    assert_eq!(error.kind, Kind::Usage);
    assert!(error.what.ends_with("lab/missing.yaml"), "{error:?}");
    let error = locate(&with(&["oci://registry/app"])).unwrap_err();
    assert!(error.what.ends_with("is not a file of this machine"), "{error:?}");

    lab.write("compose.yaml", PLAIN);
    lab.write(".env", "COMPOSE_FILE=gone.yaml\n");
    let error = locate(&lab.wanted()).unwrap_err();
    assert_eq!(
        (error.kind, error.causes[0].as_str()),
        (Kind::Environment, "it is named by COMPOSE_FILE in .env")
    );

    let mut wanted = with(&["compose.yaml"]);
    wanted.project_name = Some("Not Valid".to_owned());
    assert_eq!(locate(&wanted).unwrap_err().hints, ["it comes from -p"]);
    wanted.project_name = None;
    wanted.env_files = vec![PathBuf::from("nope.env")];
    assert_eq!(locate(&wanted).unwrap_err().kind, Kind::Usage);
}

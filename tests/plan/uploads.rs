//! The switch of uploads to a bucket and back: what is done in which order, and what is refused.

use rehome::model::Failure;
use rehome::observe::Framework;
use rehome::observe::deploy::DeploySeen;
use rehome::plan::uploads::{Direction, SwitchPlan, SwitchWanted, render, switch_plan};
use rehome::s3::{About, SetupWanted};
use rehome::steps::uploads::{Media, Storing, UploadsStep};

use super::deploy;
use super::support::{Describe, key, service_mut, service_name, told, volume_name};

/// The whole stack, in which `api` and `celery` read the switch, and `nginx` does not.
fn seen() -> DeploySeen {
    deploy::seen()
}

fn wanted(direction: Direction) -> SwitchWanted {
    let about = About {
        acl: Some("private".to_owned()),
        ..About::default()
    };
    let value = match direction {
        Direction::ToBucket => "1",
        Direction::ToVolume => "0",
    };
    SwitchWanted {
        direction,
        media: Media {
            key: key("media_volume"),
            name: volume_name("kms-connect_media_volume"),
            bucket: "kms-media".to_owned(),
            prefix: "media/".parse().unwrap(),
            about: about.clone(),
            jobs: 0,
            bandwidth: 0,
        },
        setup: SetupWanted {
            versioning: true,
            encryption: true,
            cors: Vec::new(),
            about,
            dry_run: false,
        },
        dotenv: "/srv/kms/.env".into(),
        values: [("USE_S3".to_owned(), value.to_owned())].into(),
        is_set: false,
        readers: ["api", "celery"].map(service_name).to_vec(),
        deploy: deploy::wanted(),
    }
}

fn plan(seen: &DeploySeen, wanted: &SwitchWanted) -> SwitchPlan {
    switch_plan(seen, wanted).unwrap()
}

fn refused(seen: &DeploySeen, wanted: &SwitchWanted) -> Failure {
    switch_plan(seen, wanted).unwrap_err()
}

/// What stands between the first step and the last, in one word each, with whom it is about.
fn outline(plan: &SwitchPlan) -> Vec<String> {
    let services = |swap: &rehome::steps::deploy::Swap| {
        let names: Vec<&str> = swap.services.iter().map(|one| one.service.as_str()).collect();
        names.join("+")
    };
    plan.steps
        .iter()
        .map(|step| match step {
            UploadsStep::SetUp(_) => "set up".to_owned(),
            UploadsStep::Send(send) => format!("send{}", if send.rest { " the rest" } else { "" }),
            UploadsStep::Bring(bring) => format!("bring{}", if bring.rest { " the rest" } else { "" }),
            UploadsStep::SetVariables(set) => format!("set {:?}", set.values),
            UploadsStep::Swap(swap) => format!("replace {}", services(swap)),
            UploadsStep::HasVariables(_) => "look for the variables".to_owned(),
            UploadsStep::AskApp(ask) => format!("ask {}", ask.service),
            UploadsStep::Compare(compare) => format!("compare, to bucket: {}", compare.to_bucket),
            UploadsStep::StayUp(_) => "stay up".to_owned(),
            UploadsStep::Check(_) => "check".to_owned(),
            UploadsStep::SameData(_) => "same data".to_owned(),
        })
        .collect()
}

fn outdated(seen: &mut DeploySeen, name: &str) {
    for container in &mut service_mut(&mut seen.world, name).containers {
        container.outdated = true;
    }
}

#[test]
fn to_the_bucket_and_back() {
    insta::assert_snapshot!(
        "to_the_bucket",
        render(&plan(&seen(), &wanted(Direction::ToBucket)))
    );
    insta::assert_snapshot!(
        "back_to_the_volume",
        render(&plan(&seen(), &wanted(Direction::ToVolume)))
    );
}

#[test]
fn nothing_is_switched_before_the_files_are_there_and_the_rest_follows_the_last_service() {
    let there = outline(&plan(&seen(), &wanted(Direction::ToBucket)));
    assert_eq!(
        there[..10],
        [
            "set up",
            "send",
            "set {\"USE_S3\": \"1\"}",
            "replace api",
            "replace celery",
            "look for the variables",
            "ask api",
            "ask celery",
            "send the rest",
            "compare, to bucket: true",
        ]
    );
    let back = outline(&plan(&seen(), &wanted(Direction::ToVolume)));
    assert_eq!(
        back[..9],
        [
            "bring",
            "set {\"USE_S3\": \"0\"}",
            "replace api",
            "replace celery",
            "look for the variables",
            "ask api",
            "ask celery",
            "bring the rest",
            "compare, to bucket: false",
        ]
    );
    assert!(
        there.contains(&"stay up".to_owned()) && there.contains(&"same data".to_owned()),
        "{there:?}"
    );
}

#[test]
fn the_application_is_asked_for_the_bucket_there_and_for_files_back() {
    let storing = |direction| {
        let plan = plan(&seen(), &wanted(direction));
        let asked = plan.steps.into_iter().find_map(|step| match step {
            UploadsStep::AskApp(ask) => Some(ask.storing),
            _ => None,
        });
        asked.unwrap()
    };
    let bucket = Storing::Bucket {
        name: "kms-media".to_owned(),
        location: "media".to_owned(),
    };
    assert_eq!(storing(Direction::ToBucket), bucket);
    assert_eq!(storing(Direction::ToVolume), Storing::Files);
}

#[test]
fn a_service_of_two_replicas_is_one_step_that_has_both() {
    let of_api = |replicas: usize| {
        let mut seen = seen();
        let api = service_mut(&mut seen.world, "api");
        let (image, frameworks) = (
            api.containers[0].image.clone(),
            api.containers[0].frameworks.clone(),
        );
        let state = api.containers[0].state;
        *api = api.clone().scaled(replicas).in_state(state);
        for container in &mut api.containers {
            container.image = image.clone();
            container.frameworks.clone_from(&frameworks);
        }
        seen.services.get_mut(&service_name("api")).unwrap().replicas = replicas;
        let plan = plan(&seen, &wanted(Direction::ToBucket));
        let swap = plan.steps.iter().find_map(|step| match step {
            UploadsStep::Swap(swap) if swap.services[0].service.as_str() == "api" => Some(swap.clone()),
            _ => None,
        });
        (render(&plan), swap.unwrap())
    };
    let (one, (two, swap)) = (of_api(1).0, of_api(2));
    // What was so when the plan was made says nothing: the variables change it.
    assert!(swap.definitions.is_empty() && swap.services.len() == 1);
    insta::assert_snapshot!("one_replica", one);
    insta::assert_snapshot!("two_replicas", two);
}

#[test]
fn without_django_nobody_is_asked_and_that_is_said() {
    let mut seen = seen();
    for name in ["api", "celery"] {
        for container in &mut service_mut(&mut seen.world, name).containers {
            container.frameworks = Vec::<Framework>::new();
        }
    }
    let plan = plan(&seen, &wanted(Direction::ToBucket));
    assert!(!outline(&plan).iter().any(|step| step.starts_with("ask")));
    insta::assert_snapshot!("no_django", render(&plan));
}

#[test]
fn a_reader_that_does_not_run_is_left_alone() {
    let mut seen = seen();
    for container in &mut service_mut(&mut seen.world, "celery").containers {
        container.state = rehome::engine::State::Exited(0);
    }
    let plan = plan(&seen, &wanted(Direction::ToBucket));
    let names: Vec<&str> = plan.facts.services.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["api"]);
    assert!(!plan.facts.were_up.contains(&service_name("celery")));
}

#[test]
fn what_was_switched_half_is_finished() {
    // .env says so already, and a service still runs without it.
    let mut seen = seen();
    outdated(&mut seen, "celery");
    let mut wanted = wanted(Direction::ToBucket);
    wanted.is_set = true;
    assert!(outline(&plan(&seen, &wanted)).contains(&"replace celery".to_owned()));
}

#[test]
fn it_refuses_in_words() {
    for (direction, name) in [
        (Direction::ToBucket, "already_in_the_bucket"),
        (Direction::ToVolume, "already_in_the_volume"),
    ] {
        let mut wanted = wanted(direction);
        wanted.is_set = true;
        insta::assert_snapshot!(name, told(&refused(&seen(), &wanted)));
    }
    let mut changed = seen();
    outdated(&mut changed, "celery");
    insta::assert_snapshot!(
        "an_outdated_service",
        told(&refused(&changed, &wanted(Direction::ToBucket)))
    );
    // One that does not read the switch may be so.
    let mut other = seen();
    outdated(&mut other, "nginx");
    assert!(switch_plan(&other, &wanted(Direction::ToBucket)).is_ok());

    let mut nobody = wanted(Direction::ToBucket);
    nobody.readers.clear();
    insta::assert_snapshot!("nobody_reads_it", told(&refused(&seen(), &nobody)));
}

//! Persistent storage of a site on and off: what is done in which order, and what is refused.

use rehome::compose::{SiteMount, SiteOverride};
use rehome::engine::{MountKind, State};
use rehome::model::{Owner, ProjectName, SiteName};
use rehome::observe::deploy::DeploySeen;
use rehome::plan::site::{StoragePlan, StorageWanted, render, storage_plan};
use rehome::site::place::Place;
use rehome::site::{MadeOf, Site, Storage};
use rehome::steps::deploy::{ComposeFile, DataMount};
use rehome::steps::sites::SiteStep;

use super::deploy;
use super::support::{service_mut, service_name, told};

const DATA: &str = "/var/deploy/data/shop";

pub fn there(owner: &str, empty: bool) -> Place {
    Place::There {
        owner: owner.parse().unwrap(),
        mode: 0o750,
        empty,
    }
}

/// The site is service `nginx` of the whole stack.
pub fn wanted(on: bool) -> StorageWanted {
    let project = ProjectName::new("kms-connect").unwrap();
    let mount = SiteMount {
        site: SiteName::new("shop").unwrap(),
        source: DATA.into(),
    };
    let value = "docker-compose.prod.yml:docker-compose.prod.site.yml";
    StorageWanted {
        site: Site {
            name: SiteName::new("shop").unwrap(),
            made_of: MadeOf::Project,
            directory: Some("/srv/kms".into()),
            service: Some(service_name("nginx")),
            persistent_storage: if on { Storage::Off } else { Storage::On },
            data: (!on).then(|| DATA.into()),
            made: "2026-11-22T20:00:00Z".parse().unwrap(),
        },
        service: service_name("nginx"),
        on,
        root: "/var/deploy/data".into(),
        place: Place::Missing,
        meant: None,
        owner: Owner { uid: 1000, gid: 1000 },
        other_data: None,
        other_dir: false,
        data_inside: false,
        override_path: "/srv/kms/docker-compose.prod.site.yml".into(),
        content: SiteOverride::empty(project).with(&service_name("nginx"), (!on).then_some(mount)),
        compose_file: Some(ComposeFile {
            dotenv: "/srv/kms/.env".into(),
            value: on.then(|| value.to_owned()),
        }),
        database: "/var/lib/rehome/sites.db".into(),
        deploy: deploy::wanted(),
    }
}

fn plan(seen: &DeploySeen, wanted: &StorageWanted) -> StoragePlan {
    storage_plan(seen, wanted).unwrap()
}

pub fn outline(plan: &StoragePlan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|step| match step {
            SiteStep::MakeData(_) => "make",
            SiteStep::WriteOverride(_) => "override",
            SiteStep::ComposeFile(_) => "COMPOSE_FILE",
            SiteStep::Swap(_) => "replace",
            SiteStep::HasData(_) => "look",
            SiteStep::StayUp(_) => "stay up",
            SiteStep::Check(_) => "check",
            SiteStep::SameData(_) => "same data",
            SiteStep::Remember(_) => "remember",
            SiteStep::MakeHomes(_) => "make the new place",
            SiteStep::PreCopy(_) => "copy",
            SiteStep::Stop(_) => "stop",
            SiteStep::Delta(_) => "copy the rest",
            SiteStep::Verify(_) => "compare",
            SiteStep::Tidy(_) => "tidy",
        })
        .collect()
}

fn refused(seen: &DeploySeen, wanted: &StorageWanted) -> String {
    told(&storage_plan(seen, wanted).unwrap_err())
}

#[test]
fn on_and_off() {
    let seen = deploy::seen();
    let on = plan(&seen, &wanted(true));
    insta::assert_snapshot!("on", render(&on));
    assert_eq!(
        outline(&on),
        [
            "make",
            "override",
            "COMPOSE_FILE",
            "replace",
            "look",
            "stay up",
            "same data",
            "remember"
        ]
    );
    let off = plan(&seen, &wanted(false));
    insta::assert_snapshot!("off", render(&off));
    // Nothing points at a file that is gone.
    assert_eq!(
        outline(&off),
        [
            "COMPOSE_FILE",
            "override",
            "replace",
            "look",
            "stay up",
            "same data",
            "remember"
        ]
    );
}

#[test]
fn the_service_alone_is_replaced_and_never_rolled() {
    let mut wanted = wanted(true);
    wanted.deploy.rolling = Some(std::time::Duration::from_secs(1));
    wanted.deploy.only = vec![service_name("api")];
    let plan = plan(&deploy::seen(), &wanted);
    let swap = plan.steps.iter().find_map(|step| match step {
        SiteStep::Swap(swap) => Some(swap.clone()),
        _ => None,
    });
    let swap = swap.unwrap();
    assert_eq!(swap.services.len(), 1);
    assert_eq!(
        (swap.services[0].service.as_str(), swap.alone),
        ("nginx", Some(std::time::Duration::ZERO))
    );
    assert!(swap.definitions.is_empty(), "the override changes it");
}

#[test]
fn on_the_way_off_the_directory_is_not_asked_for_afterwards() {
    let mut seen = deploy::seen();
    let mount = |service: &str| DataMount {
        service: service_name(service),
        target: "/data".to_owned(),
        kind: MountKind::Bind(DATA.to_owned()),
        home: None,
    };
    seen.mounts.extend([mount("nginx"), mount("api")]);
    let plan = plan(&seen, &wanted(false));
    let same = plan.steps.iter().find_map(|step| match step {
        SiteStep::SameData(same) => Some(same.mounts.clone()),
        _ => None,
    });
    let services: Vec<String> = same
        .unwrap()
        .iter()
        .map(|mount| mount.service.to_string())
        .collect();
    assert_eq!(services, ["db", "api"]);
}

#[test]
fn what_does_not_run_is_not_started() {
    let mut seen = deploy::seen();
    service_mut(&mut seen.world, "nginx").containers.clear();
    for on in [true, false] {
        let plan = plan(&seen, &wanted(on));
        assert!(!outline(&plan).contains(&"replace"), "{:?}", outline(&plan));
        if on {
            insta::assert_snapshot!("not_started", render(&plan));
        }
    }
    for container in &mut service_mut(&mut seen.world, "api").containers {
        container.state = State::Exited(0);
    }
    let mut of_api = wanted(true);
    of_api.service = service_name("api");
    insta::assert_snapshot!("stopped", refused(&seen, &of_api));
}

#[test]
fn what_was_lost_is_only_written_down() {
    // The database of sites is another: the override is in effect.
    let mut on = wanted(true);
    on.content = wanted(false).content;
    on.place = there("1000:1000", false);
    assert_eq!(outline(&plan(&deploy::seen(), &on)), ["make", "remember"]);
    // Somebody took the override out and deployed that.
    let mut off = wanted(false);
    off.content = wanted(true).content;
    assert_eq!(outline(&plan(&deploy::seen(), &off)), ["remember"]);
}

#[test]
fn what_a_careful_person_should_know_is_said() {
    let mut careful = wanted(true);
    careful.other_dir = true;
    careful.data_inside = true;
    careful.owner = Owner { uid: 0, gid: 0 };
    insta::assert_snapshot!("warnings", render(&plan(&deploy::seen(), &careful)));
    let mut full = wanted(true);
    full.place = there("1000:1000", false);
    insta::assert_snapshot!("there_with_data", render(&plan(&deploy::seen(), &full)));
    // Root writes everywhere.
    full.owner = Owner { uid: 0, gid: 0 };
    assert!(storage_plan(&deploy::seen(), &full).is_ok());
}

#[test]
fn it_refuses_in_words() {
    let seen = deploy::seen();
    for on in [true, false] {
        let mut again = wanted(on);
        again.content = wanted(!on).content;
        again.site.persistent_storage = wanted(!on).site.persistent_storage;
        let name = if on { "on_already" } else { "off_already" };
        insta::assert_snapshot!(name, refused(&seen, &again));
    }
    let mut database = wanted(true);
    database.service = service_name("db");
    insta::assert_snapshot!("a_database", refused(&seen, &database));

    let mut missing = wanted(true);
    missing.service = service_name("ngnix");
    insta::assert_snapshot!("no_such_service", refused(&seen, &missing));

    let mut changed = deploy::seen();
    service_mut(&mut changed.world, "nginx").containers[0].outdated = true;
    insta::assert_snapshot!("outdated", refused(&changed, &wanted(true)));

    let mut two = deploy::seen();
    two.services.get_mut(&service_name("nginx")).unwrap().replicas = 2;
    insta::assert_snapshot!("two_containers", refused(&two, &wanted(true)));
    // On the way off nobody writes there any more.
    assert!(storage_plan(&two, &wanted(false)).is_ok());

    let mut hidden = wanted(true);
    hidden.other_data = Some("volume uploads".to_owned());
    insta::assert_snapshot!("other_data", refused(&seen, &hidden));

    let mut elsewhere = wanted(true);
    elsewhere.site.data = Some("/mnt/old data/shop".into());
    insta::assert_snapshot!("elsewhere", refused(&seen, &elsewhere));

    let mut theirs = wanted(true);
    theirs.place = there("33:33", false);
    insta::assert_snapshot!("another_owner", refused(&seen, &theirs));

    let mut another = wanted(false);
    let mount = SiteMount {
        site: SiteName::new("other").unwrap(),
        source: "/var/deploy/data/other".into(),
    };
    another.content = another.content.with(&service_name("nginx"), Some(mount));
    insta::assert_snapshot!("another_site", refused(&seen, &another));
}

//! Which volumes move, and where to.

use rehome::model::{Home, config::default_subdir};
use rehome::plan::{Wanted, move_plan};
use rehome::steps::Target;

use crate::support::*;

fn moved(wanted: &Wanted) -> Vec<String> {
    let plan = plan(&kms(), wanted).unwrap();
    volumes_of(&plan).iter().map(|v| v.key.to_string()).collect()
}

#[test]
fn all_that_live_in_dockers_directory_unless_told() {
    assert_eq!(
        moved(&wanted()),
        ["media_volume", "postgres_data", "redis_data", "static_volume"]
    );
    assert_eq!(moved(&only(&["redis_data", "redis_data"])), ["redis_data"]);
    let mut some = wanted();
    some.exclude.insert(key("media_volume"), "rehome.yml".to_owned());
    assert_eq!(moved(&some), ["postgres_data", "redis_data", "static_volume"]);
}

#[test]
fn a_volume_that_is_asked_for_by_name_moves_though_the_configuration_excludes_it() {
    let mut wanted = only(&["media_volume"]);
    wanted
        .exclude
        .insert(key("media_volume"), "rehome.yml".to_owned());
    assert_eq!(moved(&wanted), ["media_volume"]);
}

#[test]
fn what_cannot_move_stays_and_says_why() {
    let mut world = kms();
    volume_mut(&mut world, "media_volume").external = true;
    volume_mut(&mut world, "static_volume").home = Home::Block {
        dir: "/mnt/kms-data/static".into(),
    };
    volume_mut(&mut world, "redis_data").home = Home::Other {
        what: "an NFS share".to_owned(),
    };
    let plan = plan(&world, &wanted()).unwrap();
    let staying: Vec<_> = plan
        .facts
        .staying
        .iter()
        .map(|(key, why)| format!("{key}: {why}"))
        .collect();
    assert_eq!(
        staying,
        [
            "media_volume: external: it does not belong to this project",
            "redis_data: cannot be moved: an NFS share",
            "static_volume: lives in /mnt/kms-data/static already",
        ]
    );
}

#[test]
fn back_go_only_those_that_live_on_a_block_volume() {
    let mut world = kms_on_block();
    volume_mut(&mut world, "redis_data").home = Home::Volume;
    let plan = plan(&world, &back()).unwrap();
    let keys: Vec<_> = volumes_of(&plan).iter().map(|v| v.key.as_str()).collect();
    assert_eq!(keys, ["media_volume", "postgres_data", "static_volume"]);
    assert_eq!(
        plan.facts.staying,
        [(
            key("redis_data"),
            "lives in Docker's own directory already".to_owned()
        )]
    );
}

#[test]
fn trap_02_the_new_volume_never_has_the_name_of_the_old() {
    for volume in volumes_of(&plan(&kms(), &wanted()).unwrap()) {
        let name = format!("kms-connect_{}_block_{SUFFIX}", volume.key);
        assert_eq!(volume.target.volume_name().as_str(), name);
        assert_ne!(*volume.target.volume_name(), volume.source);
    }
    // On the way back the old volume is whole, and is not written over.
    for volume in volumes_of(&plan(&kms_on_block(), &back()).unwrap()) {
        let name = format!("kms-connect_{}_{SUFFIX}", volume.key);
        assert_eq!(
            volume.target,
            Target::Volume {
                name: volume_name(&name)
            }
        );
    }
}

#[test]
fn back_goes_to_the_name_that_the_compose_files_give() {
    let mut world = kms_on_block();
    world.engine_volumes.retain(|n| n.as_str().contains("_block_"));
    let mut names = base_names(&world);
    names.insert(key("redis_data"), volume_name("cache-of-2019"));
    names.remove(&key("static_volume"));
    let wanted = back();
    let plan = move_plan(&world, &wanted, &names, |volumes| {
        Ok(rehome::steps::Switch {
            override_path: wanted.switch.override_path.clone(),
            content: rehome::compose::Override::empty(world.project.clone()),
            dotenv: wanted.switch.dotenv.clone(),
            compose_file: None,
            volumes: volumes.len(),
        })
    })
    .unwrap();
    let names: Vec<_> = volumes_of(&plan)
        .iter()
        .map(|v| v.target.volume_name().as_str())
        .collect();
    assert_eq!(
        names,
        [
            "kms-connect_media_volume",
            "kms-connect_postgres_data",
            "cache-of-2019",
            "kms-connect_static_volume",
        ]
    );
}

#[test]
fn a_directory_is_named_after_its_volume_without_what_says_that_it_is_one() {
    for (volume, directory) in [
        ("postgres_data", "postgres"),
        ("media_volume", "media"),
        ("redis-data", "redis"),
        ("uploads-volume", "uploads"),
        ("mail_vol", "mail"),
        ("data", "data"),
        ("_data", "_data"),
        ("files", "files"),
        ("data_volume_2", "data_volume_2"),
    ] {
        assert_eq!(default_subdir(&key(volume)), directory, "{volume}");
    }
}

#[test]
fn trap_22_owners_change_only_where_it_is_said() {
    let mut wanted = wanted();
    let owner = "1000:1000".parse().unwrap();
    wanted.owners.insert(key("media_volume"), owner);
    let plan = plan(&kms(), &wanted).unwrap();
    let owners: Vec<_> = volumes_of(&plan).iter().map(|v| v.owner).collect();
    assert_eq!(owners, [Some(owner), None, None, None]);
}

#[test]
fn what_starts_empty_is_made_and_not_copied() {
    let mut wanted = only(&["media_volume", "redis_data"]);
    wanted.without_data = vec![key("media_volume")];
    let plan = plan(&kms(), &wanted).unwrap();
    let made: Vec<_> = volumes_of(&plan)
        .iter()
        .map(|v| (v.key.as_str(), v.fresh, v.bytes))
        .collect();
    assert_eq!(made, [("media_volume", true, 0), ("redis_data", false, 2 * MB)]);
    for step in &plan.steps {
        use rehome::steps::MoveStep::{Delta, PreCopy, Verify};
        let (PreCopy(rehome::steps::PreCopy { volumes, .. })
        | Delta(rehome::steps::Delta { volumes, .. })
        | Verify(rehome::steps::Verify { volumes, .. })) = step
        else {
            continue;
        };
        let copied: Vec<_> = volumes.iter().map(|v| v.key.as_str()).collect();
        assert_eq!(copied, ["redis_data"]);
    }
}

#[test]
fn the_steps_depend_on_what_runs_and_what_is_asked() {
    let all = [
        "make homes",
        "pre-copy",
        "stop",
        "delta",
        "verify",
        "switch",
        "start",
        "prove",
        "tidy",
    ];
    let without = |left_out: &[&str]| {
        all.iter()
            .filter(|k| !left_out.contains(k))
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&plan(&kms(), &wanted()).unwrap()), all);
    let mut offline = wanted();
    offline.offline = true;
    assert_eq!(kinds(&plan(&kms(), &offline).unwrap()), without(&["pre-copy"]));
    let mut stopped = kms();
    stopped.services.iter_mut().for_each(|s| s.containers.clear());
    assert_eq!(kinds(&plan(&stopped, &wanted()).unwrap()), without(&["pre-copy"]));
    let mut fresh = only(&["redis_data"]);
    fresh.without_data = vec![key("redis_data")];
    assert_eq!(
        kinds(&plan(&kms(), &fresh).unwrap()),
        without(&["pre-copy", "delta", "verify"])
    );
}

#[test]
fn the_same_world_and_wish_give_the_same_plan() {
    let json = |plan| serde_json::to_string(&plan).unwrap();
    let plans = || json(plan(&kms(), &wanted()).unwrap());
    assert_eq!(plans(), plans());
    // And it comes back out of the journal as it went in.
    let read: rehome::plan::MovePlan = serde_json::from_str(&plans()).unwrap();
    assert_eq!(json(read), plans());
}

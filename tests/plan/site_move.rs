//! The data of a site gets another root: what is done in which order, and what is refused.

use rehome::model::Home;
use rehome::model::SiteName;
use rehome::observe::{SiteSeen, VolumeMount, VolumeSeen, World};
use rehome::plan::site::{StoragePlan, render};
use rehome::plan::site_move::{SiteMoveWanted, site_move_plan};
use rehome::site::place::Place;
use rehome::site::{SiteDir, Storage};
use rehome::steps::Copying;
use rehome::steps::sites::SiteStep;

use super::deploy;
use super::site::{outline, there, wanted as switch};
use super::support::*;

const FROM: &str = "/var/deploy/data/shop";

fn shop() -> SiteName {
    SiteName::new("shop").unwrap()
}

/// Looked at with the site's directory as a volume, and the new root.
fn world() -> World {
    let mut world = deploy::seen().world;
    world.destination = Some(destination());
    world.volumes.push(VolumeSeen {
        key: shop().key(),
        name: shop().volume_name(),
        home: Home::Block { dir: FROM.into() },
        site: Some(SiteSeen {
            of: SiteDir {
                name: shop(),
                dir: FROM.into(),
            },
            root_there: true,
            meant: None,
        }),
        ..volume("site.shop", 12 * MB, 3)
    });
    world
}

fn wanted() -> SiteMoveWanted {
    let off = switch(false);
    SiteMoveWanted {
        site: off.site,
        service: off.service,
        from: FROM.into(),
        root: "/mnt/kms-data/sites".into(),
        configured: "/mnt/kms-data/sites".into(),
        place: Place::Missing,
        owner: off.owner,
        offline: false,
        copying: Copying::default(),
        override_path: off.override_path,
        content: off.content,
        database: off.database,
        deploy: off.deploy,
    }
}

fn plan(world: &World, wanted: &SiteMoveWanted) -> StoragePlan {
    site_move_plan(&deploy::seen(), world, wanted).unwrap()
}

fn refused(world: &World, wanted: &SiteMoveWanted) -> String {
    told(&site_move_plan(&deploy::seen(), world, wanted).unwrap_err())
}

#[test]
fn what_happens_and_in_which_order() {
    let moved = plan(&world(), &wanted());
    insta::assert_snapshot!("moved", render(&moved));
    let steps = [
        "make the new place",
        "copy",
        "stop",
        "copy the rest",
        "compare",
        "override",
        "replace",
        "look",
        "stay up",
        "same data",
        "remember",
        "tidy",
    ];
    assert_eq!(outline(&moved), steps);
    let offline = SiteMoveWanted {
        offline: true,
        ..wanted()
    };
    let without: Vec<_> = steps.into_iter().filter(|step| *step != "copy").collect();
    assert_eq!(outline(&plan(&world(), &offline)), without);
    // What the new container wrote is kept on the way back.
    let swap = moved.steps.iter().find_map(|step| match step {
        SiteStep::Swap(swap) => Some(swap),
        _ => None,
    });
    assert_eq!(swap.unwrap().fresh.len(), 1);
}

#[test]
fn of_a_site_that_is_off_the_data_alone_moves() {
    let mut wanted = wanted();
    wanted.site.persistent_storage = Storage::Off;
    wanted.content = switch(true).content;
    let steps = outline(&plan(&world(), &wanted));
    assert_eq!(
        steps,
        [
            "make the new place",
            "stop",
            "copy the rest",
            "compare",
            "remember",
            "tidy"
        ]
    );
}

#[test]
fn what_would_lose_or_hide_data_is_refused() {
    let with = |change: &dyn Fn(&mut SiteMoveWanted)| {
        let mut wanted = wanted();
        change(&mut wanted);
        refused(&world(), &wanted)
    };
    let in_world = |change: &dyn Fn(&mut World)| {
        let mut world = world();
        change(&mut world);
        refused(&world, &wanted())
    };
    for (told, says) in [
        (
            with(&|w| w.root = "/var/deploy/data".into()),
            "is in /var/deploy/data already",
        ),
        (
            with(&|w| w.root = "/var/deploy/data/shop".into()),
            "lie within each other",
        ),
        (
            with(&|w| w.place = there("1000:1000", false)),
            "is there, and not empty",
        ),
        (
            with(&|w| w.site.persistent_storage = Storage::Off),
            "is not what is known of it",
        ),
        (
            in_world(&|w| w.volumes.last_mut().unwrap().exists = false),
            "is not there",
        ),
        (
            in_world(&|w| w.destination.as_mut().unwrap().probe.bytes_free = MB),
            "is too small",
        ),
        (
            in_world(&|w| w.destination.as_mut().unwrap().probe.read_only = true),
            "is read-only",
        ),
        (
            in_world(&|w| {
                service_mut(w, "api").mounts.push(VolumeMount {
                    volume: shop().key(),
                    target: "/data".to_owned(),
                    read_only: false,
                    subpath: None,
                });
            }),
            "service `api` has /var/deploy/data/shop as well",
        ),
    ] {
        assert!(told.contains(says), "{says}: {told}");
        assert!(told.contains("nothing was changed"), "{told}");
    }
    // An empty directory hides nothing.
    let mut empty = wanted();
    empty.place = there("0:0", true);
    plan(&world(), &empty);
}

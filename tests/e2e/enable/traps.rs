//! The traps of the guides by which people switch by hand.

use std::sync::atomic::AtomicUsize;

use super::site::{REPLICAS, Side, Site};
use super::{Obcms, under_load};
use crate::support::sh;

fn ids(site: &Site) -> [String; 2] {
    REPLICAS.map(|replica| {
        sh(&format!(
            "docker inspect -f '{{{{.Id}}}}' {}-{replica}-1",
            site.stack.name
        ))
    })
}

#[test]
fn trap_32_a_switch_makes_the_services_anew_and_looks_into_them() {
    let site = Site::up();
    let stack = &site.stack;
    // By hand: the variable, and a restart, which does not read it.
    let on = site.dotenv.replace("USE_S3=0\n", "USE_S3=1\n");
    std::fs::write(stack.dir.join(".env"), &on).expect("written");
    stack.compose("restart web1 web2");
    assert_eq!(site.switch(), ["0", "0"], "the trap itself");
    site.while_uploading(|| ());
    let before = ids(&site);
    let run = stack.rehome("s3 enable -y").exits(0);
    assert!(
        run.err.contains("web1, web2 have USE_S3=1 (inspected)"),
        "{}",
        run.err
    );
    let after = ids(&site);
    assert!(
        before[0] != after[0] && before[1] != after[1],
        "{before:?} {after:?}"
    );
    site.is_on(Side::Bucket, "what was uploaded before is there as well");
}

#[test]
fn trap_32_a_service_with_a_value_of_its_own_is_found_and_the_switch_goes_back() {
    let site = Site::reading("env_file: [.env]\n    environment: { USE_S3: \"0\" }");
    let before = ids(&site);
    site.under_load(|| {
        site.stack
            .rehome("s3 enable -y")
            .exits(10)
            .says("`web1` does not follow USE_S3 of .env");
    });
    assert_eq!(ids(&site), before, "nobody was made anew for nothing");
    site.is_on(
        Side::Volume,
        "it would have been called done, with every upload in the volume",
    );
}

#[test]
fn trap_33_what_the_application_finds_in_place_is_not_taken_for_uploaded() {
    let obcms = Obcms::up();
    let stack = &obcms.stack;
    let all = under_load(&obcms, &AtomicUsize::new(0), || ());
    stack.rehome("s3 setup").exits(0);
    // As the guide has it: through the storage of the application, which is the local disk while USE_S3=0.
    std::fs::write(
        stack.dir.join("guide.py"),
        "import pathlib\nfrom django.conf import settings\nfrom django.core.files.storage import default_storage\n\
         root = pathlib.Path(settings.MEDIA_ROOT)\n\
         names = [str(p.relative_to(root)) for p in root.rglob('*') if p.is_file()]\n\
         sent = [n for n in names if not default_storage.exists(n)]\n\
         print(len(names) > 0, len(sent))\n",
    )
    .expect("written");
    let said = stack.compose("exec -T web1 python3 manage.py shell < guide.py");
    assert!(said.contains("True 0"), "the trap itself: {said}");

    // The bucket itself is asked, before and after the switch by hand.
    let missing = |json: &serde_json::Value| json["missing"]["count"].as_u64().expect("a count");
    let compared = stack.rehome("s3 verify --json").exits(3).json();
    assert!(missing(&compared) >= all.len() as u64, "{compared}");
    let text = stack.read(".env").replace("\nUSE_S3=0\n", "\nUSE_S3=1\n");
    std::fs::write(stack.dir.join(".env"), text).expect("written");
    stack.compose("up -d --wait");
    stack
        .rehome("s3 enable -y")
        .exits(3)
        .says("the services store in the bucket already")
        .says("rehome s3 verify");
    stack.rehome("s3 verify").exits(3);
    stack.rehome("s3 sync").exits(0);
    stack.rehome("s3 verify --read").exits(0);
    obcms.has(&all);
}

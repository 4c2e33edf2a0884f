//! Start order, circles, and which mount is below which.

use super::super::raw;
use super::*;

fn project(services: &str) -> Project {
    raw::project(&format!(r#"{{"name":"p","services":{services}}}"#)).unwrap()
}

fn set(names: &[&str]) -> BTreeSet<ServiceName> {
    names
        .iter()
        .map(|name| ServiceName::new(*name).unwrap())
        .collect()
}

fn order(project: &Project, names: &[&str]) -> Vec<String> {
    project
        .start_order(&set(names))
        .unwrap()
        .into_iter()
        .map(String::from)
        .collect()
}

#[test]
fn the_order_holds_over_services_outside_of_the_set() {
    let project = project(
        r#"{"a":{"depends_on":{"m":{"condition":"service_started"}}},
            "m":{"links":["z:alias"]}, "z":{}, "b":{}, "c":{"depends_on":{"gone":{"required":false}}}}"#,
    );
    assert_eq!(order(&project, &["a", "z"]), ["z", "a"]);
    assert_eq!(
        order(&project, &["a", "b", "c", "m", "z"]),
        ["b", "c", "z", "m", "a"]
    );
    assert_eq!(project.dependents_of(&set(&["z"])), set(&["a", "m"]));
    assert_eq!(project.with_dependents(&set(&["b"])), set(&["b"]));
}

#[test]
fn a_circle_is_refused_and_named() {
    let project = project(
        r#"{"a":{"volumes_from":["b"]},"b":{"network_mode":"service:c"},"c":{"links":["b"]},"d":{}}"#,
    );
    let failure = project.start_order(&set(&["d"])).unwrap_err();
    assert_eq!(failure.causes, ["b -> c -> b"]);
    assert_eq!(project.with_dependents(&set(&["c"])), set(&["a", "b", "c"]));
}

#[test]
fn a_mount_is_below_another_by_whole_names() {
    assert!(is_below("/data/x", "/data"));
    assert!(is_below("/data", "/"));
    for (inner, outer) in [
        ("/data", "/data"),
        ("/data2", "/data"),
        ("/data", "/data/x"),
        ("/", "/"),
    ] {
        assert!(!is_below(inner, outer), "{inner} {outer}");
    }
}

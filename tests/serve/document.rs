//! The OpenAPI document and the server say the same.

use serde_json::Value;

use super::support::Server;

pub fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(include_str!("../../templates/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| (method.to_ascii_uppercase(), path.clone()))
    });
    let all: Vec<_> = all.collect();
    assert!(all.len() > 15, "{all:?}");
    all
}

/// A path with a name in it that can be one.
pub fn filled(path: &str) -> String {
    path.replace("{id}", if path.contains("/runs/") { "7k2f9q" } else { "blog" })
}

#[test]
fn what_is_documented_is_there_and_nothing_else() {
    let server = Server::start();
    let served = server.with(&server.operate, &[], "/api/openapi.json").is(200);
    let text = include_str!("../../templates/openapi.json");
    assert_eq!(served.json(), serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(served.json()["openapi"], "3.1.0");
    let all = operations();
    for (_, path) in &all {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = server.with(&server.operate, &["-X", method], &filled(path));
            let documented = all.contains(&(method.to_owned(), path.clone()));
            // Without a body or an engine it may be refused, but not for not being there.
            assert_eq!(
                answer.status != 405,
                documented,
                "{method} {path}: {}",
                answer.body
            );
            assert!(!answer.body.contains("there is nothing here"), "{method} {path}");
        }
    }
    // The reverse: what the router has is in the document.
    let source = include_str!("../../src/web/api/mod.rs");
    let source: String = source.split_whitespace().collect();
    let routes: Vec<_> = source
        .match_indices(".route(\"")
        .map(|(at, found)| source[at + found.len()..].split('"').next().unwrap())
        .collect();
    assert!(routes.len() > 10, "{routes:?}");
    for route in routes {
        assert!(
            all.iter().any(|(_, path)| path == route),
            "{route} is in no document"
        );
    }
}

#[test]
fn unknown_query_keys_and_fields_are_refused() {
    let server = Server::start();
    for (method, path) in operations() {
        let path = format!("{}?surprise=1", filled(&path));
        let body = ["-X", &method, "-H", "Content-Type: application/json", "-d", "{}"];
        let arguments: &[&str] = if method == "GET" { &[] } else { &body };
        let answer = server.with(&server.operate, arguments, &path);
        assert_eq!(answer.status, 400, "{method} {path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    for (method, path, body) in [
        (
            "POST",
            "/api/sites",
            r#"{"name":"blog","image":"x","port":{"host":1,"container":1},"surprise":1}"#,
        ),
        (
            "POST",
            "/api/sites",
            r#"{"name":"blog","image":"x","port":{"host":1,"container":1,"surprise":1}}"#,
        ),
        ("POST", "/api/sites", r#"{"name":"blog"}"#),
        ("POST", "/api/sites", r#"{"name":"../x","project":"/srv"}"#),
        ("POST", "/api/sites", r#"{"name":"blog","project":"relative"}"#),
        (
            "POST",
            "/api/sites",
            r#"{"name":"blog","image":"-x","port":{"host":1,"container":1}}"#,
        ),
        ("POST", "/api/sites", "[]"),
        ("POST", "/api/sites", "{"),
        ("POST", "/api/sites", ""),
    ] {
        let answer = server.json(&server.operate, method, path, body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    }
    let form = server
        .with(&server.operate, &["-d", "name=blog"], "/api/sites")
        .is(415);
    assert_eq!(form.json()["status"], 415);
    let files = server.files();
    assert!(files.is_empty(), "{files:?}");
}

#[test]
fn a_site_is_added_shown_and_forgotten_and_its_changes_are_in_the_audit() {
    let server = Server::start();
    let body = r#"{"name":"wiki","image":"wiki:2","port":{"host":8080,"container":3000},"health":"/ok"}"#;
    let dry = body.replace("{\"name", "{\"dry_run\":true,\"name");
    server.json(&server.operate, "POST", "/api/sites", &dry).is(200);
    server.with(&server.operate, &[], "/api/sites/wiki").is(404);
    let added = server.json(&server.operate, "POST", "/api/sites", body).is(201);
    assert_eq!(added.header("location"), Some("/api/sites/wiki"));
    server.json(&server.operate, "POST", "/api/sites", body).is(409);
    let shown = server.with(&server.read, &[], "/api/sites/wiki").is(200).json();
    assert_eq!(shown["port"]["container"], 3000);
    let all = server.with(&server.read, &[], "/api/sites").is(200).json();
    assert_eq!(all[0]["name"], "wiki");
    // The command line sees the same.
    let listed = server.rehome(&["site", "list", "--json"], "");
    let mut listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    listed[0]["measured_at"] = Value::Null;
    assert_eq!(listed, all);

    // The engine is not there: said, and nothing half done.
    let before = server.files();
    let on = r#"{"persistent_storage":true}"#;
    let gone = server
        .json(&server.operate, "PATCH", "/api/sites/wiki", on)
        .is(503);
    assert_eq!(gone.json()["type"], "urn:rehome:environment");
    assert_eq!(gone.json()["data"], "nothing was changed");
    server
        .with(&server.operate, &["-X", "DELETE"], "/api/sites/wiki")
        .is(503);
    server.with(&server.operate, &[], "/api/projects").is(503);
    assert_eq!(server.files(), before);
    server
        .json(&server.operate, "PATCH", "/api/sites/none", on)
        .is(404);
    assert_eq!(
        server.with(&server.read, &[], "/api/runs").is(200).json(),
        serde_json::json!([])
    );

    let audit = server.with(&server.operate, &[], "/api/audit").is(200).json();
    let lines: Vec<String> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!(
                "{} {} {} {}",
                line["who"].as_str().unwrap(),
                line["what"].as_str().unwrap(),
                line["on"].as_str().unwrap(),
                &line["outcome"].as_str().unwrap()[..3]
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "token ops PATCH /api/sites/none 404",
            "token ops DELETE /api/sites/wiki 503",
            // The run that was refused before it began says so itself.
            "token ops PATCH /api/sites/wiki ref",
            "token ops POST /api/sites 409",
            "token ops POST /api/sites 201",
            "token ops POST /api/sites 200",
        ]
    );
    server.with(&server.read, &[], "/api/audit").is(403);
    let metrics = server.with(&server.read, &[], "/metrics").is(200);
    assert!(metrics.body.contains("\nrehome_sites 1\n"), "{}", metrics.body);
}

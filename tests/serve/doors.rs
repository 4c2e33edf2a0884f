//! Nothing is reachable without a login, and what is sent from elsewhere does nothing.

use super::document::{filled, operations};
use super::support::Server;

const ADD: &str = r#"{"name":"blog","image":"x","port":{"host":18080,"container":80}}"#;

#[test]
fn without_a_login_there_is_nothing_but_the_login() {
    let server = Server::start();
    server.json(&server.operate, "POST", "/api/sites", ADD).is(201);
    let mut bodies = std::collections::BTreeSet::new();
    let headers: [&[&str]; 5] = [
        &[],
        &["-H", "Authorization: Bearer rh_wrong"],
        &["-H", "Authorization: Basic YWRhOmFkYQ=="],
        &["-H", "Cookie: rehome=stolen"],
        &["-H", "Authorization: Bearer "],
    ];
    for (method, path) in operations() {
        for header in headers {
            let answer = server
                .curl(&[&["-X", &method], header].concat(), &filled(&path))
                .is(401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"rehome\""));
            bodies.insert(answer.body);
        }
    }
    // A site that is there, one that is not, and what can be none are answered alike.
    for path in [
        "/api/sites/blog",
        "/api/sites/other",
        "/api/nothing",
        "/api/sites/..%2f",
        "/api",
    ] {
        bodies.insert(server.curl(&[], path).is(401).body);
        bodies.insert(server.json("rh_wrong", "PATCH", path, "{}").is(401).body);
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    for page in ["/", "/sites", "/sites/blog", "/login/", "/nothing"] {
        let answer = server.curl(&[], page).is(303);
        // It says no more than where one wanted to go.
        let next = match page {
            "/" => "/login".to_owned(),
            page => format!("/login?next={}", page.replace('/', "%2F")),
        };
        assert_eq!(answer.header("location"), Some(next.as_str()));
        assert_eq!(answer.body, "");
    }
    let login = server.curl(&[], "/login").is(200);
    assert!(!login.body.contains("blog"));
}

#[test]
fn every_answer_has_the_headers() {
    let server = Server::start();
    let wrong = server.curl(&["-H", "Host: evil.example"], "/login").is(421);
    let answers = [
        server.curl(&[], "/login").is(200),
        server.curl(&[], "/").is(303),
        server.curl(&[], "/api/sites").is(401),
        server.with(&server.read, &[], "/api/sites").is(200),
        server.with(&server.read, &[], "/api/nothing").is(404),
        server.with(&server.operate, &["-X", "PUT"], "/api/sites").is(405),
        server.curl(&["-d", "name=ada"], "/login").is(400),
        wrong,
    ];
    for answer in answers {
        let csp = answer.header("content-security-policy").unwrap();
        assert!(
            csp.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{csp}"
        );
        assert!(csp.contains("frame-ancestors 'none'; base-uri 'none'"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{answer:?}");
        }
    }
}

#[test]
fn a_change_by_session_needs_its_csrf_token_and_this_origin() {
    let server = Server::start();
    let (cookie, csrf) = server.log_in();
    let (_, other) = server.log_in();
    assert_ne!(csrf, other);
    let origin = format!("Origin: {}", server.url);
    let json = "Content-Type: application/json";
    let send = |headers: &[&str]| {
        let mut arguments = vec!["-X", "POST", "-H", json, "-d", ADD, "-H", cookie.as_str()];
        arguments.extend(headers.iter().flat_map(|header| ["-H", *header]));
        server.curl(&arguments, "/api/sites")
    };
    let token = format!("X-CSRF-Token: {csrf}");
    let of_other = format!("X-CSRF-Token: {other}");
    send(&[]).is(403);
    send(&[&of_other]).is(403);
    send(&["X-CSRF-Token: "]).is(403);
    send(&[&token, "Origin: http://evil.example"]).is(403);
    send(&[&token, "Origin: null"]).is(403);
    send(&[&token, "Referer: http://evil.example/x"]).is(403);
    send(&[&token, "Sec-Fetch-Site: cross-site"]).is(403);
    let form = format!("name=blog&csrf={csrf}");
    let foreign = server.curl(
        &["-d", &form, "-H", &cookie, "-H", "Origin: http://evil.example"],
        "/logout",
    );
    foreign.is(403);
    server.with(&server.operate, &[], "/api/sites/blog").is(404);
    send(&[&token, &origin, "Sec-Fetch-Site: same-origin"]).is(201);
    // A login that another site sends would put somebody into an account that is not his.
    let arguments = [
        "-H",
        "Origin: http://evil.example",
        "-d",
        "name=ada&password=correct+horse+battery",
    ];
    server.curl(&arguments, "/login").is(403);
    // A form's own field, and the way out.
    let form = format!("csrf={csrf}");
    let out = server
        .curl(&["-d", &form, "-H", &cookie, "-H", &origin], "/logout")
        .is(303);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    server.curl(&["-H", &cookie], "/api/whoami").is(401);
}

#[test]
fn a_token_that_may_read_changes_nothing() {
    let server = Server::start();
    for (method, path) in operations() {
        if method == "GET" {
            continue;
        }
        let answer = server.json(&server.read, &method, &filled(&path), ADD).is(403);
        assert_eq!(answer.json()["title"], "this token may only read");
    }
    assert!(server.files().is_empty());
    let audit = server.with(&server.operate, &[], "/api/audit").is(200).json();
    assert_eq!(audit[0]["outcome"], "403: this token may only read");
}

#[test]
fn names_that_lead_elsewhere_lead_nowhere() {
    let server = Server::start();
    let long = "a".repeat(300);
    let before = server.files();
    for name in [
        "..",
        "../x",
        "%2e%2e%2fetc",
        "..%2f..%2fetc",
        "%00",
        "a%00",
        &long,
        "Blog",
        "a%20b",
        "a%2fb",
        "-a",
        "%ff",
        "a%0ab",
        ".",
    ] {
        for base in ["/api/sites/", "/api/runs/", "/api/projects/"] {
            let path = format!("{base}{name}");
            let looked = server.with(&server.operate, &[], &path);
            let known =
                [404, 400].contains(&looked.status) || (base == "/api/projects/" && looked.status == 503);
            assert!(known, "{path}: {looked:?}");
            let on = r#"{"persistent_storage":true}"#;
            let changed = server.json(&server.operate, "PATCH", &path, on);
            assert!([400, 404, 405].contains(&changed.status), "{path}: {changed:?}");
        }
        let removed = server.with(
            &server.operate,
            &["-X", "DELETE"],
            &format!("/api/sites/{name}?delete_data={name}"),
        );
        assert!([400, 404, 405].contains(&removed.status), "{name}: {removed:?}");
    }
    assert_eq!(server.files(), before);
}

#[test]
fn hosts_bodies_and_heads_have_limits() {
    let server = Server::start_with(&["--host-name", "panel.example"]);
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
    ] {
        let header = if host.is_empty() {
            "Host;".to_owned()
        } else {
            format!("Host: {host}")
        };
        let answer = server.curl(&["-H", &header], "/login");
        assert!([400, 421].contains(&answer.status), "{host}: {answer:?}");
    }
    for host in ["localhost", "localhost:1", "PANEL.example:443", "127.0.0.1"] {
        server.curl(&["-H", &format!("Host: {host}")], "/login").is(200);
    }
    let large = format!("{{\"name\":\"{}\"}}", "a".repeat(70 * 1024));
    let file = server.dir.path().join("large");
    std::fs::write(&file, large).unwrap();
    let at = format!("@{}", file.display());
    server.json(&server.operate, "POST", "/api/sites", &at).is(413);
    server.curl(&["-d", &at], "/login").is(413);
    // More than is read in one go; whether curl hears why depends on how much it had sent.
    let headers: Vec<_> = (0..4)
        .map(|n| format!("X-Large-{n}: {}", "a".repeat(100_000)))
        .collect();
    let output = std::process::Command::new("curl")
        .args(["-s", "-i", "--max-time", "60"])
        .args(headers.iter().flat_map(|header| ["-H", header]))
        .arg(format!("{}/login", server.url))
        .output()
        .unwrap();
    let head = String::from_utf8_lossy(&output.stdout);
    let head = head.lines().next().unwrap_or_default();
    assert!(head.is_empty() || head.contains(" 431 "), "{head}");
    server.curl(&[], "/login").is(200);
}

//! Passwords, sessions and their cookies.

use super::support::{PASSWORD, Server, sql};

#[test]
fn the_cookie_is_for_this_server_alone_and_ends() {
    let server = Server::start();
    let form = format!("name=ada&password={}", PASSWORD.replace(' ', "+"));
    let answer = server.curl(&["-d", &form], "/login").is(303);
    let cookie = answer.header("set-cookie").unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("rehome=") && pair.len() > 43, "{cookie}");
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/");
    // Behind a proxy that speaks TLS.
    let tls = ["-d", &form, "-H", "X-Forwarded-Proto: https"];
    let secure = server.curl(&tls, "/login").is(303);
    let secure = secure.header("set-cookie").unwrap().to_owned();
    assert!(secure.starts_with("__Host-rehome="), "{secure}");
    assert!(
        secure.ends_with("; HttpOnly; SameSite=Strict; Path=/; Secure"),
        "{secure}"
    );

    let header = format!("Cookie: {pair}");
    let who = server.curl(&["-H", &header], "/api/whoami").is(200).json();
    assert_eq!((&who["name"], &who["kind"]), (&"ada".into(), &"user".into()));
    // As if it had been left alone for a day; what is on the disk is no cookie.
    let kept = sql(
        &server.state(),
        "SELECT secret FROM sessions ORDER BY made LIMIT 1",
    );
    server
        .curl(&["-H", &format!("Cookie: rehome={kept}")], "/api/whoami")
        .is(401);
    sql(
        &server.state(),
        "UPDATE sessions SET seen = '2001-02-03T04:05:06Z'",
    );
    server.curl(&["-H", &header], "/api/whoami").is(401);
    // A new one, until its user is gone.
    let (cookie, _) = server.log_in();
    assert!(
        server
            .rehome(&["serve", "user", "remove", "ada"], "")
            .status
            .success()
    );
    server.curl(&["-H", &cookie], "/api/whoami").is(401);
}

#[test]
fn whoever_guesses_has_to_wait() {
    let server = Server::start();
    let from = |address: &str, name: &str, password: &str| {
        let header = format!("X-Forwarded-For: {address}");
        let form = format!("name={name}&password={password}");
        server.curl(&["-H", &header, "-d", &form], "/login")
    };
    for n in 0..5 {
        let wrong = from("192.0.2.1", "ada", &format!("wrong{n}")).is(401);
        assert!(wrong.header("set-cookie").is_none());
    }
    let late = from("192.0.2.1", "ada", "correct+horse+battery").is(429);
    let seconds: u64 = late.header("retry-after").unwrap().parse().unwrap();
    assert!((800..=900).contains(&seconds), "{seconds}");
    from("192.0.2.1", "eve", "x").is(429);
    // From elsewhere it goes on, until the user has had enough.
    for n in 0..5 {
        from(&format!("192.0.2.{}", n + 2), "ada", "wrong").is(401);
    }
    from("192.0.2.99", "ada", "correct+horse+battery").is(429);
    from("192.0.2.99", "eve", "x").is(401);
    let failed = sql(
        &server.state(),
        "SELECT count(*) FROM audit WHERE what = 'login' AND outcome LIKE 'refused%'",
    );
    assert_eq!(failed, "11");
    let told = sql(&server.state(), "SELECT origin FROM audit ORDER BY id LIMIT 1");
    assert_eq!(told, "192.0.2.1");
}

#[test]
fn a_password_is_nowhere_but_in_its_hash() {
    let server = Server::start();
    let (cookie, csrf) = server.log_in();
    server
        .curl(&["-d", "name=ada&password=hunter2hunter2"], "/login")
        .is(401);
    let kept = sql(&server.state(), "SELECT password FROM users");
    assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
    let bytes = std::fs::read(server.state().join("serve.db")).unwrap();
    let cookie = cookie.split_once('=').unwrap().1;
    for secret in [PASSWORD, "hunter2hunter2", cookie, &server.operate] {
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{secret}");
    }
    assert!(!csrf.is_empty());
}

//! Users and tokens, by the command line.

use std::os::unix::fs::PermissionsExt as _;

use super::support::{Server, rehome};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn users_and_tokens_come_and_go_while_the_server_runs() {
    let server = Server::start();
    let users = text(&server.rehome(&["serve", "user", "list"], "").stdout);
    assert!(users.contains("ada"), "{users}");
    let made = server.rehome(&["serve", "token", "create", "new", "--scope", "read"], "");
    let token = text(&made.stdout);
    assert!(
        token.starts_with("rh_") && token.lines().count() == 1,
        "the token alone: {token}"
    );
    let token = token.trim();
    server.with(token, &[], "/api/sites").is(200);
    let listed = text(&server.rehome(&["serve", "token", "list", "--json"], "").stdout);
    assert!(!listed.contains(token) && listed.contains("\"new\""), "{listed}");
    assert!(
        server
            .rehome(&["serve", "token", "revoke", "new"], "")
            .status
            .success()
    );
    server.with(token, &[], "/api/sites").is(401);
    assert_eq!(
        server
            .rehome(&["serve", "token", "revoke", "new"], "")
            .status
            .code(),
        Some(3)
    );
    let again = server.rehome(&["serve", "token", "create", "new", "--scope", "read"], "");
    assert_eq!(again.status.code(), Some(3));
    let mode = std::fs::metadata(server.state().join("serve.db"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn what_is_no_password_no_name_and_no_scope_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let add = ["serve", "user", "add", "ada", "--password-stdin"];
    for password in ["\n", "short\n", "", "eleven char\n"] {
        let refused = rehome(&state, &add, password);
        assert_eq!(
            refused.status.code(),
            Some(2),
            "{password:?}: {}",
            text(&refused.stderr)
        );
    }
    let asked = rehome(
        &state,
        &["serve", "user", "add", "ada"],
        "correct horse battery\n",
    );
    assert_eq!(asked.status.code(), Some(3));
    assert!(
        text(&asked.stderr).contains("--password-stdin"),
        "{}",
        text(&asked.stderr)
    );
    for name in ["Ada", "../x", "", "a b"] {
        assert_eq!(
            rehome(&state, &["serve", "user", "add", name, "--password-stdin"], "x")
                .status
                .code(),
            Some(2)
        );
    }
    let scope = rehome(&state, &["serve", "token", "create", "x", "--scope", "all"], "");
    assert_eq!(scope.status.code(), Some(2));
    assert!(!state.exists(), "nothing was written");
}

#[test]
fn an_address_for_others_needs_a_user() {
    let dir = tempfile::tempdir().unwrap();
    let refused = rehome(&dir.path().join("state"), &["serve", "--listen", "0.0.0.0:0"], "");
    assert_eq!(refused.status.code(), Some(3));
    let told = text(&refused.stderr);
    assert!(told.contains("rehome serve user add NAME"), "{told}");
}

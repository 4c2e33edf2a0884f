//! What is kept of people, and for how long it counts.

use std::os::unix::fs::MetadataExt as _;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join(Store::FILE)).unwrap();
    (dir, store)
}

fn name(text: &str) -> AccessName {
    text.parse().unwrap()
}

#[test]
fn no_secret_is_in_the_database_and_nobody_else_reads_it() {
    let (dir, store) = store();
    store.set_user(&name("ada"), "$argon2id$made-elsewhere").unwrap();
    let cookie = store.begin_session("ada").unwrap();
    let token = draw().unwrap();
    store.add_token(&name("ci"), Scope::Read, &token).unwrap();
    let path = dir.path().join(Store::FILE);
    let bytes = std::fs::read(&path).unwrap();
    for secret in [cookie.reveal(), token.reveal()] {
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_session_counts_until_it_is_over_ended_or_its_user_is_gone() {
    let (_dir, store) = store();
    store.set_user(&name("ada"), "x").unwrap();
    let cookie = store.begin_session("ada").unwrap();
    let session = store.session(cookie.reveal()).unwrap().unwrap();
    assert_eq!(session.user, "ada");
    assert_ne!(session.csrf, cookie);
    assert_eq!(store.session("stolen").unwrap(), None);
    store.end_session(cookie.reveal()).unwrap();
    assert_eq!(store.session(cookie.reveal()).unwrap(), None);

    let idle = store.begin_session("ada").unwrap();
    store
        .write("UPDATE sessions SET seen = '2001-02-03T04:05:06Z'", [])
        .unwrap();
    assert_eq!(store.session(idle.reveal()).unwrap(), None);
    let old = store.begin_session("ada").unwrap();
    store
        .write("UPDATE sessions SET made = '2001-02-03T04:05:06Z'", [])
        .unwrap();
    assert_eq!(store.session(old.reveal()).unwrap(), None);

    let before = store.begin_session("ada").unwrap();
    store.set_user(&name("ada"), "y").unwrap();
    assert_eq!(store.session(before.reveal()).unwrap(), None, "another password");
    let last = store.begin_session("ada").unwrap();
    store.remove_user(&name("ada")).unwrap();
    assert_eq!(store.session(last.reveal()).unwrap(), None);
    assert!(store.remove_user(&name("ada")).is_err());
    assert!(store.begin_session("ada").is_err(), "of nobody");
}

#[test]
fn a_token_counts_until_it_is_revoked() {
    let (_dir, store) = store();
    let token = draw().unwrap();
    store.add_token(&name("ci"), Scope::Operate, &token).unwrap();
    assert!(
        store
            .add_token(&name("ci"), Scope::Read, &draw().unwrap())
            .is_err()
    );
    assert_eq!(
        store.by_token(token.reveal()).unwrap(),
        Some(Who::Token("ci".to_owned(), Scope::Operate))
    );
    assert_eq!(store.by_token("rh_other").unwrap(), None);
    assert!(store.tokens().unwrap()[0].used.is_some());
    store.revoke(&name("ci")).unwrap();
    assert_eq!(store.by_token(token.reveal()).unwrap(), None);
    assert!(store.revoke(&name("ci")).is_err());
    assert!(store.tokens().unwrap()[0].revoked.is_some());
}

#[test]
fn the_audit_says_how_it_ended_whichever_comes_first() {
    let (_dir, store) = store();
    let deed = Deed {
        who: "ada",
        from: "127.0.0.1",
        what: "PATCH",
        on: "/api/sites/blog",
    };
    let (a, b) = (store.note(&deed).unwrap(), store.note(&deed).unwrap());
    let run = RunId::new("7k2f9q").unwrap();
    store.ran(a, Some(&run), "done").unwrap();
    store.answered(a, "202").unwrap();
    store.answered(b, "409 refused").unwrap();
    let lines = store.audit(10, None).unwrap();
    assert_eq!((lines[0].id, lines[0].outcome.as_str()), (b, "409 refused"));
    assert_eq!(
        (lines[1].outcome.as_str(), lines[1].run.as_deref()),
        ("done", Some("7k2f9q"))
    );
    let before = |id| store.audit(1, id).unwrap().first().map(|line| line.id);
    assert_eq!(
        (before(None), before(Some(b)), before(Some(a))),
        (Some(b), Some(a), None)
    );
}

#[test]
fn a_newer_format_is_refused() {
    let (dir, store) = store();
    store.connection.pragma_update(None, "user_version", 7).unwrap();
    let refused = Store::open(&dir.path().join(Store::FILE)).unwrap_err();
    assert_eq!(refused.causes, ["it has format 7, and this one knows 1"]);
}

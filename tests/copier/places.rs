//! Making, removing, renaming and swapping directories; access; the HTTP check.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rehome::helper::context::Context;
use rehome::helper::http;
use rehome::helper::place::{access, exchange, make_dir, numbers, remove, rename};
use rehome::helper::protocol::FailClass;

use crate::support::{Disk, bash, sh};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[test]
fn a_directory_is_made_once_and_only_where_there_is_nothing() {
    let dir = dir();
    let at = dir.path();
    bash(
        at,
        "mkdir full outside; touch full/x; ln -s outside link; touch file",
    );
    for _ in 0..2 {
        make_dir(at, Path::new("a/b/c")).unwrap();
    }
    assert_eq!(
        bash(at, "stat -c '%n %a' a a/b a/b/c"),
        "a 755\na/b 755\na/b/c 755\n"
    );
    for (path, because) in [
        ("full", "it is not empty: it holds x"),
        ("link", "a symlink is there"),
        ("link/x", "a symlink is on the way"),
        ("file", "a file is there"),
        ("../x", "it must be relative and without `..`"),
        ("/tmp/x", "it must be relative and without `..`"),
        ("", "the path is empty"),
    ] {
        let fault = make_dir(at, Path::new(path)).unwrap_err();
        assert_eq!(
            (fault.class, fault.because.as_str()),
            (FailClass::Refused, because),
            "{path}"
        );
    }
    assert_eq!(bash(at, "ls outside"), "");
}

#[test]
fn a_tree_is_removed_without_following_symlinks() {
    let dir = dir();
    let at = dir.path();
    bash(
        at,
        "mkdir -p t/a/b outside; touch outside/keep t/a/f; ln -s ../../outside t/a/link; mkfifo t/p; ln -s outside way",
    );
    let cx = Context::new();
    for _ in 0..2 {
        remove(&cx, at, Path::new("t")).unwrap();
    }
    assert_eq!(bash(at, "ls . outside"), ".:\noutside\nway\n\noutside:\nkeep\n");
    assert_eq!(
        remove(&cx, at, Path::new("way/keep")).unwrap_err().class,
        FailClass::Refused
    );
    assert_eq!(
        remove(&cx, at, Path::new("outside/../outside"))
            .unwrap_err()
            .class,
        FailClass::Refused
    );
    assert_eq!(bash(at, "ls outside"), "keep\n");
    // A mount inside is never emptied.
    bash(at, "mkdir -p m/inside; mount --bind outside m/inside");
    let fault = remove(&cx, at, Path::new("m"));
    let direct = remove(&cx, at, Path::new("m/inside"));
    sh("umount", &[&at.join("m/inside")]);
    assert_eq!(fault.unwrap_err().class, FailClass::Refused);
    assert_eq!(direct.unwrap_err().class, FailClass::Refused);
    assert_eq!(bash(at, "ls outside"), "keep\n");
}

#[test]
fn a_rename_is_done_once_and_replaces_nothing() {
    let dir = dir();
    let at = dir.path();
    bash(at, "mkdir -p a/x b; touch a/x/f; ln -s a link");
    for _ in 0..2 {
        rename(at, Path::new("a/x"), Path::new("b/y")).unwrap();
    }
    assert_eq!(bash(at, "ls a b b/y"), "a:\n\nb:\ny\n\nb/y:\nf\n");
    bash(at, "mkdir a/x");
    for (from, to, because) in [
        ("a/x", "b/y", "both of them are there"),
        ("none", "nothing", "neither of them is there"),
        ("a/x", "none/x", "the directory it shall go to is missing"),
        ("link/x", "z", "a symlink is on the way"),
        ("a/x", "../z", "it must be relative and without `..`"),
    ] {
        let fault = rename(at, Path::new(from), Path::new(to)).unwrap_err();
        assert_eq!(
            (fault.class, fault.because.as_str()),
            (FailClass::Refused, because),
            "{from} {to}"
        );
    }
}

#[test]
fn two_directories_are_swapped_once_by_the_inode_that_shall_be_there() {
    let here = dir();
    let ext4 = Disk::new("40M", "mkfs.ext4", &[]);
    let xfs = Disk::new("400M", "mkfs.xfs", &[]);
    for at in [here.path(), &ext4.at, &xfs.at] {
        bash(
            at,
            "mkdir -p v/data v/new; echo old > v/data/f; echo new > v/new/f; ln -s v link",
        );
        let inode = |name: &str| -> u64 { bash(at, &format!("stat -c %i {name}")).trim().parse().unwrap() };
        let swap = |left: &str, right: &str, inode| exchange(at, (Path::new(left), Path::new(right)), inode);
        let (old, new) = (inode("v/data"), inode("v/new"));
        let found = numbers(at, &["v/data", "v/none", "v/none/x", "link"].map(Into::into));
        let found = found.unwrap();
        for (path, because) in [
            ("v/new/f/x", "a file is on the way"),
            ("link/data", "a symlink is on the way"),
        ] {
            assert_eq!(numbers(at, &[path.into()]).unwrap_err().because, because);
        }
        assert_eq!(found[0].as_ref().unwrap().inode, old);
        let device = bash(at, "stat -c '%Hd:%Ld' v");
        assert_eq!(found[0].as_ref().unwrap().device, device.trim());
        assert_eq!((&found[1], &found[2]), (&None, &None));
        // The symlink itself.
        assert_eq!(found[3].as_ref().unwrap().inode, inode("link"));
        for _ in 0..2 {
            swap("v/data", "v/new", new).unwrap();
            assert_eq!(bash(at, "cat v/data/f v/new/f"), "new\nold\n");
        }
        // Back, and there already while the other one is gone.
        swap("v/data", "v/new", old).unwrap();
        assert_eq!(bash(at, "cat v/data/f v/new/f"), "old\nnew\n");
        bash(at, "mv v/new v/later");
        swap("v/data", "v/new", old).unwrap();
        for (left, right, inode, because) in [
            ("v/data", "v/new", new, "one of them is missing"),
            ("v/none", "v/later", new, "one of them is missing"),
            ("v/data", "v/later", 1, "inode 1 is at neither of them"),
            ("link/data", "v/later", new, "a symlink is on the way"),
            ("../x", "v/later", new, "it must be relative and without `..`"),
        ] {
            let fault = swap(left, right, inode).unwrap_err();
            assert_eq!(
                (fault.class, fault.because.as_str()),
                (FailClass::Refused, because),
                "{left} {right}"
            );
        }
        assert_eq!(bash(at, "cat v/data/f v/later/f"), "old\nnew\n");
    }
    // A mount is no directory that could be swapped.
    let at = here.path();
    bash(at, "mkdir m; mount -t tmpfs none m");
    let inode = numbers(at, &["v/later".into()]).unwrap()[0]
        .clone()
        .unwrap()
        .inode;
    let refused = exchange(at, (Path::new("m"), Path::new("v/later")), inode);
    sh("umount", &[&at.join("m")]);
    assert_eq!(refused.unwrap_err().because, "one of them is a mount of its own");
}

#[test]
fn access_is_that_of_the_user_who_asks() {
    let dir = dir();
    bash(dir.path(), "mkdir rw; mkdir ro; mount -t tmpfs -o ro none ro");
    let asked = access(&[dir.path().join("rw"), dir.path().join("ro")]);
    sh("umount", &[&dir.path().join("ro")]);
    assert_eq!(asked.unwrap(), [true, false]);
    assert!(access(&[dir.path().join("none")]).is_err());
}

/// Answers one connection with these bytes, after reading a request.
fn server(answer: &'static [u8]) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let len = stream.read(&mut request).unwrap();
        stream.write_all(answer).unwrap();
        if answer.is_empty() {
            // Says nothing until the other side gives up.
            let ended = stream.read(&mut request);
            assert!(matches!(ended, Ok(0) | Err(_)));
        }
        String::from_utf8_lossy(&request[..len]).into_owned()
    });
    (port, thread)
}

#[test]
fn a_check_asks_once_and_tells_the_status() {
    for (answer, status) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"[..], 200),
        (b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n", 302),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503),
    ] {
        let (port, thread) = server(answer);
        let got = http::get(
            &format!("http://localhost:{port}/health/?x=1"),
            false,
            Duration::from_secs(5),
        )
        .unwrap();
        assert_eq!(got.status, status);
        let request = thread.join().unwrap();
        assert!(
            request.starts_with("GET /health/?x=1 HTTP/1.1\r\n")
                && request
                    .to_ascii_lowercase()
                    .contains(&format!("\r\nhost: localhost:{port}\r\n")),
            "{request}"
        );
    }
}

#[test]
fn a_check_ends_in_time_whoever_does_not_answer() {
    let (port, thread) = server(b"");
    let began = Instant::now();
    let url = format!("http://127.0.0.1:{port}/?secret=s3cret");
    let fault = http::get(&url, false, Duration::from_millis(300)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(fault.because, "nothing came within 300 ms");
    assert!(!fault.what.contains("s3cret"), "{}", fault.what);
    thread.join().unwrap();
    // Nobody listens here any more.
    let fault = http::get(&url, false, Duration::from_secs(5)).unwrap_err();
    assert!(fault.because.contains("refused"), "{}", fault.because);
}

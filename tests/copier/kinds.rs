//! What a copy keeps: every kind of entry and everything that is attached to it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rehome::helper::context::Context;
use rehome::helper::copy;
use rehome::helper::protocol::{CopyRequest, FailClass, Request, VerifyRequest};
use rehome::helper::verify;
use rehome::model::Owner;

use crate::support::{Bench, Random, assert_same, bash, bytes, grow, sh};

#[test]
fn random_trees_arrive_as_rsync_and_find_see_them() {
    for seed in 1..=4 {
        let bench = Bench::new();
        let mut random = Random(seed * 7919);
        grow(&bench.from, &mut random, 150);
        let report = bench.copy();
        bench.assert_same();
        let entries: u64 = bash(&bench.from, "find . -printf x | wc -c")
            .trim()
            .parse()
            .unwrap();
        assert_eq!(report.entries, entries, "seed {seed}");
        let verified = bench.verify();
        let count = |what: &str| -> u64 {
            bash(&bench.from, &format!("find . {what} -printf x | wc -c"))
                .trim()
                .parse()
                .unwrap()
        };
        assert_eq!(verified.dirs, count("-type d"), "seed {seed}");
        assert_eq!(verified.symlinks, count("-type l"), "seed {seed}");
        assert_eq!(
            verified.special,
            count(r"\( -type p -o -type c -o -type b \)"),
            "seed {seed}"
        );
        let inodes: u64 = bash(&bench.from, r"find . -type f -printf '%i\n' | sort -u | wc -l")
            .trim()
            .parse()
            .unwrap();
        assert_eq!(verified.files, inodes, "seed {seed}");
        assert_eq!(
            verified.files + verified.hard_links,
            count("-type f"),
            "seed {seed}"
        );
        // A second tree in its place: what was there goes, types are replaced.
        let other = Bench::new();
        grow(&other.from, &mut random, 120);
        let request = CopyRequest {
            to: bench.to.clone(),
            ..other.request()
        };
        copy::copy(&Context::new(), &request).unwrap();
        assert_same(&other.from, &bench.to);
    }
}

#[test]
fn holes_stay_holes() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "truncate -s 1G all-hole
         truncate -s 300M ends-with-hole; dd if=/dev/urandom of=ends-with-hole bs=1M count=2 conv=notrunc status=none
         dd if=/dev/urandom of=begins-with-hole bs=4096 seek=50000 count=3 status=none
         dd if=/dev/zero of=zeros bs=1M count=3 status=none
         truncate -s 77M many; for n in 1 5 9 700 701 18000; do
           dd if=/dev/urandom of=many bs=4096 seek=$n count=1 conv=notrunc status=none; done",
    );
    let report = bench.copy();
    bench.assert_same();
    let blocks = |dir| bash(dir, r"find . -type f -printf '%P %b\n' | sort");
    assert_eq!(blocks(&bench.from), blocks(&bench.to));
    assert!(
        report.bytes_copied < 10 << 20,
        "only data is written: {}",
        report.bytes_copied
    );
    let hashes = |dir| bash(dir, "sha256sum *");
    assert_eq!(hashes(&bench.from), hashes(&bench.to));
    bench.verify();
}

#[test]
fn trap_11_the_root_directory_keeps_owner_mode_acl_and_time() {
    let bench = Bench::new();
    sh("setfattr", &[&"-n", &"user.root", &"-v", &"yes", &bench.from]);
    sh("setfacl", &[&"-m", &"u:70:rwx,d:u:70:rwx", &bench.from]);
    bash(
        &bench.from,
        "echo x > f; mkdir d; setfacl -b f; chown 999:70 .; chmod 3710 .; touch -d @1234567890.123456789 .",
    );
    bench.copy();
    bench.assert_same();
    let look = |dir| {
        bash(
            dir,
            "stat -c '%u:%g %a %.9Y' .; getfacl -np . | tail -n +2; getfattr -d -m- . ; getfacl -np f d | grep -v '^#'",
        )
    };
    assert_eq!(look(&bench.from), look(&bench.to));
    assert!(look(&bench.to).starts_with("999:70 3"), "{}", look(&bench.to));
    bench.verify();
}

#[test]
fn capabilities_setuid_and_large_attributes_are_kept() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "cp /bin/true cap; chown 5:6 cap; setcap cap_net_bind_service+ep cap
         cp /bin/true suid; chown 5:6 suid; chmod 6755 suid
         mkdir sticky; chmod 1777 sticky
         echo x > big; setfattr -n user.big -v \"$(head -c 1500 /dev/zero | tr '\\0' v)\" big
         for n in $(seq 30); do setfattr -n user.number-$n-a-long-name -v $n big; done
         ln -s nowhere link; setfattr -h -n trusted.note -v x link
         mkfifo fifo; setfattr -h -n trusted.note -v y fifo; chmod 621 fifo",
    );
    bench.copy();
    bench.assert_same();
    let look = |dir| {
        bash(
            dir,
            "getcap cap; stat -c '%n %a %u:%g' *; getfattr -h -d -m- * 2>&1 | sha256sum; getfattr -h -d -m- link fifo",
        )
    };
    assert_eq!(look(&bench.from), look(&bench.to));
    assert!(look(&bench.to).contains("cap_net_bind_service=ep"));
    assert!(bench.verify().xattrs >= 34);
    // And an attribute that goes or changes without the content is followed.
    bash(
        &bench.from,
        "setfattr -x user.big big; setcap -r cap; setfattr -h -n trusted.note -v z link",
    );
    bench.copy();
    bench.assert_same();
    assert_eq!(look(&bench.from), look(&bench.to));
}

#[test]
fn attributes_that_cannot_be_seen_are_said_not_to_be() {
    let bench = Bench::new();
    bash(&bench.from, "echo x > x; setfattr -n trusted.note -v hidden x");
    let request = serde_json::to_string(&Request::Copy(bench.request())).unwrap();
    let helper = Path::new(env!("CARGO_BIN_EXE_rehome"));
    let without = sh(
        "setpriv",
        &[&"--bounding-set", &"-sys_admin", &helper, &"helper", &request],
    );
    assert!(
        without.contains("attributes in trusted.* cannot be seen"),
        "{without}"
    );
    assert_eq!(bash(&bench.to, "getfattr -d -m- x"), "");
    let with = sh(helper.to_str().unwrap(), &[&"helper", &request]);
    assert!(!with.contains("trusted"), "{with}");
}

#[test]
fn hard_links_are_kept_within_a_pass_and_across_passes() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir d; echo one > a; ln a b; ln a d/c; echo two > e; ln -s x l; ln l d/l2; mkfifo p; ln p d/p2",
    );
    let groups = |dir| {
        bash(
            dir,
            r"find . ! -type d -printf '%i %P\n' | sort -k2 | awk '{if(!($1 in g))g[$1]=++n; print g[$1], $2}'",
        )
    };
    bench.copy();
    bench.assert_same();
    assert_eq!(groups(&bench.from), groups(&bench.to));
    assert_eq!(bench.verify().hard_links, 4);
    // Regrouped: b leaves, e gets more names, the first name of the old group goes.
    bash(&bench.from, "rm b; echo own > b; ln e d/f; rm a; ln d/c z");
    bench.copy();
    bench.assert_same();
    assert_eq!(groups(&bench.from), groups(&bench.to));
    bench.verify();
    // The destination's grouping is wrong though each content is right.
    bash(&bench.to, "rm z; cp -p d/c z");
    assert_eq!(bench.try_verify().unwrap_err().class, FailClass::Differs);
    bench.copy();
    assert_eq!(groups(&bench.from), groups(&bench.to));
    bench.verify();
}

#[test]
fn sockets_are_skipped_with_a_note() {
    let bench = Bench::new();
    let _socket = std::os::unix::net::UnixListener::bind(bench.from.join("s.sock")).unwrap();
    std::fs::write(bench.from.join("f"), "x").unwrap();
    let cx = Context::new();
    let report = copy::copy(&cx, &bench.request()).unwrap();
    assert_eq!(report.sockets, 1);
    assert_eq!(cx.take_notes(), ["socket s.sock was skipped"]);
    assert!(!bench.to.join("s.sock").exists());
    bench.verify();
}

#[test]
fn paths_longer_than_the_kernel_takes_are_copied() {
    let bench = Bench::new();
    // 40 levels of 200 bytes: twice PATH_MAX.
    bash(
        &bench.from,
        "name=$(printf 'd%.0s' $(seq 200)); for n in $(seq 40); do mkdir $name; cd $name; echo $n > f; done; touch -d @5 .",
    );
    let wide = bytes(&bench.from, &[b'w'; 255]);
    std::fs::write(&wide, "255").unwrap();
    bench.copy();
    let look = |dir| {
        bash(
            dir,
            r"find . -printf '%P %y %U:%G %m %T@\n' | sort | sha256sum; find . -type f -execdir cat {} + | sort | sha256sum",
        )
    };
    assert_eq!(look(&bench.from), look(&bench.to));
    assert_eq!(bench.verify().files, 41);
    // And removed again.
    bash(&bench.from, "rm -r d*");
    assert_eq!(bench.copy().deleted, 80);
    bench.assert_same();
}

#[test]
fn an_owner_that_is_asked_for_is_given_to_everything_and_verified() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir d; echo x > d/f; ln -s f d/l; mkfifo d/p; chown -Rh 5:6 .; chmod 4755 d/f; setcap cap_chown+ep d/f",
    );
    let owner = Some(Owner { uid: 1000, gid: 1001 });
    // First with the source's owner: the second pass changes it without copying content.
    bench.copy();
    bench.settle();
    bench.copy();
    let report = copy::copy(
        &Context::new(),
        &CopyRequest {
            owner,
            ..bench.request()
        },
    )
    .unwrap();
    assert_eq!(report.files_copied, 0);
    assert_eq!(
        bash(&bench.to, "find . -printf '%U:%G\n' | sort -u").trim(),
        "1000:1001"
    );
    assert_eq!(bash(&bench.to, "stat -c %a d/f").trim(), "4755");
    assert!(bash(&bench.to, "getcap d/f").contains("cap_chown=ep"));
    let verify = |owner| {
        verify::verify(
            &Context::new(),
            &VerifyRequest {
                owner,
                ..bench.verify_request()
            },
        )
    };
    verify(owner).unwrap();
    let fault = verify(None).unwrap_err();
    assert!(
        fault.because.contains(".: owner 1000:1001 instead of 5:6"),
        "{}",
        fault.because
    );
}

#[test]
fn files_that_nobody_may_read_and_empty_directories_come_too() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "echo secret > none; chmod 0 none; mkdir -p a/b/c; chmod 0 a/b/c a/b a",
    );
    bench.copy();
    bench.assert_same();
    let mode = |name: &str| {
        std::fs::metadata(bench.to.join(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((mode("none"), mode("a")), (0, 0));
    assert_eq!(std::fs::metadata(bench.to.join("a/b/c")).unwrap().nlink(), 2);
}

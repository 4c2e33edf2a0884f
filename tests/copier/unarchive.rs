//! Archives that others wrote, archives that mean harm, and archives that are damaged.

use std::path::{Path, PathBuf};

use rehome::helper::context::Context;
use rehome::helper::protocol::FailClass;
use rehome::helper::unarchive::{Job, unarchive};

use crate::archive::{beside, from_file, to_file};
use crate::support::{Bench, Random, assert_same, bash, grow};

/// A tree that every program can write.
fn plain(bench: &Bench) {
    let long = "a-name-that-goes-on-".repeat(9);
    bash(
        &bench.from,
        &format!(
            "mkdir -p d/{long}/e empty; echo one > d/{long}/e/f; head -c 3000000 /dev/urandom > large; ln large hard
             ln -s d/{long}/e/f soft; ln -s /etc/passwd absolute; ln -s .. up; mkfifo pipe; mknod null c 1 3
             chown 70:71 d large; chmod 4711 large; chmod 1750 d; touch -d @1000000000 large d soft; touch -d @77 empty"
        ),
    );
}

/// Without what whole seconds lose.
fn look(dir: &Path) -> String {
    bash(
        dir,
        r"find . -mindepth 1 -printf '%P %y %U:%G %m %Ts %s %l %n\n' | sed 's/ d \(.*\) [0-9]* *\( [0-9]*\)$/ d \1\2/' | LC_ALL=C sort; find . -type f -exec sha256sum {} + | LC_ALL=C sort",
    )
}

#[test]
fn archives_of_other_programs_are_unpacked() {
    let bench = Bench::new();
    plain(&bench);
    for (name, line) in [
        ("gnu", "tar -cf ../gnu.tar ."),
        ("gnu-no-root", "tar -cf ../gnu-no-root.tar *"),
        ("gnu-blocks", "tar -b 2000 -cf ../gnu-blocks.tar ."),
        ("pax", "tar --format=posix -cf ../pax.tar ."),
        ("oldgnu", "tar --format=oldgnu -cf ../oldgnu.tar ."),
        ("bsd", "bsdtar --format=pax -cf ../bsd.tar ."),
        ("bsd-gnu", "bsdtar --format=gnutar -cf ../bsd-gnu.tar ."),
        ("busybox", "busybox tar -cf ../busybox.tar ."),
        (
            "python",
            "python3 -c 'import tarfile; t = tarfile.open(\"../python.tar\", \"w\"); t.add(\".\"); t.close()'",
        ),
        (
            "python-gnu",
            "python3 -c 'import tarfile; t = tarfile.open(\"../python-gnu.tar\", \"w\", format=tarfile.GNU_FORMAT); t.add(\".\"); t.close()'",
        ),
        (
            "git-like",
            "tar --format=pax --pax-option='comment=a,globexthdr.name=g' -cf ../git-like.tar .",
        ),
        ("labelled", "tar --label='a volume' -cf ../labelled.tar ."),
    ] {
        bash(&bench.from, line);
        let to = beside(&bench, &format!("to-{name}"));
        std::fs::create_dir(&to).unwrap();
        let came = from_file(&beside(&bench, &format!("{name}.tar")), &to)
            .unwrap_or_else(|f| panic!("{name}: {f:?}"));
        assert_eq!(look(&bench.from), look(&to), "{name}");
        let entries: u64 = bash(&to, "find . -printf x | wc -c").trim().parse().unwrap();
        assert_eq!(came.entries, entries, "{name}");
    }
}

#[test]
fn sparse_files_of_every_format_are_unpacked() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "truncate -s 90M many; for n in $(seq 1 11 900); do dd if=/dev/urandom of=many bs=4096 seek=$((n*20)) count=1 conv=notrunc status=none; done
         truncate -s 30M hole; truncate -s 9M end; echo x | dd of=end conv=notrunc status=none",
    );
    for (name, line) in [
        ("old", "tar --format=gnu --sparse -cf ../old.tar ."),
        (
            "0.0",
            "tar --format=pax --sparse-version=0.0 --sparse -cf ../0.0.tar .",
        ),
        (
            "0.1",
            "tar --format=pax --sparse-version=0.1 --sparse -cf ../0.1.tar .",
        ),
        (
            "1.0",
            "tar --format=pax --sparse-version=1.0 --sparse -cf ../1.0.tar .",
        ),
        (
            "bsd",
            "bsdtar --format=pax --read-sparse -cf ../bsd.tar . || bsdtar --format=pax -cf ../bsd.tar .",
        ),
    ] {
        bash(&bench.from, line);
        let to = beside(&bench, &format!("to-{name}"));
        std::fs::create_dir(&to).unwrap();
        let file = beside(&bench, &format!("{name}.tar"));
        from_file(&file, &to).unwrap_or_else(|f| panic!("{name}: {f:?}"));
        let look = |dir: &Path| {
            bash(
                dir,
                "sha256sum *; stat -c '%n %s' *; du -sk . | awk '{print ($1 < 2000)}'",
            )
        };
        assert_eq!(look(&bench.from), look(&to), "{name}");
    }
}

#[test]
fn what_was_added_later_counts_and_components_are_cut_off() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir -p top/d; echo 1 > top/a; ln top/a top/b; echo x > top/d/f; tar -cf ../a.tar top
         rm top/a; echo new > top/a; rm top/d/f; ln top/b top/d/f; tar -rf ../a.tar top/a top/b top/d/f; rm -r top/../top/none || true",
    );
    let file = beside(&bench, "a.tar");
    let job = Job {
        dir: &bench.to,
        only: None,
        strip: 1,
        like: None,
    };
    unarchive(&Context::new(), job, &mut std::fs::File::open(&file).unwrap()).unwrap();
    let gnu = beside(&bench, "gnu");
    std::fs::create_dir(&gnu).unwrap();
    bash(&gnu, "tar --strip-components=1 -xf ../a.tar");
    let look = |dir: &Path| bash(dir, "cat a b d/f; stat -c '%n %h' a b d/f; [ b -ef d/f ]");
    assert_eq!(look(&bench.to), look(&gnu));
    assert_eq!(bash(&bench.to, "cat a b"), "new\n1\n");
}

/// An archive written member by member in Python.
fn crafted(bench: &Bench, members: &str) -> PathBuf {
    let file = beside(bench, "crafted.tar");
    let script = format!(
        "
import io, tarfile
t = tarfile.open('../crafted.tar', 'w', format=tarfile.PAX_FORMAT)
def add(name, kind=tarfile.REGTYPE, link='', text=b'', **more):
    m = tarfile.TarInfo(name); m.type = kind; m.linkname = link; m.size = len(text); m.mode = 0o755
    for key, value in more.items(): setattr(m, key, value)
    t.addfile(m, io.BytesIO(text))
D, S, H = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
{members}
t.close()
"
    );
    let path = beside(bench, "craft.py");
    std::fs::write(&path, script).unwrap();
    bash(&bench.from, "python3 ../craft.py");
    file
}

#[test]
fn nothing_outside_is_ever_touched() {
    let bench = Bench::new();
    let outside = beside(&bench, "outside");
    std::fs::create_dir(&outside).unwrap();
    bash(
        &outside,
        "echo untouched > f; mkdir d; chmod 700 d; touch -d @5 f d .",
    );
    let look = |dir: &Path| bash(dir, r"find . -printf '%P %y %U:%G %m %T@ %s %n\n'; cat f");
    let before = look(&outside);
    let at = outside.to_str().unwrap();
    for (members, because) in [
        (
            "add('../outside/f', text=b'bad')",
            "it leads out of the directory",
        ),
        (
            "add('a/../../outside/new', text=b'bad')",
            "it leads out of the directory",
        ),
        (
            &format!("add('{at}/f', text=b'bad')"),
            "it leads out of the directory",
        ),
        (
            "add('way', S, '../outside'); add('way/f', text=b'bad')",
            "way in its path is a symlink",
        ),
        (
            &format!("add('way', S, '{at}'); add('way/d', D)"),
            "way in its path is a symlink",
        ),
        (
            &format!("add('way', S, '{at}'); add('way', D, mode=0o777); add('way/f', text=b'bad')"),
            "way in its path is a symlink",
        ),
        (
            "add('f', S, '../outside/f'); add('f', text=b'good'); add('g', H, 'f'); add('h', H, '../outside/f')",
            "it leads out of the directory",
        ),
        (
            "add('way', S, '../outside'); add('h', H, 'way/f')",
            "it is another name of way/f, which is not before it",
        ),
        ("add('h', H, 'later'); add('later')", "which is no file before it"),
        ("add('h', H, 'h')", "it is another name of itself"),
        ("add('d', D); add('h', H, 'd')", "which is no file before it"),
        ("add('f'); add('f/x')", "f in its path is a file"),
        (
            "add('d', D); add('d', text=b'x')",
            "the archive has it as a directory, too",
        ),
        ("add('.', text=b'x')", "the root of a tree has to be a directory"),
        (
            "add('.', S, '../outside')",
            "the root of a tree has to be a directory",
        ),
        ("add('x', b'Z')", "this type is not known here"),
        ("add('x', uid=1 << 40)", "has an owner that Linux does not know"),
        (
            "add('x', tarfile.BLKTYPE, devmajor=8, devminor=1 << 20)",
            "a device has a number",
        ),
    ] {
        let to = beside(&bench, "to-x");
        std::fs::create_dir(&to).unwrap();
        let fault = from_file(&crafted(&bench, members), &to).unwrap_err();
        assert_eq!(fault.class, FailClass::Refused, "{members}: {fault:?}");
        let said = format!("{} {}", fault.what, fault.because);
        assert!(said.contains(because), "{members}: {fault:?}");
        assert_eq!(look(&outside), before, "{members}");
        std::fs::remove_dir_all(&to).unwrap();
    }
    // A symlink to the outside is an entry like any other, and a file that takes its place is a file.
    let file = crafted(
        &bench,
        &format!("add('f', S, '{at}/f'); add('f', text=b'good'); add('l', S, '{at}/d'); add('m', H, 'l')"),
    );
    from_file(&file, &bench.to).unwrap();
    assert_eq!(
        bash(&bench.to, "cat f; stat -c %F f l m"),
        "goodregular file\nsymbolic link\nsymbolic link\n"
    );
    assert_eq!(look(&outside), before);
}

#[test]
fn an_archive_that_ends_early_or_is_damaged_is_refused() {
    let bench = Bench::new();
    bash(
        &bench.from,
        "mkdir d; head -c 3000 /dev/urandom > d/f; truncate -s 1M s; echo x | dd of=s seek=3 bs=64k conv=notrunc status=none; setfattr -n user.a -v b d/f",
    );
    let file = beside(&bench, "a.tar");
    let sent = to_file(&bench.from, &file);
    let whole = std::fs::read(&file).unwrap();
    let attempt = |bytes: &[u8]| {
        let to = tempfile::tempdir_in(&bench.to).unwrap();
        let job = Job {
            dir: to.path(),
            only: None,
            strip: 0,
            like: None,
        };
        let mut from = bytes;
        unarchive(&Context::new(), job, &mut from)
    };
    assert_eq!(attempt(&whole).unwrap().tree, sent.tree);
    for cut in (0..whole.len())
        .step_by(97)
        .chain([whole.len() - 1, whole.len() - 512])
    {
        let fault = attempt(&whole[..cut]).unwrap_err();
        assert_eq!(fault.class, FailClass::Refused, "cut at {cut}");
        assert!(
            fault.because.contains("it ends before its end"),
            "{cut}: {fault:?}"
        );
    }
    let fault = attempt(&[&whole[..], b"more"].concat()).unwrap_err();
    assert_eq!(fault.because, "something follows its end");
    assert!(attempt(&[&whole[..], &[0; 9000]].concat()).is_ok());
    assert!(attempt(b"").is_err());
    let fault = attempt(&vec![b'x'; 20_000]).unwrap_err();
    assert!(fault.because.contains("no number"), "{fault:?}");
    // A bit anywhere: refused, or another tree. Never the same figure for another tree.
    let mut random = Random(4711);
    for _ in 0..400 {
        let mut bytes = whole.clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        if let Ok(came) = attempt(&bytes) {
            let padding = whole[at] == 0;
            assert!(came.tree != sent.tree || padding, "byte {at}");
        }
    }
}

#[test]
fn random_bytes_in_the_place_of_headers_do_no_harm() {
    let bench = Bench::new();
    grow(&bench.from, &mut Random(99), 40);
    let file = beside(&bench, "a.tar");
    to_file(&bench.from, &file);
    let whole = std::fs::read(&file).unwrap();
    let mut random = Random(123);
    for _ in 0..60 {
        let mut bytes = whole.clone();
        // A header with another field, and a checksum that is right.
        let block = random.below(bytes.len() as u64 / 512) as usize * 512;
        let header = &mut bytes[block..block + 512];
        let (at, len) = *random.pick(&[
            (0, 100),
            (100, 8),
            (124, 12),
            (136, 12),
            (156, 1),
            (157, 100),
            (257, 8),
            (345, 155),
        ]);
        header[at..at + len].copy_from_slice(&random.bytes(len));
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().copied().map(u32::from).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let to = tempfile::tempdir_in(&bench.to).unwrap();
        let job = Job {
            dir: to.path(),
            only: None,
            strip: 0,
            like: None,
        };
        let mut from = &bytes[..];
        // Unpacked or refused: what counts is that it ends, and that nothing is anywhere else.
        if let Err(fault) = unarchive(&Context::new(), job, &mut from) {
            assert!(!fault.because.is_empty());
        }
        drop(to);
        assert_eq!(bash(&bench.to, "ls -A"), "");
    }
    from_file(&file, &bench.to).unwrap();
    assert_same(&bench.from, &bench.to);
}

#[test]
fn the_root_is_what_the_archive_says_or_like_the_one_that_was_there() {
    for (tar, strip, is) in [
        ("tar -cf ../a.tar top", 1, "999:998 751"),
        ("tar -cf ../a.tar -C top .", 0, "999:998 751"),
        ("cd top; tar -cf ../../a.tar f", 0, "70:71 700"),
    ] {
        let bench = Bench::new();
        bash(
            &bench.from,
            "mkdir top; echo 1 > top/f; chown 999:998 top; chmod 751 top",
        );
        bash(&bench.from, tar);
        let like = beside(&bench, "like");
        bash(
            &bench.from,
            "mkdir -p ../like; chown 70:71 ../like; chmod 700 ../like",
        );
        let job = Job {
            dir: &bench.to,
            only: None,
            strip,
            like: Some(&like),
        };
        let mut file = std::fs::File::open(beside(&bench, "a.tar")).unwrap();
        unarchive(&Context::new(), job, &mut file).unwrap();
        assert_eq!(
            bash(&bench.to, "stat -c '%u:%g %a' .; cat f"),
            format!("{is}\n1\n"),
            "{tar}"
        );
    }
}

//! Gigabytes go into a bucket and come back, through encryption, in little memory.

use std::io::{Read as _, Write as _};

use rehome::backup::seal::{Encrypting, Keys, Sealer, Sealing, unseal};
use rehome::backup::store::Store as _;

use crate::sealing::keys;
use crate::support::{Bucket, full, in_a_process, noise, path};

/// Whatever is streamed, and with everything else that a process has.
const LIMIT: u64 = 300 << 20;
const PIECE: usize = 1 << 20;

/// The most memory that this process ever had.
pub fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn round_trip() {
    let pieces: u64 = if full() { 10 << 10 } else { 512 };
    let dir = tempfile::tempdir().unwrap();
    let bucket = Bucket::on("SEAWEEDFS");
    let store = bucket.open("kms");
    let sealing = Sealing {
        level: 3,
        encryption: Encrypting::Recipients(vec![keys(dir.path())]),
    };
    let mut sealer = Sealer::new(store.put(&path("1/large.zst.age")).unwrap(), &sealing).unwrap();
    for piece in 0..pieces {
        sealer.write_all(&noise(piece, PIECE)).unwrap();
    }
    let (sealed, upload) = sealer.finish().unwrap();
    upload.finish().unwrap();
    let keys = Keys::none().with_file(&dir.path().join("key")).unwrap();
    let stored = store.get(&path("1/large.zst.age")).unwrap().unwrap();
    let mut plain = unseal(stored, &sealed, &keys).unwrap();
    let mut found = vec![0; PIECE];
    for piece in 0..pieces {
        plain.read_exact(&mut found).unwrap();
        assert!(found == noise(piece, PIECE), "piece {piece}");
    }
    assert_eq!(plain.read(&mut found).unwrap(), 0);
    let peak = peak();
    assert!(peak < LIMIT, "{} MiB of memory", peak >> 20);
}

#[test]
fn gigabytes_take_little() {
    // A process of its own: memory is counted for all of one.
    if in_a_process("memory::gigabytes_take_little", &[]).is_none() {
        round_trip();
    }
}

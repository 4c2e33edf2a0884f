//! Stored entries that were damaged: each is refused, or what comes out is what went in, to the last byte.
//!
//! Every day some hundred, with `REHOME_CAMPAIGN=full` ten thousand. The seed is said when one gets through.

use std::io::Write as _;
use std::iter::once;

use rehome::backup::format::Sealed;
use rehome::backup::seal::{Encrypting, Keys};
use rehome::model::Secret;

use crate::sealing::{contents, judged, keys, open, seal};
use crate::support::full;

/// A small generator of numbers: the same for the same seed.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// A place in so many bytes: often near the beginning or the end, where formats have their words.
    fn place(&mut self, bytes: usize) -> usize {
        match self.below(3) {
            0 => self.below(bytes.min(300)),
            1 => bytes - 1 - self.below(bytes.min(300)),
            _ => self.below(bytes),
        }
    }
}

struct Case {
    what: String,
    plain: Vec<u8>,
    sealed: Sealed,
    stored: Vec<u8>,
}

/// With a passphrase as the age library writes it when little work is asked for: real work, ten thousand times, takes hours.
fn with_passphrase(plain: &[u8], passphrase: &str) -> (Sealed, Vec<u8>) {
    let (_, inner) = seal(plain, Encrypting::None, 3);
    let mut recipient = age::scrypt::Recipient::new(passphrase.to_owned().into());
    recipient.set_work_factor(1);
    let age = age::Encryptor::with_recipients(once(&recipient as _)).unwrap();
    let mut to = age.wrap_output(Vec::new()).unwrap();
    to.write_all(&inner).unwrap();
    let stored = to.finish().unwrap();
    (judged(plain, &stored), stored)
}

fn cases(dir: &std::path::Path) -> (Vec<Case>, Keys) {
    let recipient = keys(dir);
    let mut all = Vec::new();
    for (i, plain) in contents().into_iter().enumerate() {
        let recipients = Encrypting::Recipients(vec![recipient.clone()]);
        for (kind, (sealed, stored)) in [
            ("nothing", seal(&plain, Encrypting::None, 3)),
            ("recipients", seal(&plain, recipients, 3)),
            ("a passphrase", with_passphrase(&plain, "horse")),
        ] {
            let what = format!("content {i} with {kind}");
            let plain = plain.clone();
            all.push(Case {
                what,
                plain,
                sealed,
                stored,
            });
        }
    }
    let keys = Keys::none().with_file(&dir.join("key")).unwrap();
    (all, keys.with_passphrase(Secret::new("horse")))
}

/// Damages an entry; what was done to it.
fn damage(chance: &mut Chance, stored: &mut Vec<u8>, others: &[Case]) -> &'static str {
    let at = chance.place(stored.len());
    match chance.below(10) {
        0..3 => {
            stored[at] ^= 1 << chance.below(8);
            "a bit flipped"
        }
        3 => {
            stored.truncate(at);
            "truncated"
        }
        4 => {
            let more = 1 + chance.below(200);
            stored.extend((0..more).map(|_| chance.next() as u8));
            "appended"
        }
        5 => {
            *stored = others[chance.below(others.len())].stored.clone();
            "swapped with another entry"
        }
        6 => {
            let end = stored.len().min(at + 1 + chance.below(5000));
            stored.drain(at..end);
            "a piece missing"
        }
        7 => {
            let end = stored.len().min(at + 1 + chance.below(5000));
            stored[at..end].fill(0);
            "zeroes"
        }
        8 => {
            let copy = stored.clone();
            stored.extend(copy);
            "twice"
        }
        _ => {
            let other = chance.place(stored.len());
            let piece = 1 + chance.below(500).min(stored.len() - at.max(other) - 1);
            for n in 0..piece {
                stored.swap(at + n, other + n);
            }
            "two pieces swapped"
        }
    }
}

#[test]
fn nothing_damaged_gets_through() {
    let dir = tempfile::tempdir().unwrap();
    let (cases, keys) = cases(dir.path());
    for case in &cases {
        assert!(
            open(&case.stored, &case.sealed, &keys).unwrap() == case.plain,
            "{}",
            case.what
        );
    }
    let wanted = if full() { 10_000 } else { 300 };
    let seed = u64::from(std::process::id()) << 32
        | u64::from(jiff::Timestamp::now().subsec_nanosecond().unsigned_abs());
    let mut chance = Chance(seed);
    let (mut refused, mut inner) = (0, 0);
    while refused < wanted {
        let case = &cases[chance.below(cases.len())];
        let mut stored = case.stored.clone();
        let how = damage(&mut chance, &mut stored, &cases);
        if stored == case.stored {
            continue;
        }
        let told = open(&stored, &case.sealed, &keys);
        assert!(told.is_err(), "seed {seed}: {}, {how}: it was read", case.what);
        refused += 1;
        // And where the hashes of what is stored are made to fit: the layers within have to notice by themselves.
        let fitting = judged(&case.plain, &stored);
        match open(&stored, &fitting, &keys) {
            Err(_) => inner += 1,
            Ok(plain) => assert!(
                plain == case.plain,
                "seed {seed}: {}, {how}: other bytes",
                case.what
            ),
        }
    }
    assert!(
        inner > wanted * 9 / 10,
        "only {inner} of {wanted} were noticed within"
    );
}

#[test]
fn an_end_is_never_given_after_an_error() {
    use std::io::Read as _;
    let plain = crate::support::noise(60, 400_000);
    let (sealed, mut stored) = seal(&plain, Encrypting::None, 3);
    stored.push(0);
    let mut from =
        rehome::backup::seal::unseal(Box::new(std::io::Cursor::new(stored)), &sealed, &Keys::none()).unwrap();
    assert!(from.read_to_end(&mut Vec::new()).is_err());
    for _ in 0..3 {
        assert!(from.read(&mut [0; 10]).is_err());
    }
}

#[test]
fn a_small_file_cannot_become_a_large_one() {
    // 256 MB of zeroes in some kilobytes, said to be ten bytes.
    let (mut sealed, stored) = seal(&vec![0; 256 << 20], Encrypting::None, 3);
    sealed.bytes = 10;
    let mut from =
        rehome::backup::seal::unseal(Box::new(std::io::Cursor::new(stored)), &sealed, &Keys::none()).unwrap();
    let mut got = Vec::new();
    let failure = std::io::Read::read_to_end(&mut from, &mut got).unwrap_err();
    assert!(got.len() < 1 << 20, "{} bytes came out", got.len());
    assert!(failure.to_string().contains("more than 10 bytes"), "{failure}");
}

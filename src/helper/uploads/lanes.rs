//! MD5 of many messages side by side. One message by itself is a chain in which every operation waits for the last one; a
//! processor with AVX2 works on sixteen such chains in less than the time of four. Other processors take one after the other.
//!
//! MD5 is no protection against anybody here: it is what storages say of what they got (`Content-MD5`, `ETag`). Its rules:
//! <https://www.rfc-editor.org/rfc/rfc1321>.

use crate::s3::{Md5Sum, md5};

/// So many messages go side by side.
pub(super) const LANES: usize = 16;
/// MD5 works on blocks of so many bytes.
const BLOCK: usize = 64;
/// Of so many messages the way side by side is the shorter one.
const WORTH: usize = 4;
/// What a message begins with: RFC 1321, 3.3.
const BEGINNING: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Messages that go side by side, each in a lane of its own.
pub(super) struct Lanes {
    wide: wide::Wide,
    /// The four words of the state, each of all lanes.
    state: [[u32; LANES]; 4],
}

impl Lanes {
    /// `None` where the processor cannot, or where so few messages are quicker one after the other.
    pub fn of(messages: usize) -> Option<Self> {
        let wide = (messages >= WORTH).then(wide::Wide::new).flatten()?;
        Some(Self {
            wide,
            state: BEGINNING.map(|word| [word; LANES]),
        })
    }

    /// Goes on with each message by its blocks: all pieces are as long as each other, and of whole blocks.
    pub fn update(&mut self, pieces: &[&[u8]; LANES]) {
        self.wide.blocks(&mut self.state, pieces);
    }

    /// A new message begins in a lane.
    fn begin(&mut self, lane: usize) {
        for (words, word) in self.state.iter_mut().zip(BEGINNING) {
            words[lane] = word;
        }
    }

    /// What came out in a lane, once its tail went through.
    fn sum(&self, lane: usize) -> Md5Sum {
        let mut sum = [0; 16];
        for (bytes, words) in sum.chunks_exact_mut(4).zip(&self.state) {
            bytes.copy_from_slice(&words[lane].to_le_bytes());
        }
        sum
    }

    /// The sums of messages that were all as long, and of whole blocks.
    pub fn finish(mut self, bytes: u64) -> [Md5Sum; LANES] {
        let tail = Tail::of(&[], bytes);
        self.update(&[tail.blocks(); LANES]);
        std::array::from_fn(|lane| self.sum(lane))
    }
}

/// What follows the last whole block: the rest of the message, a mark, zeros, and its length in bits. RFC 1321, 3.1 and 3.2.
struct Tail {
    bytes: [u8; 2 * BLOCK],
    length: usize,
}

impl Tail {
    fn of(rest: &[u8], length: u64) -> Self {
        let mut bytes = [0; 2 * BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        bytes[rest.len()] = 0x80;
        let end = if rest.len() < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        bytes[end - 8..end].copy_from_slice(&length.wrapping_mul(8).to_le_bytes());
        Self { bytes, length: end }
    }

    fn blocks(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The sums of messages of any length, in their order.
pub(super) fn sums(messages: &[&[u8]]) -> Vec<Md5Sum> {
    let Some(mut lanes) = Lanes::of(messages.len()) else {
        return messages.iter().map(|message| md5(message)).collect();
    };
    let tails: Vec<Tail> = messages
        .iter()
        .map(|message| Tail::of(message.chunks_exact(BLOCK).remainder(), message.len() as u64))
        .collect();
    let mut sums = vec![[0; 16]; messages.len()];
    let mut waiting = 0..messages.len();
    // Which message is in each lane, what of it comes next, and whether that is its tail.
    let mut under_way: [Option<(usize, &[u8], bool)>; LANES] = [None; LANES];
    loop {
        for (lane, turn) in under_way.iter_mut().enumerate() {
            while turn.is_none_or(|(_, next, _)| next.is_empty()) {
                *turn = match *turn {
                    Some((message, _, false)) => Some((message, tails[message].blocks(), true)),
                    done => {
                        if let Some((message, ..)) = done {
                            sums[message] = lanes.sum(lane);
                        }
                        let Some(message) = waiting.next() else {
                            *turn = None;
                            break;
                        };
                        lanes.begin(lane);
                        let body = messages[message];
                        Some((message, &body[..body.len() - body.len() % BLOCK], false))
                    }
                };
            }
        }
        let busy = || under_way.iter().flatten().map(|(_, next, _)| *next);
        // A lane without a message goes along with the shortest, and nobody asks what comes out of it.
        let Some(shortest) = busy().min_by_key(|next| next.len()) else {
            return sums;
        };
        let length = shortest.len();
        lanes.update(&under_way.map(|turn| turn.map_or(shortest, |(_, next, _)| &next[..length])));
        for (_, next, _) in under_way.iter_mut().flatten() {
            *next = &next[length..];
        }
    }
}

/// With the vectors of AVX2.
#[cfg(target_arch = "x86_64")]
mod wide {
    use pulp::x86::V3;
    use pulp::{NullaryFnOnce, cast, u32x8};

    use super::{BLOCK, LANES};

    /// A vector has eight lanes.
    const VECTORS: usize = LANES / 8;
    type Word = [u32x8; VECTORS];

    /// `floor(2^32 * abs(sin(n + 1)))`: RFC 1321, 3.4.
    #[rustfmt::skip]
    const SINES: [u32; 64] = [
        0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
        0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
        0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
        0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
        0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
        0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
        0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
        0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
    ];

    /// A processor that can.
    pub(super) struct Wide(V3);

    impl Wide {
        pub fn new() -> Option<Self> {
            V3::try_new().map(Self)
        }

        pub fn blocks(&self, state: &mut [[u32; LANES]; 4], pieces: &[&[u8]; LANES]) {
            self.0.vectorize(Blocks {
                v: self.0,
                state,
                pieces,
            });
        }
    }

    struct Blocks<'a, 'b> {
        v: V3,
        state: &'a mut [[u32; LANES]; 4],
        pieces: &'a [&'b [u8]; LANES],
    }

    #[inline(always)]
    fn load(words: &[u32; LANES]) -> Word {
        let [low, high]: [[u32; 8]; VECTORS] = cast(*words);
        [cast(low), cast(high)]
    }

    #[inline(always)]
    fn store(word: Word) -> [u32; LANES] {
        let vectors: [[u32; 8]; VECTORS] = [cast(word[0]), cast(word[1])];
        cast(vectors)
    }

    /// One of the sixteen operations of a round, which turns its sum by `LEFT` bits.
    #[inline(always)]
    fn step<const ROUND: usize, const LEFT: i32, const RIGHT: i32>(
        v: V3,
        sine: usize,
        [a, b, c, d]: [Word; 4],
        message: Word,
    ) -> Word {
        let sine = v.splat_u32x8(SINES[sine]);
        let mut out = a;
        for n in 0..VECTORS {
            let (b, c, d) = (b[n], c[n], d[n]);
            let mixed = match ROUND {
                0 => v.xor_u32x8(d, v.and_u32x8(b, v.xor_u32x8(c, d))),
                1 => v.xor_u32x8(c, v.and_u32x8(d, v.xor_u32x8(b, c))),
                2 => v.xor_u32x8(b, v.xor_u32x8(c, d)),
                _ => v.xor_u32x8(c, v.or_u32x8(b, v.not_u32x8(d))),
            };
            let sum = v.wrapping_add_u32x8(
                v.wrapping_add_u32x8(a[n], mixed),
                v.wrapping_add_u32x8(sine, message[n]),
            );
            let turned = v.or_u32x8(v.shl_const_u32x8::<LEFT>(sum), v.shr_const_u32x8::<RIGHT>(sum));
            out[n] = v.wrapping_add_u32x8(turned, b);
        }
        out
    }

    impl NullaryFnOnce for Blocks<'_, '_> {
        type Output = ();

        // All of it has to be compiled into the function that may use AVX2: so nothing here is a call.
        #[inline(always)]
        fn call(self) {
            let Self { v, state, pieces } = self;
            let mut words = state.map(|word| load(&word));
            for at in (0..pieces[0].len()).step_by(BLOCK) {
                let mut message = [[0; LANES]; 16];
                for (lane, piece) in pieces.iter().enumerate() {
                    for (word, bytes) in message.iter_mut().zip(piece[at..at + BLOCK].chunks_exact(4)) {
                        word[lane] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    }
                }
                let [mut a, mut b, mut c, mut d] = words;
                macro_rules! round {
                    ($round:literal, $stride:literal, $first:literal, [$s0:literal, $s1:literal, $s2:literal, $s3:literal]) => {
                        for n in (0..16).step_by(4) {
                            let word = |n: usize| load(&message[($stride * n + $first) % 16]);
                            let sine = 16 * $round + n;
                            a = step::<$round, $s0, { 32 - $s0 }>(v, sine, [a, b, c, d], word(n));
                            d = step::<$round, $s1, { 32 - $s1 }>(v, sine + 1, [d, a, b, c], word(n + 1));
                            c = step::<$round, $s2, { 32 - $s2 }>(v, sine + 2, [c, d, a, b], word(n + 2));
                            b = step::<$round, $s3, { 32 - $s3 }>(v, sine + 3, [b, c, d, a], word(n + 3));
                        }
                    };
                }
                round!(0, 1, 0, [7, 12, 17, 22]);
                round!(1, 5, 1, [5, 9, 14, 20]);
                round!(2, 3, 5, [4, 11, 16, 23]);
                round!(3, 7, 0, [6, 10, 15, 21]);
                for (word, more) in words.iter_mut().zip([a, b, c, d]) {
                    for (vector, more) in word.iter_mut().zip(more) {
                        *vector = v.wrapping_add_u32x8(*vector, more);
                    }
                }
            }
            *state = words.map(store);
        }
    }
}

/// Other processors take one message after the other.
#[cfg(not(target_arch = "x86_64"))]
mod wide {
    use super::LANES;

    pub(super) enum Wide {}

    impl Wide {
        pub fn new() -> Option<Self> {
            None
        }

        pub fn blocks(&self, _: &mut [[u32; LANES]; 4], _: &[&[u8]; LANES]) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that repeat themselves nowhere near.
    fn bytes(length: usize, seed: u8) -> Vec<u8> {
        let mut out = vec![0; length];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    fn hex(sum: &Md5Sum) -> String {
        sum.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// RFC 1321, A.5.
    #[test]
    fn the_sums_of_the_rfc_come_out() {
        let digits = "12345678901234567890123456789012345678901234567890123456789012345678901234567890";
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let messages = [
            "",
            "a",
            "abc",
            "message digest",
            "abcdefghijklmnopqrstuvwxyz",
            letters,
            digits,
        ];
        let found = sums(&messages.map(str::as_bytes));
        assert_eq!(
            found.iter().map(hex).collect::<Vec<_>>(),
            [
                "d41d8cd98f00b204e9800998ecf8427e",
                "0cc175b9c0f1b6a831c399e269772661",
                "900150983cd24fb0d6963f7d28e17f72",
                "f96b697d7cb7938d525a2f31aaf161d0",
                "c3fcd3d76192e4007dfb496cca67e13b",
                "d174ab98d277d9f5a5611c2c9f419d9f",
                "57edf4a22be3c955ac49da2e2107b67a",
            ]
        );
    }

    #[test]
    fn messages_of_any_number_and_length_are_those_of_the_crate() {
        for count in [0, 1, 3, 4, 5, 15, 16, 17, 40] {
            let messages: Vec<Vec<u8>> = (0..count)
                .map(|n| {
                    bytes(
                        [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 70_000][(n * 7 + count) % 12],
                        n as u8,
                    )
                })
                .collect();
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let wanted: Vec<Md5Sum> = messages.iter().map(|message| md5(message)).collect();
            assert_eq!(sums(&messages), wanted, "{count}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_message_can_come_in_pieces() {
        let messages: [Vec<u8>; LANES] = std::array::from_fn(|n| bytes(10 * BLOCK, n as u8));
        let mut lanes = Lanes::of(LANES).expect("a processor with AVX2");
        for (from, to) in [(0, 1), (1, 4), (4, 10)] {
            let piece = |n: usize| &messages[n][from * BLOCK..to * BLOCK];
            lanes.update(&std::array::from_fn(piece));
        }
        let wanted: [Md5Sum; LANES] = std::array::from_fn(|n| md5(&messages[n]));
        assert_eq!(lanes.finish(10 * BLOCK as u64), wanted);
    }
}

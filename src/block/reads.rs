//! Which places of a device are read before it is called empty. Pure.
//!
//! Not everything: a volume of a terabyte would take hours. Every file system, table and label that is in use begins or
//! ends with something in the first or last 16 MiB; what is left when those were wiped is looked for where it must be;
//! and what has no form at all (raw data, an encrypted disk) is met by samples.

use std::ops::Range;

/// Reads are of this size and at its multiples: the largest sector of a disk.
pub const PAGE: u64 = 4096;
/// At both ends: MBR, GPT and its backup, LUKS (two headers within the first 16 MiB), LVM, mdraid (0.90 and 1.0 at the
/// end), ZFS (two labels of 256 KiB at either end), swap, and the first superblock of every file system.
const ENDS: u64 = 16 << 20;
/// Spread evenly: data that covers a thousandth of the device is missed with a probability of e⁻⁴, a hundredth never.
const SAMPLES: u64 = 4096;

/// The places to read, in order, apart from each other, within the device.
#[must_use]
pub fn planned(size: u64, full: bool) -> Vec<Range<u64>> {
    if full {
        return merged(std::iter::once(0..size).collect(), size);
    }
    let mut places = vec![0..ENDS, size.saturating_sub(ENDS)..size];
    places.extend(
        ext4_backups(size)
            .into_iter()
            .chain(btrfs_mirrors())
            .chain(xfs_groups(size))
            .chain(samples(size))
            .map(|at| at..at.saturating_add(PAGE)),
    );
    merged(places, size)
}

/// The sum of the places' lengths.
#[must_use]
pub fn total(places: &[Range<u64>]) -> u64 {
    places.iter().map(|place| place.end - place.start).sum()
}

/// Rounded to pages, cut at the device's end, joined where they meet.
fn merged(mut places: Vec<Range<u64>>, size: u64) -> Vec<Range<u64>> {
    places.sort_by_key(|place| place.start);
    let mut found: Vec<Range<u64>> = Vec::new();
    for place in places {
        let start = place.start / PAGE * PAGE;
        let end = place
            .end
            .checked_next_multiple_of(PAGE)
            .unwrap_or(u64::MAX)
            .min(size);
        if start >= end {
            continue;
        }
        match found.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => found.push(start..end),
        }
    }
    found
}

/// Where ext2, 3 and 4 keep copies of the superblock: at the start of the groups 1 and the powers of 3, 5 and 7
/// (`sparse_super`), a group having eight times as many blocks as a block has bytes. With `sparse_super2` it is group 1
/// and the last. <https://docs.kernel.org/filesystems/ext4/overview.html#block-groups>
fn ext4_backups(size: u64) -> Vec<u64> {
    let mut found = Vec::new();
    for block in [1024, 2048, 4096_u64] {
        let first = u64::from(block == 1024);
        let in_group = 8 * block;
        let groups = (size / block).saturating_sub(first).div_ceil(in_group);
        let mut numbers = vec![1, groups.saturating_sub(1)];
        for base in [3_u64, 5, 7] {
            let powers = std::iter::successors(Some(base), |power| power.checked_mul(base));
            numbers.extend(powers.take_while(|power| *power < groups));
        }
        found.extend(
            numbers
                .into_iter()
                .filter(|number| *number < groups)
                .map(|number| (number * in_group + first) * block),
        );
    }
    found
}

/// <https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html#superblock>
fn btrfs_mirrors() -> [u64; 4] {
    [64 << 10, 64 << 20, 256 << 30, 1 << 50]
}

/// Where allocation groups of XFS begin, with a superblock each, as mkfs.xfs divides a device in blocks of 4 KiB: into
/// 1 to 32 groups by its size and kind, or into groups of a terabyte (one block less). What a stripe unit moved is left
/// to the samples. <https://git.kernel.org/pub/scm/fs/xfs/xfsprogs-dev.git/tree/libxfs/topology.c>
fn xfs_groups(size: u64) -> Vec<u64> {
    const BLOCK: u64 = 4096;
    const LARGEST: u64 = (1 << 40) / BLOCK;
    let blocks = size / BLOCK;
    let mut lengths = vec![LARGEST, LARGEST - 1];
    for count in [1, 2, 4, 8, 16, 32_u64] {
        lengths.extend([blocks / count, blocks.div_ceil(count)]);
    }
    let mut found = Vec::new();
    for length in lengths.into_iter().filter(|length| *length > 0) {
        let groups = blocks / length;
        // Groups below that are no groups: of a terabyte there are as many as the device has, of others at most 32.
        let most = if length >= LARGEST - 1 {
            groups
        } else {
            groups.min(32)
        };
        found.extend((0..=most).map(|number| number * length * BLOCK));
    }
    found
}

/// One page at a random place of each of 4,096 equal parts: random within the part, so that nothing that repeats at a
/// round distance is missed every time; from a seed that is the size, so that a second look reads the same places and
/// can be compared with the first. Nobody hides data here, so the places need not be secret.
fn samples(size: u64) -> impl Iterator<Item = u64> {
    let part = size / SAMPLES;
    let mut random = SplitMix(size);
    (0..SAMPLES).map(move |number| {
        let within = random.next() % part.saturating_sub(PAGE).max(1);
        number * part + within
    })
}

/// <https://prng.di.unimi.it/splitmix64.c>
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covers(places: &[Range<u64>], at: u64) -> bool {
        places.iter().any(|place| place.contains(&at))
    }

    proptest! {
        #[test]
        fn the_places_are_in_order_within_the_device_and_on_pages(size in 1_u64..(100 << 40)) {
            let size = size / 512 * 512;
            let places = planned(size, false);
            for pair in places.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
            for place in &places {
                prop_assert!(place.start < place.end && place.end <= size);
                prop_assert!(place.start % PAGE == 0 && (place.end % PAGE == 0 || place.end == size));
            }
            // Bounded, however large the device is.
            prop_assert!(total(&places) <= 2 * ENDS + 9000 * PAGE, "{}", total(&places));
            prop_assert_eq!(total(&planned(size, true)), size);
        }

        #[test]
        fn both_ends_and_every_four_thousandth_part_are_read(size in (64_u64 << 20)..(100 << 40), at in 0_u64..4096) {
            let size = size / 512 * 512;
            let places = planned(size, false);
            prop_assert!(covers(&places, 0) && covers(&places, ENDS - 1));
            prop_assert!(covers(&places, size - 1) && covers(&places, size - ENDS));
            let part = size / SAMPLES;
            let (from, to) = (at * part, (at + 1) * part);
            prop_assert!(places.iter().any(|place| place.start < to && place.end > from));
        }

        #[test]
        fn a_hundredth_of_the_device_is_never_missed(size in (64_u64 << 20)..(100 << 40), at in 0_u64..99) {
            let hundredth = size / 100;
            let data = at * hundredth..(at + 1) * hundredth;
            let whole = planned(size / 512 * 512, false)
                .iter()
                .any(|place| place.start < data.end && place.end > data.start);
            prop_assert!(whole);
        }
    }

    #[test]
    fn a_device_smaller_than_both_ends_is_read_whole() {
        for size in [512, 4096, 1 << 20, 20 << 20, 32 << 20] {
            assert_eq!(planned(size, false), vec![0..size]);
        }
        assert!(planned(0, false).is_empty());
    }
}

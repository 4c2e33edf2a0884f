//! How large a block volume to buy: from what the volumes hold, or from how many records there will be. Arithmetic with
//! its reasons; nothing is measured here.

use serde::Serialize;

use crate::model::{ByteSize, Failure, Result};

/// Clouds sell volumes by the GiB and call it GB.
const GIB: u64 = 1 << 30;
/// Sizes that people buy, in GiB. Each cloud sells every one between, too.
const OFFERED: [u64; 14] = [
    10, 25, 50, 100, 150, 250, 500, 750, 1000, 1500, 2000, 4000, 8000, 16_000,
];
/// What services can write of a hundred bytes of a volume: ext4 keeps 5 for root, and some 2 for its tables and journal.
/// <https://man7.org/linux/man-pages/man8/mke2fs.8.html>, `-m`
const USABLE_PERCENT: u64 = 93;
/// mke2fs makes one inode for so many bytes, and no more later. <https://man7.org/linux/man-pages/man5/mke2fs.conf.5.html>
const BYTES_PER_INODE: u64 = 16 << 10;
/// PostgreSQL's log may grow beyond `max_wal_size` (1 GB, unless it is set) under load: twice that is kept free.
/// <https://www.postgresql.org/docs/current/wal-configuration.html>
const WAL: u64 = 2 * GIB;
/// Of what is not counted in records: static files, thumbnails, temporary and log files, an empty database.
const EVERYTHING_ELSE: u64 = 8_000_000_000;
/// Growth that is planned for when nothing is known of it.
pub const GROWTH_PERCENT: u32 = 25;
/// A rate is told from measurements that lie at least so far apart: a day has a night.
const SHORTEST: i64 = 24 * 60 * 60;
/// Recommended is a volume that lasts so long at the measured rate.
const DAYS_AHEAD: u64 = 365;

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What it is called.
    pub name: String,
    /// Bytes that it occupies on its disk.
    pub allocated: u64,
    /// Files, directories and everything else that has an inode.
    pub entries: u64,
    /// Whether a PostgreSQL writes its log there.
    pub has_wal: bool,
}

/// What the volumes held together at an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Records to come: each has files and a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records {
    /// How many.
    pub number: u64,
    /// Bytes of files that belong to one.
    pub files: ByteSize,
    /// Bytes in the database that belong to one.
    pub row: ByteSize,
}

/// Something that needs room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What.
    pub what: String,
    /// Bytes.
    pub bytes: u64,
}

/// A volume that can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Its size as clouds name it: GiB, called GB.
    pub gb: u64,
    /// Bytes of it that services can write.
    pub usable: u64,
    /// Whether everything fits.
    pub enough: bool,
    /// How many records fit, if it is about records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// After how many days it is full, if it is known how fast the data grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_in_days: Option<u64>,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sizing {
    /// What needs room, and how much.
    pub parts: Vec<Part>,
    /// All of it, in bytes that services write.
    pub bytes: u64,
    /// The volume to buy, as clouds name it; `None` if none is large enough.
    pub recommended_gb: Option<u64>,
    /// That one and its neighbours.
    pub offers: Vec<Offer>,
    /// Inodes that are needed, where files were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Bytes a day, if there are measurements far enough apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grows_a_day: Option<u64>,
}

/// From what the volumes hold now. `growth` is in percent; what was measured earlier counts where it means more.
#[must_use]
pub fn measured(held: &[Held], growth: u32, earlier: Option<Earlier>, now: i64) -> Sizing {
    let data: u64 = held.iter().map(|held| held.allocated).sum();
    let entries: u64 = held.iter().map(|held| held.entries).sum();
    let rate = earlier.and_then(|earlier| a_day(earlier, data, now));
    let by_percent = percent(data, growth);
    let by_rate = rate.map_or(0, |rate| rate.saturating_mul(DAYS_AHEAD));
    let mut parts: Vec<Part> = held
        .iter()
        .map(|held| part(held.name.clone(), held.allocated))
        .collect();
    parts.push(if by_rate > by_percent {
        part(format!("growth of {DAYS_AHEAD} days as measured"), by_rate)
    } else {
        part(format!("growth of {growth} %"), by_percent)
    });
    let servers = held.iter().filter(|held| held.has_wal).count() as u64;
    if servers > 0 {
        parts.push(part("PostgreSQL's log", servers * WAL));
    }
    // A dump, a restore beside the data, the next move.
    parts.push(part("one full copy", data));
    let inodes = entries
        .saturating_add(percent(entries, growth))
        .saturating_add(entries);
    let fits = |offer: u64| offer * GIB / BYTES_PER_INODE >= inodes;
    let mut sizing = sizing(
        parts,
        fits,
        |_| None,
        |usable| {
            let rate = rate.filter(|rate| *rate > 0)?;
            Some(usable.saturating_sub(data) / rate)
        },
    );
    sizing.inodes = Some(inodes);
    sizing.grows_a_day = rate;
    sizing
}

/// From how many records there will be.
///
/// # Errors
/// When the numbers are larger than any disk.
pub fn planned(records: Records, growth: u32) -> Result<Sizing> {
    let too_much = || Failure::usage("that is more than any volume holds");
    let times = |bytes: u64| {
        records
            .number
            .checked_mul(bytes)
            .filter(|all| *all < u64::MAX / 1000)
    };
    let files = times(records.files.0).ok_or_else(too_much)?;
    let rows = times(records.row.0).ok_or_else(too_much)?;
    let mut parts = vec![
        part("files", files),
        part("database", rows),
        part(format!("growth of {growth} %"), percent(files + rows, growth)),
    ];
    if rows > 0 {
        parts.push(part("PostgreSQL's log", WAL));
        parts.push(part("one dump of the database", rows));
    }
    parts.push(part("everything else", EVERYTHING_ELSE));
    let fixed = EVERYTHING_ELSE + if rows > 0 { WAL } else { 0 };
    let one = records.files.0 + records.row.0;
    let each = one
        .saturating_add(percent(one, growth))
        .saturating_add(records.row.0);
    let hold = |usable: u64| usable.saturating_sub(fixed).checked_div(each);
    Ok(sizing(parts, |_| true, hold, |_| None))
}

fn part(what: impl Into<String>, bytes: u64) -> Part {
    Part {
        what: what.into(),
        bytes,
    }
}

fn percent(bytes: u64, percent: u32) -> u64 {
    (u128::from(bytes) * u128::from(percent) / 100) as u64
}

/// Bytes a day since then; what shrank does not grow.
pub(super) fn a_day(earlier: Earlier, bytes: u64, now: i64) -> Option<u64> {
    let seconds = now - earlier.at;
    if seconds < SHORTEST {
        return None;
    }
    let more = u128::from(bytes.saturating_sub(earlier.bytes));
    u64::try_from(more * 86_400 / seconds.unsigned_abs() as u128).ok()
}

/// The table: the smallest volume that is enough, with one smaller and two larger ones.
fn sizing(
    parts: Vec<Part>,
    fits: impl Fn(u64) -> bool,
    records: impl Fn(u64) -> Option<u64>,
    full_in_days: impl Fn(u64) -> Option<u64>,
) -> Sizing {
    let bytes = parts
        .iter()
        .fold(0_u64, |all, part| all.saturating_add(part.bytes));
    let usable = |gb: u64| gb * GIB / 100 * USABLE_PERCENT;
    let best = OFFERED.iter().position(|gb| usable(*gb) >= bytes && fits(*gb));
    let around = best.unwrap_or(OFFERED.len());
    let offers = OFFERED
        .iter()
        .enumerate()
        .skip(around.saturating_sub(1))
        .take(if around == 0 { 3 } else { 4 })
        .map(|(at, gb)| Offer {
            gb: *gb,
            usable: usable(*gb),
            enough: best.is_some_and(|best| at >= best),
            records: records(usable(*gb)),
            full_in_days: full_in_days(usable(*gb)),
        })
        .collect();
    Sizing {
        parts,
        bytes,
        recommended_gb: best.map(|best| OFFERED[best]),
        offers,
        inodes: None,
        grows_a_day: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(number: u64) -> Records {
        Records {
            number,
            files: ByteSize(6_000_000),
            row: ByteSize(150_000),
        }
    }

    #[test]
    fn the_guides_table_comes_out() {
        for (number, gb) in [(1_000, 25), (2_000, 50), (5_000, 50), (5_500, 100), (10_000, 100)] {
            let sizing = planned(records(number), GROWTH_PERCENT).unwrap();
            assert_eq!(sizing.recommended_gb, Some(gb), "{number} records");
            // What the table says of a volume is what fits into it, and not one more.
            for offer in &sizing.offers {
                let number = offer.records.unwrap();
                let bytes = |number| planned(records(number), GROWTH_PERCENT).unwrap().bytes;
                assert!(bytes(number) <= offer.usable + 10 && bytes(number + 1) + 10 > offer.usable);
            }
        }
        assert!(planned(records(u64::MAX / 2), 25).is_err());
        assert_eq!(planned(records(100_000_000), 25).unwrap().recommended_gb, None);
    }

    fn held(name: &str, gb: u64, entries: u64, has_wal: bool) -> Held {
        Held {
            name: name.to_owned(),
            allocated: gb * 1_000_000_000,
            entries,
            has_wal,
        }
    }

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_second()
    }

    #[test]
    fn data_its_growth_the_log_and_one_copy_have_to_fit() {
        let now = at("2001-02-03T00:00:00Z");
        let all = [held("db", 4, 2_000, true), held("media", 16, 50_000, false)];
        let sizing = measured(&all, 25, None, now);
        let parts: Vec<_> = sizing
            .parts
            .iter()
            .map(|part| (&*part.what, part.bytes))
            .collect();
        assert_eq!(
            parts,
            [
                ("db", 4_000_000_000),
                ("media", 16_000_000_000),
                ("growth of 25 %", 5_000_000_000),
                ("PostgreSQL's log", 2 << 30),
                ("one full copy", 20_000_000_000),
            ]
        );
        assert_eq!(sizing.recommended_gb, Some(50));
        assert_eq!(sizing.inodes, Some(52_000 + 13_000 + 52_000));
        assert_eq!(
            sizing.offers.iter().map(|offer| offer.gb).collect::<Vec<_>>(),
            [25, 50, 100, 150]
        );
        assert!(!sizing.offers[0].enough && sizing.offers[1].enough);
    }

    #[test]
    fn a_fast_growth_counts_more_than_the_percents() {
        let all = [held("media", 20, 10, false)];
        let earlier = Earlier {
            at: at("2001-02-03T00:00:00Z"),
            bytes: 19_000_000_000,
        };
        let sizing = measured(&all, 25, Some(earlier), at("2001-02-13T00:00:00Z"));
        assert_eq!(sizing.grows_a_day, Some(100_000_000));
        assert_eq!(sizing.parts[1].bytes, 36_500_000_000);
        assert_eq!(sizing.recommended_gb, Some(100));
        assert_eq!(
            sizing.offers[1].full_in_days,
            Some((sizing.offers[1].usable - 20_000_000_000) / 100_000_000)
        );
        // An hour says nothing, and what shrinks is never full.
        let sizing = measured(&all, 25, Some(earlier), at("2001-02-03T01:00:00Z"));
        assert_eq!((sizing.grows_a_day, sizing.offers[0].full_in_days), (None, None));
        let shrunk = Earlier {
            bytes: 21_000_000_000,
            ..earlier
        };
        let sizing = measured(&all, 25, Some(shrunk), at("2001-02-13T00:00:00Z"));
        assert_eq!(
            (sizing.grows_a_day, sizing.offers[0].full_in_days),
            (Some(0), None)
        );
    }

    #[test]
    fn many_small_files_need_a_larger_volume_for_their_inodes() {
        let all = [held("thumbs", 1, 2_000_000, false)];
        let sizing = measured(&all, 25, None, at("2001-02-03T00:00:00Z"));
        assert_eq!(sizing.inodes, Some(4_500_000));
        // 50 GiB have 3.2 million.
        assert_eq!(sizing.recommended_gb, Some(100));
    }
}

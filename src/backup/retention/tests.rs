//! Which backups stay: by examples, and against a second opinion that is written in another way. With
//! `REHOME_CAMPAIGN=full` about 100,000 random histories, 2,000 otherwise.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::model::RunId;

fn id(second: i64) -> BackupId {
    BackupId::at(
        Timestamp::from_second(second).unwrap(),
        &RunId::new("7k2f00000000").unwrap(),
    )
}

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

fn good(second: i64) -> Known {
    Known {
        id: id(second),
        worth: Worth::Good,
        pinned: false,
    }
}

const NOTHING: Keep = Keep {
    last: 0,
    hourly: 0,
    daily: 0,
    weekly: 0,
    monthly: 0,
    yearly: 0,
    minimum: 0,
};

fn told(known: &[Known], keep: &Keep, now: i64) -> String {
    let line = |(id, verdict): (BackupId, Verdict)| {
        let word = if verdict.stays { "stays" } else { "goes " };
        format!("{} {word} {}\n", &id.as_str()[..13], verdict.why.join("; "))
    };
    let verdicts = decide(known, keep, Timestamp::from_second(now).unwrap());
    verdicts.into_iter().map(line).collect()
}

#[test]
fn three_weeks_of_nights() {
    let first = at("2026-01-01T02:00:00Z");
    let mut known: Vec<Known> = (0..21).map(|day| good(first + day * 86_400)).collect();
    known.push(good(first + 20 * 86_400 + 3600));
    known[3].pinned = true;
    known[9].worth = Worth::Failed;
    known[12].worth = Worth::Unreadable;
    let keep = Keep {
        daily: 3,
        weekly: 2,
        monthly: 6,
        minimum: 1,
        ..NOTHING
    };
    insta::assert_snapshot!(told(&known, &keep, first + 30 * 86_400));
}

#[test]
fn what_holds_everything() {
    let day = 86_400;
    let first = at("2026-01-01T02:00:00Z");
    let three = || vec![good(first), good(first + day), good(first + 2 * day)];
    let keep = Keep { last: 1, ..NOTHING };
    let mut cases = vec![three(), three(), three(), three()];
    cases[1][2].worth = Worth::Failed;
    cases[2][2].worth = Worth::Writing;
    cases[3][2].worth = Worth::Unreadable;
    let mut text = String::new();
    for case in &cases {
        text += &told(case, &keep, first + 3 * day);
        text += "\n";
    }
    // The clock was set back; and rules that keep nothing.
    text += &told(&three(), &keep, first + day);
    text += "\n";
    text += &told(&three(), &NOTHING, first + 3 * day);
    insta::assert_snapshot!(text);
}

/// A second opinion: no loops over the past, but sets, and a calendar of its own.
mod opinion {
    use super::*;

    /// The civil date of a day since 1970, by Howard Hinnant's algorithm.
    fn year_and_month(days: i64) -> (i64, i64) {
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        (yoe + era * 400 + i64::from(month <= 2), month)
    }

    fn period(rule: usize, second: i64) -> i64 {
        let days = second.div_euclid(86_400);
        let (year, month) = year_and_month(days);
        match rule {
            0 => second.div_euclid(3600),
            1 => days,
            // 1970 began on a Thursday.
            2 => (days + 3).div_euclid(7),
            3 => year * 12 + month,
            _ => year,
        }
    }

    fn kept_by_time(all: &BTreeSet<i64>, second: i64, keep: &Keep) -> bool {
        let newer: Vec<i64> = all.iter().copied().filter(|other| *other > second).collect();
        let is_oldest = all.first() == Some(&second);
        let counts = [keep.hourly, keep.daily, keep.weekly, keep.monthly, keep.yearly];
        let by_period = counts.iter().enumerate().any(|(rule, count)| {
            let periods: BTreeSet<i64> = newer.iter().map(|other| period(rule, *other)).collect();
            let alone = !periods.contains(&period(rule, second));
            periods.len() < *count as usize && (alone || is_oldest)
        });
        by_period || newer.len() < keep.last as usize
    }

    pub fn stays(known: &BTreeMap<i64, (Worth, bool)>, keep: &Keep, now: i64, second: i64) -> bool {
        let good: BTreeSet<i64> = known
            .iter()
            .filter(|(_, (worth, _))| *worth == Worth::Good)
            .map(|(second, _)| *second)
            .collect();
        let (worth, pinned) = known[&second];
        let newest = known
            .iter()
            .rev()
            .find(|(_, (worth, _))| *worth != Worth::Writing);
        let newer_good = good.range(second + 1..).count();
        pinned
            || matches!(worth, Worth::Writing | Worth::Unreadable)
            || newest.is_some_and(|(_, (worth, _))| *worth != Worth::Good)
            || known.last_key_value().is_some_and(|(last, _)| *last > now)
            || *keep == NOTHING
            || worth == Worth::Good
                && (newer_good == 0
                    || newer_good < keep.minimum as usize
                    || kept_by_time(&good, second, keep))
    }
}

fn keeps() -> impl Strategy<Value = Keep> {
    let n = || prop_oneof![3 => Just(0_u32), 5 => 0_u32..8, 1 => 0_u32..60];
    (n(), n(), n(), n(), n(), n(), 0_u32..5).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, minimum)| Keep {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            minimum,
        },
    )
}

/// Backups some minutes to some months apart, around a leap day and new year, mostly good.
fn histories() -> impl Strategy<Value = BTreeMap<i64, (Worth, bool)>> {
    let worth = prop_oneof![
        20 => Just(Worth::Good),
        1 => Just(Worth::Failed),
        1 => Just(Worth::Writing),
        1 => Just(Worth::Unreadable),
    ];
    let gap = prop_oneof![
        1_i64..7200,
        3600_i64..90_000,
        80_000_i64..90_000,
        86_400_i64..3_000_000,
        1_000_000_i64..40_000_000,
    ];
    let first = at("2023-12-01T00:00:00Z")..at("2024-03-02T00:00:00Z");
    let backup = (gap, worth, prop::bool::weighted(0.05));
    (first, prop::collection::vec(backup, 0..60)).prop_map(|(first, backups)| {
        let mut second = first;
        let with_time = backups.into_iter().map(|(gap, worth, pinned)| {
            second += gap;
            (second, (worth, pinned))
        });
        with_time.collect()
    })
}

#[test]
fn two_opinions_are_one() {
    let full = std::env::var("REHOME_CAMPAIGN").is_ok_and(|v| v == "full");
    let mut runner = TestRunner::new(Config::with_cases(if full { 100_000 } else { 2000 }));
    let back = prop_oneof![9 => Just(-1_i64), 1 => 0_i64..1_000_000];
    let (mut stay, mut go) = (0_u64, 0_u64);
    let totals = std::cell::RefCell::new((&mut stay, &mut go));
    runner
        .run(&(histories(), keeps(), back), |(history, keep, back)| {
            let now = history.last_key_value().map_or(0, |(last, _)| last - back);
            let known: Vec<Known> = history
                .iter()
                .map(|(second, (worth, pinned))| Known {
                    id: id(*second),
                    worth: *worth,
                    pinned: *pinned,
                })
                .collect();
            let verdicts = decide(&known, &keep, Timestamp::from_second(now).unwrap());
            prop_assert_eq!(verdicts.len(), history.len());
            for (id, verdict) in &verdicts {
                let second = id.began().as_second();
                let expected = opinion::stays(&history, &keep, now, second);
                prop_assert_eq!(verdict.stays, expected, "{}: {:?}", id, verdict);
                prop_assert!(!verdict.why.is_empty());
                let mut totals = totals.borrow_mut();
                *(if expected { &mut *totals.0 } else { &mut *totals.1 }) += 1;
            }
            // What goes once does not bring anything else to go: a second prune changes nothing.
            let left: Vec<Known> = known
                .into_iter()
                .filter(|k| verdicts.iter().any(|(id, verdict)| *id == k.id && verdict.stays))
                .collect();
            let again = decide(&left, &keep, Timestamp::from_second(now).unwrap());
            prop_assert!(again.iter().all(|(_, verdict)| verdict.stays));
            Ok(())
        })
        .unwrap();
    // The histories are such that both happens.
    assert!(stay > 1000 && go > 1000, "{stay} stayed, {go} went");
}

//! Schedules that are the same every week, as far as they can be told without asking systemd.

use std::time::Duration;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const HOUR: Duration = Duration::from_secs(3600);

/// A schedule that is the same every week: what cron can say as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weekly {
    /// The days, from Monday on.
    pub days: [bool; 7],
    /// The hour; every one if there is none.
    pub hour: Option<u8>,
    /// The minute.
    pub minute: u8,
}

impl Weekly {
    /// Reads `02:00`, `Mon..Fri 02:00`, `Sat,Sun 04:30`, `hourly`, `daily` and `weekly`. `None` for what more systemd
    /// understands.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let every = |hour| Self {
            days: [true; 7],
            hour,
            minute: 0,
        };
        match text.as_str() {
            "hourly" => return Some(every(None)),
            "daily" => return Some(every(Some(0))),
            "weekly" => {
                return Some(Self {
                    days: [true, false, false, false, false, false, false],
                    ..every(Some(0))
                });
            }
            _ => {}
        }
        let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "*-*-*").collect();
        let (days, time) = match words.as_slice() {
            [time] => ([true; 7], time),
            [names, time] => (days(names)?, time),
            _ => return None,
        };
        let parts: Vec<&str> = time.split(':').collect();
        let (hour, minute) = match parts.as_slice() {
            [hour, minute] | [hour, minute, "00"] => (*hour, *minute),
            _ => return None,
        };
        let number = |text: &str, most: u8| {
            let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u8>().ok().filter(|n| digits && *n <= most)
        };
        Some(Self {
            days,
            hour: match hour {
                "*" => None,
                hour => Some(number(hour, 23)?),
            },
            minute: number(minute, 59)?,
        })
    }

    /// The longest time between two of them.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let on: Vec<u32> = (0..14_u32).filter(|day| self.days[*day as usize % 7]).collect();
        let gap = on.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(7);
        match (self.hour, gap) {
            (None, 1) => HOUR,
            (_, gap) => HOUR * 24 * gap,
        }
    }

    /// The five fields of a line of cron, the minute moved back by so much (below 60), and the hour with it.
    #[must_use]
    pub fn cron(&self, later: u8) -> String {
        let minutes = u32::from(self.minute) + u32::from(later);
        let hour = self.hour.map(u32::from);
        // At the end of an hour it comes a little earlier instead: a day's end would be another day.
        let (hour, minute) = match (hour, minutes) {
            (Some(23), 60..) => ("23".to_owned(), 59),
            (Some(hour), _) => ((hour + minutes / 60).to_string(), minutes % 60),
            (None, _) => ("*".to_owned(), minutes % 60),
        };
        let named: Vec<&str> = (0..7)
            .filter(|day| self.days[*day])
            .map(|day| DAYS[day])
            .collect();
        let days = match named.len() {
            7 => "*".to_owned(),
            _ => named.join(","),
        };
        format!("{minute} {hour} * * {days}")
    }
}

fn days(text: &str) -> Option<[bool; 7]> {
    let place = |name: &str| {
        let short = name.get(..3)?;
        let long = [
            "monday",
            "tuesday",
            "wednesday",
            "thursday",
            "friday",
            "saturday",
            "sunday",
        ];
        let at = DAYS.iter().position(|day| *day == short)?;
        (name == short || name == long[at]).then_some(at)
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let (first, last) = (place(first)?, place(last)?);
        // `Sat..Tue` goes over the end of the week.
        for step in 0..=(last + 7 - first) % 7 {
            days[(first + step) % 7] = true;
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_every_week_is_read() {
        for (text, cron, hours) in [
            ("02:00", "0 2 * * *", 24),
            ("2:05:00", "5 2 * * *", 24),
            ("*-*-* 02:00", "0 2 * * *", 24),
            ("daily", "0 0 * * *", 24),
            ("hourly", "0 * * * *", 1),
            ("*:30", "30 * * * *", 1),
            ("weekly", "0 0 * * mon", 168),
            ("Mon..Fri 02:00", "0 2 * * mon,tue,wed,thu,fri", 72),
            ("Sat,Sunday 04:30", "30 4 * * sat,sun", 144),
            ("Sat..Tue 04:30", "30 4 * * mon,tue,sat,sun", 96),
            ("Wed 04:30", "30 4 * * wed", 168),
        ] {
            let weekly = Weekly::read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(weekly.cron(0), cron, "{text}");
            assert_eq!(weekly.interval(), HOUR * hours, "{text}");
        }
        for text in [
            "",
            "24:00",
            "02:60",
            "02",
            "*-*-1 02:00",
            "mon",
            "02:00 UTC",
            "*:0/15",
            "satur 02:00",
            "+2:00",
        ] {
            assert_eq!(Weekly::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_jitter_stays_on_its_day() {
        let cron = |text: &str, later| Weekly::read(text).unwrap().cron(later);
        assert_eq!(cron("02:00", 14), "14 2 * * *");
        assert_eq!(cron("02:50", 14), "4 3 * * *");
        assert_eq!(cron("23:50", 14), "59 23 * * *");
        assert_eq!(cron("hourly", 7), "7 * * * *");
    }
}

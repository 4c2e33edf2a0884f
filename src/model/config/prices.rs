//! What S3-compatible storage costs: a file of prices, and what a month comes to with them.

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize};

use super::read::{ConfigError, read_yaml};
use super::{line_of, scalar};
use crate::model::{BilledSize, Money};

/// The prices that Rehome comes with.
const BUILT_IN: &str = include_str!("../../../templates/s3/prices.yml");
/// The one version of the format that this Rehome reads.
const VERSION: u32 = 1;
/// More offers are no comparison.
const MOST: usize = 200;

/// A file of prices.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    version: u32,
    /// The day that they are of.
    pub date: Date,
    /// As `USD`.
    pub currency: String,
    /// What there is to choose from.
    pub offers: Vec<Offer>,
}

/// What somebody asks for storage, by the month.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// What it is called.
    pub name: String,
    /// The region that these prices are of.
    #[serde(default)]
    pub region: Option<String>,
    /// Where they were found.
    pub source: String,
    /// What else there is to know.
    #[serde(default)]
    pub note: Option<String>,
    /// What it costs in any case.
    #[serde(default, deserialize_with = "scalar::one")]
    pub monthly: Money,
    /// What is stored, a GB and month.
    pub storage: Vec<Tier>,
    /// A thousand requests that write or list.
    #[serde(default, deserialize_with = "scalar::one")]
    pub puts_per_1000: Money,
    /// A thousand requests that read.
    #[serde(default, deserialize_with = "scalar::one")]
    pub gets_per_1000: Money,
    /// What is sent out into the internet, a GB.
    pub egress: Vec<Tier>,
    /// What of that is free each month for the whole account.
    #[serde(default, deserialize_with = "some_size")]
    pub free_egress: Option<BilledSize>,
}

/// A price a GB, up to a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Up to this much; without it for all that is left.
    #[serde(default, deserialize_with = "some_size")]
    pub up_to: Option<BilledSize>,
    /// What a GB of it costs.
    #[serde(deserialize_with = "scalar::one")]
    pub price: Money,
}

fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BilledSize>, D::Error> {
    scalar::some(deserializer)
}

/// What is stored, written, read and sent in a month; `None` where nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Bytes that are stored.
    pub storage: Option<BilledSize>,
    /// Requests that write or list.
    pub puts: Option<u64>,
    /// Requests that read.
    pub gets: Option<u64>,
    /// Bytes that are sent out into the internet.
    pub egress: Option<BilledSize>,
    /// Files that are there already, each of which is uploaded once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// The requests of that: one a file, more for a large one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_puts: Option<u64>,
}

impl Usage {
    /// What a measured volume says of it: what is stored, and what the first upload is. How often files are written and
    /// read, nothing in a volume tells.
    #[must_use]
    pub fn of(storage_bytes: u64, objects: u64, first_puts: u64) -> Self {
        Self {
            storage: Some(BilledSize(storage_bytes)),
            objects: Some(objects),
            first_puts: Some(first_puts),
            ..Self::default()
        }
    }

    /// Whether nothing at all is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a month costs, and out of what that comes; `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// In any case.
    pub monthly: Money,
    /// For what is stored.
    pub storage: Option<Money>,
    /// For writing and listing.
    pub puts: Option<Money>,
    /// For reading.
    pub gets: Option<Money>,
    /// For what is sent out.
    pub egress: Option<Money>,
    /// Of all that is known.
    pub total: Money,
    /// Whether that is all.
    pub complete: bool,
    /// Once, for the upload of what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_upload: Option<Money>,
}

impl Offer {
    /// What a month costs. `free_egress` counts what of the egress is free for the account.
    #[must_use]
    pub fn cost(&self, usage: &Usage, free_egress: bool) -> Cost {
        let free = self
            .free_egress
            .filter(|_| free_egress)
            .map_or(0, |BilledSize(free)| free);
        let storage = tiered(&self.storage, usage.storage.map(|BilledSize(bytes)| bytes));
        let egress = usage.egress.map(|BilledSize(bytes)| bytes.saturating_sub(free));
        let egress = tiered(&self.egress, egress);
        let puts = requests(self.puts_per_1000, usage.puts);
        let gets = requests(self.gets_per_1000, usage.gets);
        let parts = [storage, puts, gets, egress];
        Cost {
            monthly: self.monthly,
            storage,
            puts,
            gets,
            egress,
            total: parts.into_iter().flatten().chain([self.monthly]).sum(),
            complete: parts.iter().all(Option::is_some),
            first_upload: usage
                .first_puts
                .and(requests(self.puts_per_1000, usage.first_puts)),
        }
    }
}

/// What nobody charges for need not be known.
fn requests(per_1000: Money, number: Option<u64>) -> Option<Money> {
    match number {
        Some(number) => Some(per_1000.times(number, 1_000)),
        None => (per_1000 == Money::default()).then(Money::default),
    }
}

fn tiered(tiers: &[Tier], bytes: Option<u64>) -> Option<Money> {
    let Some(bytes) = bytes else {
        let free = tiers.iter().all(|tier| tier.price == Money::default());
        return free.then(Money::default);
    };
    let mut below = 0;
    let parts = tiers.iter().map(|tier| {
        let end = tier.up_to.map_or(u64::MAX, |BilledSize(up_to)| up_to);
        let part = bytes.min(end).saturating_sub(below);
        below = end;
        tier.price.times(part, BilledSize::GB)
    });
    Some(parts.sum())
}

impl Prices {
    /// Those that Rehome comes with.
    ///
    /// # Errors
    /// Never, but the file is read like any other.
    pub fn built_in() -> Result<Self, ConfigError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a file of prices.
    ///
    /// # Errors
    /// As of rehome.yml: with the line, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let prices: Self = read_yaml(text)?;
        match prices.mistake() {
            None => Ok(prices),
            Some((keys, what)) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                Err(ConfigError {
                    line: line_of(text, &keys),
                    what: format!("{}: {what}", keys.join(".")),
                    hint: None,
                })
            }
        }
    }

    fn mistake(&self) -> Option<(Vec<String>, String)> {
        let found =
            |keys: &[&str], what: String| Some((keys.iter().map(ToString::to_string).collect(), what));
        if self.version != VERSION {
            let what = format!("{} is not known; this Rehome reads {VERSION}", self.version);
            return found(&["version"], what);
        }
        let letters = self.currency.bytes().all(|b| b.is_ascii_uppercase());
        if self.currency.len() != 3 || !letters {
            let what = format!("{:?} is no currency, as USD", self.currency);
            return found(&["currency"], what);
        }
        if !(1..=MOST).contains(&self.offers.len()) {
            return found(&["offers"], format!("there are none, or more than {MOST}"));
        }
        for (at, offer) in self.offers.iter().enumerate() {
            let place = at.to_string();
            let same = |other: &Offer| (&other.name, &other.region) == (&offer.name, &offer.region);
            if self.offers[..at].iter().any(same) {
                let what = "name and region stand there twice".to_owned();
                return found(&["offers", &place, "name"], what);
            }
            if offer.name.trim().is_empty() {
                return found(&["offers", &place, "name"], "it has none".to_owned());
            }
            if super::host(&offer.source).is_none() {
                let what = format!("{:?} is no URL with https:// or http://", offer.source);
                return found(&["offers", &place, "source"], what);
            }
            for (key, tiers) in [("storage", &offer.storage), ("egress", &offer.egress)] {
                if let Some((tier, what)) = wrong_tier(tiers) {
                    let tier = tier.map(|tier| tier.to_string());
                    let mut keys = vec!["offers", &place, key];
                    keys.extend(tier.as_deref());
                    return found(&keys, what.to_owned());
                }
            }
        }
        None
    }
}

/// Which tier is out of order, and why.
fn wrong_tier(tiers: &[Tier]) -> Option<(Option<usize>, &'static str)> {
    let Some((last, rest)) = tiers.split_last() else {
        return Some((None, "there is no price"));
    };
    if last.up_to.is_some() {
        return Some((
            Some(rest.len()),
            "the last one is for all that is left: it has no `up_to`",
        ));
    }
    let mut below = BilledSize(0);
    for (at, tier) in rest.iter().enumerate() {
        match tier.up_to {
            None => return Some((Some(at), "only the last one has no `up_to`")),
            Some(up_to) if up_to <= below => return Some((Some(at), "it ends before it begins")),
            Some(up_to) => below = up_to,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(prices: &Prices, name: &str, region: Option<&str>) -> Offer {
        let is_it = |offer: &&Offer| offer.name.starts_with(name) && offer.region.as_deref() == region;
        prices.offers.iter().find(is_it).unwrap().clone()
    }

    fn guide() -> Usage {
        Usage {
            storage: Some("50GB".parse().unwrap()),
            puts: Some(100_000),
            gets: Some(1_000_000),
            egress: Some("100GB".parse().unwrap()),
            objects: None,
            first_puts: None,
        }
    }

    fn months(offer: &Offer, storage: &str, egress: &str) -> String {
        let usage = Usage {
            storage: Some(storage.parse().unwrap()),
            puts: Some(0),
            gets: Some(0),
            egress: Some(egress.parse().unwrap()),
            objects: None,
            first_puts: None,
        };
        offer.cost(&usage, false).total.cents()
    }

    #[test]
    fn the_example_of_the_guide_comes_out_to_the_cent() {
        let aws = offer(&Prices::built_in().unwrap(), "AWS", Some("us-east-1"));
        let cost = aws.cost(&guide(), false);
        let text = |money: Option<Money>| money.unwrap().to_string();
        // 50 GB x 0.023, 100K x 0.005/1K, 1M x 0.0004/1K, 100 GB x 0.09.
        assert_eq!(text(cost.storage), "1.15");
        assert_eq!(text(cost.puts), "0.50");
        assert_eq!(text(cost.gets), "0.40");
        assert_eq!(text(cost.egress), "9.00");
        assert_eq!(cost.total.to_string(), "11.05");
        assert!(cost.complete);
        // All of this egress is free, if nothing else of the account used it up.
        assert_eq!(aws.cost(&guide(), true).total.to_string(), "2.05");
    }

    #[test]
    fn tiers_are_paid_one_after_the_other() {
        let prices = Prices::built_in().unwrap();
        let aws = offer(&prices, "AWS", Some("us-east-1"));
        // A TB is 1,024 GB. 51,200 x 0.023; and 10,240 x 0.022 above it.
        assert_eq!(months(&aws, "50TB", "0"), "1177.60");
        assert_eq!(months(&aws, "60TB", "0"), "1402.88");
        // 51,200 x 0.023 + 460,800 x 0.022 + 1,024 x 0.021.
        assert_eq!(months(&aws, "501TB", "0"), "11336.70");
        // 10,240 x 0.09 + 1,024 x 0.085.
        assert_eq!(months(&aws, "0", "11TB"), "1008.64");
        let spaces = offer(&prices, "DigitalOcean", None);
        assert_eq!(months(&spaces, "250GiB", "1TiB"), "5.00");
        assert_eq!(months(&spaces, "350GiB", "1.5TiB"), "12.12");
        assert_eq!(spaces.cost(&guide(), false).total.to_string(), "5.00");
        let own = offer(&prices, "Self-hosted", None);
        assert_eq!(months(&own, "50GB", "9TB"), "5.00");
    }

    #[test]
    fn what_nobody_knows_is_not_nothing_unless_it_costs_nothing() {
        let prices = Prices::built_in().unwrap();
        let usage = Usage::of(50 << 30, 14_000, 14_000);
        let aws = offer(&prices, "AWS", Some("us-east-1")).cost(&usage, false);
        assert_eq!(
            (aws.puts, aws.gets, aws.egress, aws.complete),
            (None, None, None, false)
        );
        assert_eq!(aws.total.to_string(), "1.15");
        assert_eq!(aws.first_upload.unwrap().to_string(), "0.07");
        let own = offer(&prices, "Self-hosted", None).cost(&usage, false);
        assert!(own.complete);
        let spaces = offer(&prices, "DigitalOcean", None).cost(&usage, false);
        assert!(!spaces.complete && spaces.egress.is_none() && spaces.puts.is_some());
    }

    const OWN: &str = "\
version: 1
date: 2026-11-22
currency: EUR
offers:
  - name: Garage in the cellar
    source: https://example.org/
    storage:
      - { up_to: 1TB, price: 0.01 }
      - price: 0.005
    egress: [ { price: 0 } ]
";

    #[test]
    fn a_file_of_ones_own_is_read() {
        let prices = Prices::parse(OWN).unwrap();
        assert_eq!((prices.currency.as_str(), prices.offers.len()), ("EUR", 1));
        assert_eq!(months(&prices.offers[0], "2TB", "5GB"), "15.36");
    }

    #[test]
    fn a_mistake_in_it_is_named_with_its_line() {
        for (from, to, line, words) in [
            ("version: 1", "version: 2", 1, "version: 2 is not known"),
            ("2026-11-22", "yesterday", 2, "date"),
            ("EUR", "euro", 3, "is no currency"),
            ("    source:", "    sorce:", 6, "unknown key `sorce`"),
            ("https://example.org/", "a friend", 6, "is no URL"),
            ("1TB", "much", 8, "is no size"),
            ("0.01 ", "-1 ", 8, "is no price"),
            ("0.005", "0,5", 9, "is no price"),
            (
                "{ up_to: 1TB, price: 0.01 }",
                "{ price: 1 }",
                8,
                "only the last one",
            ),
            ("{ up_to: 1TB", "{ up_to: 0", 8, "ends before it begins"),
            (
                "price: 0.005",
                "{ price: 1, up_to: 2TB }",
                9,
                "for all that is left",
            ),
            ("[ { price: 0 } ]", "[]", 10, "there is no price"),
        ] {
            assert_eq!(OWN.matches(from).count(), 1, "{from}");
            let error = Prices::parse(&OWN.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(words), "{to}: {error}");
            assert_eq!(error.line, Some(line), "{to}: {error}");
        }
        let twice = format!("{OWN}{}", OWN.split_once("offers:\n").unwrap().1);
        assert_eq!(Prices::parse(&twice).unwrap_err().line, Some(11));
        assert!(Prices::parse("version: 1\nversion: 1").is_err());
    }
}

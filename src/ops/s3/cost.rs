//! What storage costs a month, side by side.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::model::config::{Cost, Offer, Prices, Usage};
use crate::model::{Failure, Result};

/// A file of prices above this is none.
const LIMIT: u64 = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct CostRequest {
    /// What is stored, written, read and sent.
    pub usage: Usage,
    /// Only this region of those who have several.
    pub region: Option<String>,
    /// What a provider gives each account for nothing is counted.
    pub free_egress: bool,
    /// Other prices than those that Rehome comes with.
    pub prices: Option<PathBuf>,
}

/// An offer and what it comes to.
#[derive(Debug, Clone, Serialize)]
pub struct Priced {
    /// What it is called.
    pub name: String,
    /// The region of these prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A month.
    #[serde(flatten)]
    pub cost: Cost,
    /// Where the prices were found.
    pub source: String,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a month costs, by offer.
#[derive(Debug, Clone, Serialize)]
pub struct CostReport {
    /// The day that the prices are of.
    pub prices_of: String,
    /// The currency of every amount.
    pub currency: String,
    /// What it was calculated for.
    pub usage: Usage,
    /// The options that would say what nobody said, where it costs something somewhere.
    pub unknown: Vec<&'static str>,
    /// In the order of the file.
    pub offers: Vec<Priced>,
    /// What is so of several.
    pub notes: Vec<String>,
}

/// Calculates.
///
/// # Errors
/// When nothing at all is known, when the prices cannot be read, or do not have the region.
pub fn cost(request: &CostRequest) -> Result<CostReport> {
    let usage = &request.usage;
    if usage.is_empty() {
        return Err(Failure::usage(
            "what would be stored, and how often it is written and read, nobody said",
        )
        .hint("rehome s3 cost --storage 50GB --puts 100000 --gets 1000000 --egress 100GB"));
    }
    let prices = match &request.prices {
        Some(path) => read(path)?,
        None => Prices::built_in()
            .map_err(|error| Failure::bug("the prices that are built in cannot be read").because(&error))?,
    };
    let offers = offers(&prices, request.region.as_deref())?;
    let priced: Vec<Priced> = offers
        .iter()
        .map(|offer| Priced {
            name: offer.name.clone(),
            region: offer.region.clone(),
            cost: offer.cost(usage, request.free_egress),
            source: offer.source.clone(),
            note: offer.note.clone(),
        })
        .collect();
    let missing = |of: fn(&Cost) -> bool| priced.iter().any(|one| of(&one.cost));
    let unknown = [
        ("--storage", missing(|cost| cost.storage.is_none())),
        ("--puts", missing(|cost| cost.puts.is_none())),
        ("--gets", missing(|cost| cost.gets.is_none())),
        ("--egress", missing(|cost| cost.egress.is_none())),
    ];
    Ok(CostReport {
        prices_of: prices.date.to_string(),
        currency: prices.currency.clone(),
        usage: *usage,
        unknown: unknown
            .into_iter()
            .filter_map(|(option, missing)| missing.then_some(option))
            .collect(),
        notes: notes(&offers, request),
        offers: priced,
    })
}

/// Those of the region, and those that have none.
fn offers<'p>(prices: &'p Prices, region: Option<&str>) -> Result<Vec<&'p Offer>> {
    let Some(region) = region else {
        return Ok(prices.offers.iter().collect());
    };
    let mut known: Vec<&str> = prices
        .offers
        .iter()
        .filter_map(|offer| offer.region.as_deref())
        .collect();
    known.dedup();
    if !known.contains(&region) {
        return Err(
            Failure::usage(format!("the prices do not have the region {region}"))
                .cause(format!("they have {}", known.join(", ")))
                .hint("name a file that has it: --prices FILE, as templates/s3/prices.yml"),
        );
    }
    let here = |offer: &&Offer| offer.region.as_deref().is_none_or(|found| found == region);
    Ok(prices.offers.iter().filter(here).collect())
}

fn notes(offers: &[&Offer], request: &CostRequest) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for offer in offers {
        if let Some(free) = offer.free_egress {
            let name = &offer.name;
            notes.push(match request.free_egress {
                true => format!("{name}: the first {free} of egress a month are taken as free"),
                false => format!(
                    "{name}: the first {free} of egress a month are free for the account; --free-egress counts that"
                ),
            });
        }
        notes.extend(offer.note.iter().map(|note| format!("{}: {note}", offer.name)));
    }
    notes.dedup();
    notes
}

fn read(path: &Path) -> Result<Prices> {
    let failed =
        |error: std::io::Error| Failure::usage(format!("cannot read {}", path.display())).because(&error);
    let meta = std::fs::metadata(path).map_err(failed)?;
    if !meta.is_file() || meta.len() > LIMIT {
        let what = format!("{} is no file of prices", path.display());
        return Err(Failure::usage(what).cause("it is no file, or larger than 1 MiB"));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Prices::parse(&text).map_err(|error| error.into_failure(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(usage: Usage) -> CostRequest {
        CostRequest {
            usage,
            ..CostRequest::default()
        }
    }

    #[test]
    fn a_region_chooses_among_those_who_have_several() {
        let request = CostRequest {
            region: Some("eu-central-1".into()),
            ..asked(Usage::of(1 << 30, 3))
        };
        let report = cost(&request).unwrap();
        let names: Vec<_> = report
            .offers
            .iter()
            .map(|one| (one.name.as_str(), one.region.as_deref()))
            .collect();
        assert_eq!(names[0], ("AWS S3 Standard", Some("eu-central-1")));
        assert!(names[1..].iter().all(|(_, region)| region.is_none()) && names.len() > 2);
        let request = CostRequest {
            region: Some("mars-1".into()),
            ..request
        };
        let failure = cost(&request).unwrap_err();
        assert!(failure.causes[0].contains("us-east-1, us-west-2"), "{failure:?}");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let failure = cost(&CostRequest::default()).unwrap_err();
        assert_eq!(failure.kind, crate::model::Kind::Usage);
        let report = cost(&asked(Usage::of(1 << 30, 3))).unwrap();
        assert_eq!(report.unknown, ["--puts", "--gets", "--egress"]);
        assert_eq!(report.notes.len(), 2, "each once: {:?}", report.notes);
    }

    #[test]
    fn other_prices_are_read_and_their_mistakes_are_told_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prices.yml");
        let request = CostRequest {
            prices: Some(path.clone()),
            ..asked(Usage::of(2 << 30, 3))
        };
        assert_eq!(cost(&request).unwrap_err().kind, crate::model::Kind::Usage);
        let text = "version: 1\ndate: 2026-11-22\ncurrency: EUR\noffers:\n  - name: Cellar\n    source: https://example.org/\n    storage: [ { price: 1.50 } ]\n    egress: [ { price: 0 } ]\n";
        std::fs::write(&path, text).unwrap();
        let report = cost(&request).unwrap();
        assert_eq!((report.currency.as_str(), report.unknown.len()), ("EUR", 0));
        assert_eq!(report.offers[0].cost.total.to_string(), "3.00");
        std::fs::write(&path, text.replace("1.50", "free")).unwrap();
        let failure = cost(&request).unwrap_err();
        assert_eq!(failure.what, format!("cannot read {}:7", path.display()));
        std::fs::write(&path, "#".repeat(1 << 21)).unwrap();
        assert!(cost(&request).is_err());
    }
}

//! What storage costs a month, side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bucket::{key_of_uploads, look_at_uploads};
use super::{Uploads, Wanted};
use crate::model::config::{Cost, Offer, Prices, Usage};
use crate::model::{BilledSize, Failure, Result, VolumeKey, count};
use crate::ops::{App, Options};

/// A file of prices above this is none.
const LIMIT: u64 = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct CostRequest {
    /// What is stored, written, read and sent, as somebody said.
    pub usage: Usage,
    /// What was measured, where nobody said what is stored; or why it was not.
    pub measured: Option<Result<Measured, String>>,
    /// Only this region of those who have several.
    pub region: Option<String>,
    /// What a provider gives each account for nothing is counted.
    pub free_egress: bool,
    /// Other prices than those that Rehome comes with.
    pub prices: Option<PathBuf>,
}

/// What the volume with the uploads would be in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Which.
    pub volume: VolumeKey,
    /// Its files.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The requests that write all of them.
    pub puts: u64,
}

/// Measures the volume with the uploads.
///
/// # Errors
/// When there is no project, no engine, or it is not known which volume.
pub async fn measure(options: Options, volume: Option<VolumeKey>) -> Result<Measured> {
    let wanted = Wanted {
        volume,
        ..Wanted::default()
    };
    let uploads = Uploads::find(&options, wanted)?;
    let app = App::open(options).await?;
    let seen = look_at_uploads(&app, key_of_uploads(&app, uploads.s3.volume.as_ref())?).await?;
    let scan = seen.scan.ok_or_else(|| {
        let failure = Failure::environment(format!("volume `{}` could not be measured", seen.key));
        match &seen.unseen {
            Some(why) => failure.cause(why.what.clone()),
            None => failure,
        }
    })?;
    Ok(Measured {
        volume: seen.key,
        objects: scan.as_objects.objects,
        bytes: scan.as_objects.bytes,
        puts: scan.as_objects.puts,
    })
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
    /// Where each number is from: an option, or a volume that was measured.
    pub from: BTreeMap<&'static str, String>,
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
    let (usage, from) = known(request);
    let usage = &usage;
    if usage.is_empty() {
        let failure =
            Failure::usage("what would be stored, and how often it is written and read, nobody said");
        let failure = match &request.measured {
            Some(Err(why)) => failure.cause(format!("it was not measured either: {why}")),
            Some(Ok(_)) | None => failure,
        };
        return Err(failure.hint("rehome s3 cost --storage 50GB --puts 100000 --gets 1000000 --egress 100GB"));
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
        from,
        unknown: unknown
            .into_iter()
            .filter_map(|(option, missing)| missing.then_some(option))
            .collect(),
        notes: notes(&offers, request),
        offers: priced,
    })
}

/// What is known, and from where.
fn known(request: &CostRequest) -> (Usage, BTreeMap<&'static str, String>) {
    let mut usage = request.usage;
    let said = [
        ("storage", "--storage", usage.storage.is_some()),
        ("puts", "--puts", usage.puts.is_some()),
        ("gets", "--gets", usage.gets.is_some()),
        ("egress", "--egress", usage.egress.is_some()),
    ];
    let said = said.into_iter().filter(|(.., said)| *said);
    let mut from: BTreeMap<_, _> = said
        .map(|(number, option, _)| (number, option.to_owned()))
        .collect();
    if let (None, Some(Ok(measured))) = (usage.storage, &request.measured) {
        usage.storage = Some(BilledSize(measured.bytes));
        usage.objects = Some(measured.objects);
        usage.first_puts = Some(measured.puts);
        let volume = format!("measured: volume {}", measured.volume);
        from.extend(["storage", "objects", "first_puts"].map(|number| (number, volume.clone())));
    }
    (usage, from)
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
    match &request.measured {
        Some(Ok(measured)) => notes.push(format!(
            "Measured: {} in volume {}; their first upload is {}, one a file and more for those in parts",
            count(measured.objects, "file"),
            measured.volume,
            count(measured.puts, "PUT")
        )),
        Some(Err(why)) => notes.push(format!("What is stored was not measured: {why}")),
        None => {}
    }
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
            ..asked(Usage::of(1 << 30, 3, 3))
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
        let report = cost(&asked(Usage::of(1 << 30, 3, 3))).unwrap();
        assert_eq!(report.unknown, ["--puts", "--gets", "--egress"]);
        assert_eq!(report.notes.len(), 2, "each once: {:?}", report.notes);
    }

    #[test]
    fn what_was_measured_counts_where_nobody_said_it() {
        let measured = Measured {
            volume: "media".parse().unwrap(),
            objects: 2_000,
            bytes: 50 << 30,
            puts: 3_000,
        };
        let request = CostRequest {
            usage: Usage {
                gets: Some(1_000_000),
                ..Usage::default()
            },
            measured: Some(Ok(measured)),
            region: Some("us-east-1".into()),
            ..CostRequest::default()
        };
        let report = cost(&request).unwrap();
        let aws = &report.offers[0].cost;
        // 0.023 a GB, 0.005 a thousand PUTs, 0.0004 a thousand GETs: as the page of AWS has it.
        assert_eq!(aws.storage.unwrap().to_string(), "1.15");
        assert_eq!(aws.gets.unwrap().to_string(), "0.40");
        assert_eq!(aws.first_upload.unwrap().cents(), "0.02", "0.015, rounded");
        assert_eq!(report.from["storage"], "measured: volume media");
        assert_eq!(report.from["gets"], "--gets");
        assert!(report.notes[0].contains("2000 files in volume media; their first upload is 3000 PUTs"));
        // Somebody who says it knows better, and nothing of the volume is told then.
        let said = CostRequest {
            usage: Usage {
                storage: Some(BilledSize(1 << 30)),
                ..request.usage
            },
            ..request
        };
        let report = cost(&said).unwrap();
        assert_eq!(
            (report.from["storage"].as_str(), report.usage.objects),
            ("--storage", None)
        );
        let failed = CostRequest {
            measured: Some(Err("no engine".to_owned())),
            ..CostRequest::default()
        };
        let failure = cost(&failed).unwrap_err();
        assert_eq!(failure.causes, ["it was not measured either: no engine"]);
    }

    #[test]
    fn other_prices_are_read_and_their_mistakes_are_told_with_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prices.yml");
        let request = CostRequest {
            prices: Some(path.clone()),
            ..asked(Usage::of(2 << 30, 3, 3))
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

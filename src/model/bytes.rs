//! Sizes in bytes: read as people write them, printed as people read them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// A size that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no size: write it as 500000, 150KB, 6MB or 50GiB")]
pub struct ParseSizeError(String);

const UNITS: [(&str, u64); 10] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(s: &str) -> Result<Self, ParseSizeError> {
        let error = || ParseSizeError(s.to_owned());
        let text = s.trim().to_ascii_lowercase();
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim() {
            "" => 1,
            "m" => 1 << 20,
            "g" => 1 << 30,
            "t" => 1 << 40,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 9 {
            return Err(error());
        }
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let mut bytes = u128::from(whole) * u128::from(factor);
        if !fraction.is_empty() {
            let parts: u64 = fraction.parse().map_err(|_| error())?;
            bytes += u128::from(parts) * u128::from(factor) / 10_u128.pow(fraction.len() as u32);
        }
        u64::try_from(bytes).map(ByteSize).map_err(|_| error())
    }
}

/// Bytes as providers of storage bill them: their GB has 2^30 bytes, and their TB 2^40.
/// <https://aws.amazon.com/s3/faqs/#Billing>, <https://docs.digitalocean.com/products/spaces/details/pricing/>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct BilledSize(pub u64);

impl BilledSize {
    /// Bytes of a GB.
    pub const GB: u64 = 1 << 30;
}

impl FromStr for BilledSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let lower = text.trim().to_ascii_lowercase();
        let decimal = ["kb", "mb", "gb", "tb"].iter().any(|unit| lower.ends_with(unit));
        let binary = match lower.strip_suffix('b') {
            Some(stem) if decimal => format!("{stem}ib"),
            _ => lower,
        };
        let size = binary.parse().map_err(|_| ParseSizeError(text.to_owned()))?;
        let ByteSize(bytes) = size;
        Ok(Self(bytes))
    }
}

impl fmt::Display for BilledSize {
    /// `812 B`, `50 GB`, `1.5 TB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TB", 40), ("GB", 30), ("MB", 20), ("kB", 10)];
        let text = match units.iter().find(|(_, shift)| self.0 >> shift > 0) {
            None => format!("{} B", self.0),
            Some((unit, shift)) => {
                let tenths = (u128::from(self.0) * 10) >> shift;
                match tenths % 10 {
                    0 => format!("{} {unit}", tenths / 10),
                    tenth => format!("{}.{tenth} {unit}", tenths / 10),
                }
            }
        };
        f.pad(&text)
    }
}

/// Bytes a second: `50MB` and `50MB/s` are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub ByteSize);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let size: ByteSize = text
            .strip_suffix("/s")
            .unwrap_or(text)
            .parse()
            .map_err(|e: ParseSizeError| e.to_string())?;
        match size.0 {
            0 => Err("a rate of nothing would never end".to_owned()),
            _ => Ok(Self(size)),
        }
    }
}

impl fmt::Display for ByteSize {
    /// Decimal units, as disks and cloud volumes are sold: `812 B`, `4.1 MB`, `50 GB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(&str, u64); 4] = [
            ("TB", 1_000_000_000_000),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
            ("kB", 1_000),
        ];
        let text = match STEPS.iter().find(|(_, size)| self.0 >= *size) {
            None => format!("{} B", self.0),
            Some((unit, size)) => {
                let tenths = (u128::from(self.0) * 10 / u128::from(*size)) as u64;
                if tenths >= 1000 || tenths.is_multiple_of(10) {
                    format!("{} {unit}", tenths / 10)
                } else {
                    format!("{}.{} {unit}", tenths / 10, tenths % 10)
                }
            }
        };
        f.pad(&text)
    }
}

impl std::iter::Sum for ByteSize {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        ByteSize(iter.map(|b| b.0).fold(0, u64::saturating_add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("500000", 500_000),
            ("150KB", 150_000),
            ("6MB", 6_000_000),
            ("1.5 MB", 1_500_000),
            ("50GiB", 50 << 30),
            ("2k", 2048),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in [
            "",
            "MB",
            "6 MBs",
            "-1",
            "1..2MB",
            "99999999999999999999",
            "20000000TB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bill_counts_in_powers_of_two() {
        for (text, bytes, shown) in [
            ("50GB", 50 << 30, "50 GB"),
            ("50 gib", 50 << 30, "50 GB"),
            ("1.5TB", 3 << 39, "1.5 TB"),
            ("1024MB", 1 << 30, "1 GB"),
            ("2G", 2 << 30, "2 GB"),
            ("500", 500, "500 B"),
            ("0", 0, "0 B"),
        ] {
            let size: BilledSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown), "{text}");
        }
        for text in ["", "GB", "b", "many"] {
            assert!(text.parse::<BilledSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_printed_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (812, "812 B"),
            (1000, "1 kB"),
            (4_149_000, "4.1 MB"),
            (123_456_789, "123 MB"),
            (50_000_000_000, "50 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}

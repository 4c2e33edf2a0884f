//! Money, exactly: prices of a request are millionths of a cent, and sums of them must come out to the cent.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Parts of one unit of the currency.
const PARTS: u128 = 1_000_000_000;
/// A cent.
const CENT: u128 = PARTS / 100;

/// An amount of money, in billionths of the currency's unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Money(u128);

/// A text that is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no price: write it as 5 or 0.0004, with nine decimal places at most")]
pub struct ParseMoneyError(String);

impl Money {
    /// What so many cost, if `per` of them cost this; half a billionth is rounded up.
    #[must_use]
    pub fn times(self, quantity: u64, per: u64) -> Self {
        let per = u128::from(per.max(1));
        let product = self.0.saturating_mul(quantity.into());
        Self(product.saturating_add(per / 2) / per)
    }

    /// It as people read it: to the cent, half a cent rounded up; what is less than a cent is no nothing.
    #[must_use]
    pub fn cents(self) -> String {
        let cents = self.0.saturating_add(CENT / 2) / CENT;
        match (self.0, cents) {
            (1.., 0) => "< 0.01".to_owned(),
            (_, cents) => format!("{}.{:02}", cents / 100, cents % 100),
        }
    }
}

impl FromStr for Money {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let error = || ParseMoneyError(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole, 9) || !digits(fraction, 9) {
            return Err(error());
        }
        let whole: u128 = whole.parse().map_err(|_| error())?;
        let fraction: u128 = format!("{fraction:0<9}").parse().map_err(|_| error())?;
        Ok(Self(whole * PARTS + fraction))
    }
}

impl fmt::Display for Money {
    /// All of it, with two decimal places at least.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0 % PARTS);
        let (cents, rest) = fraction.split_at(2);
        f.pad(&format!(
            "{}.{cents}{}",
            self.0 / PARTS,
            rest.trim_end_matches('0')
        ))
    }
}

impl Serialize for Money {
    /// As text: a number would be read as a binary fraction.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.fold(0, |sum, amount| sum.saturating_add(amount.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn prices_are_read_exactly() {
        for (text, shown, cents) in [
            ("0", "0.00", "0.00"),
            ("5", "5.00", "5.00"),
            ("0.1", "0.10", "0.10"),
            ("0.0004", "0.0004", "< 0.01"),
            ("0.000000001", "0.000000001", "< 0.01"),
            ("0.004999999", "0.004999999", "< 0.01"),
            ("0.005", "0.005", "0.01"),
            ("1.995", "1.995", "2.00"),
            ("999999999.999999999", "999999999.999999999", "1000000000.00"),
        ] {
            assert_eq!(money(text).to_string(), shown);
            assert_eq!(money(text).cents(), cents);
        }
        for text in [
            "",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "0,5",
            "0.0000000001",
            "1234567890",
            "$5",
        ] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_million_times_a_fraction_of_a_cent_is_exact() {
        assert_eq!(money("0.0004").times(1_000_000, 1_000), money("0.4"));
        assert_eq!(money("0.023").times(50 << 30, 1 << 30), money("1.15"));
        // In binary fractions this sum is 0.30000000000000004.
        let sum: Money = [money("0.1"), money("0.2")].into_iter().sum();
        assert_eq!(sum, money("0.3"));
        assert_eq!(money("0.000000001").times(1, 2), money("0.000000001"));
        assert_eq!(money("999999999").times(u64::MAX, 1).to_string().len(), 32);
    }
}

//! Values with a grammar of their own: durations and shares.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A share of a whole, in percent: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// A quarter: a rack or a zone of four may vanish, more is taken for a mistake until it is seen twice.
    pub const QUARTER: Self = Self(25);

    /// Returns the number of percent, 1 to 100.
    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A text that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a share from 1% to 100%, like 25%")]
pub struct ShareError(String);

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        text.strip_suffix('%')
            .and_then(|number| number.parse().ok())
            .filter(|percent| (1..=100).contains(percent))
            .map(Self)
            .ok_or_else(|| ShareError(text.to_owned()))
    }
}

/// Reads a duration like `500ms`, `60s`, `1m30s`, `2h`: whole numbers, each with its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is not a duration like 500ms, 60s or 1m30s");
    let (mut sum, mut rest) = (Duration::ZERO, text);
    if text.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" => return Err(format!("{text:?} has no unit; write {text}s, or use ms, m or h")),
            _ => return Err(error()),
        };
        let part = number.parse().ok().and_then(|n: u64| n.checked_mul(millis)).ok_or_else(error)?;
        sum = sum.checked_add(Duration::from_millis(part)).ok_or_else(error)?;
        rest = after;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("60s", 60_000), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "60",
            "s",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "1s2",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_share_is_whole_percents() {
        assert_eq!("7%".parse::<Share>().unwrap().percent(), 7);
        assert_eq!("100%".parse::<Share>().unwrap().to_string(), "100%");
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "25", "0%", "101%", "-1%", "2.5%", "%", "25 %"] {
            assert!(text.parse::<Share>().is_err(), "{text:?}");
        }
    }
}

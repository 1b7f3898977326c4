//! Sizes and durations as people write them: `64MiB`, `1.5G`, `200ms`, `off`.
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

impl ByteSize {
    /// So many mebibytes.
    pub(crate) const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }
}

/// Units from the largest down; `KB` is a thousand bytes, `K` and `KiB` are 1024.
const SIZE_UNITS: [(&str, u64); 14] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("t", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("b", 1),
    ("", 1),
];

const DURATION_UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
/// A round trip is not an hour, but may be microseconds.
const DELAY_UNITS: [(&str, f64); 4] = [("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)];
const COUNT_UNITS: [(&str, f64); 4] = [("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9)];

/// Splits `12.5MiB` into its number and its unit in lower case.
fn number_and_unit(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim().to_ascii_lowercase()))
}

impl FromStr for ByteSize {
    type Err = String;

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "units are powers of 2 or 1000 below 2^53, and the range was checked"
    )]
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size; write it like 64MiB, 1.5GiB or 500MB");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let bytes = number * (*factor as f64);
        if !(1.0..9e18).contains(&bytes) {
            return Err(wrong());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    /// The largest binary unit, exact or with one decimal.
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor {
                return if self.0.is_multiple_of(factor) {
                    write!(f, "{}{name}", self.0 / factor)
                } else {
                    write!(f, "{:.1}{name}", self.0 as f64 / factor as f64)
                };
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// How often checkpoints are taken; `None` is `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval(pub(crate) Option<Duration>);

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self(None));
        }
        let wrong = || format!("{text:?} is not a duration; write it like 200ms, 1s, 5m, or off");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let (_, seconds) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let seconds = number * seconds;
        if !(0.001..1e9).contains(&seconds) {
            return Err(format!(
                "{text:?} is not between 1ms and 30 years; write it like 200ms or 1s, or off"
            ));
        }
        Ok(Self(Some(Duration::from_secs_f64(seconds))))
    }
}

/// How many: `1000`, `500k`, `10M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl FromStr for Count {
    type Err = String;

    #[expect(clippy::cast_sign_loss, reason = "the range was checked")]
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a number from 1 to 1000G; write it like 1000, 500k or 10M");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let (_, factor) = COUNT_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let count = (number * factor).round();
        if (1.0..=1e12).contains(&count) { Ok(Self(count as u64)) } else { Err(wrong()) }
    }
}

/// How long something far away takes: `15ms`, `70us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delay(pub(crate) Duration);

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a time from 1us to 60s; write it like 70us or 15ms");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let (_, seconds) = DELAY_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let seconds = number * seconds;
        if (1e-6..=60.0).contains(&seconds) {
            Ok(Self(Duration::from_secs_f64(seconds)))
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("64m", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("500MB", 500_000_000),
            ("12 KiB", 12 << 10),
            ("4096", 4096),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "MiB", "12XB", "-1", "1e3", "0", "99999999TiB", "1.2.3K"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_and_delays_read_as_people_write_them() {
        for (text, count) in [("1", 1), ("500k", 500_000), ("10M", 10_000_000), ("1.5M", 1_500_000)] {
            assert_eq!(text.parse::<Count>().unwrap().0, count, "{text}");
        }
        for (text, micros) in
            [("70us", 70), ("70µs", 70), ("15ms", 15_000), ("0.5ms", 500), ("1s", 1_000_000)]
        {
            assert_eq!(text.parse::<Delay>().unwrap().0, Duration::from_micros(micros), "{text}");
        }
        for text in ["", "0", "0.2", "M", "-1", "10X"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
        for text in ["", "15", "ms", "0ms", "0.1us", "2h"] {
            assert!(text.parse::<Delay>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_the_unit_a_person_would_pick() {
        for (bytes, text) in [(64 << 20, "64MiB"), (3 << 29, "1.5GiB"), (100, "100 bytes"), (1025, "1.0KiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn intervals_read_as_people_write_them() {
        assert_eq!("off".parse::<Interval>().unwrap().0, None);
        for (text, millis) in
            [("200ms", 200), ("1s", 1000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(text.parse::<Interval>().unwrap().0, Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "0s", "1d", "never", "0.1ms"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }
}

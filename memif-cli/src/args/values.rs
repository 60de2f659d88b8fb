//! Numbers and durations of the command line.

use std::time::Duration;

use crate::packet::MIN_SIZE;

/// Bytes of the smallest packet.
pub(super) const SMALLEST: u16 = 64;
const _: () = assert!(SMALLEST as usize == MIN_SIZE);

pub(super) fn size() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(i64::from(SMALLEST)..)
}

/// A duration in seconds; fractions are allowed.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number of seconds above 0 and up to 1000000000, such as 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if seconds > 1e9 {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|span| !span.is_zero()).ok_or_else(wrong)
}

/// A number of packets above 0, with k or M for thousands or millions.
pub(crate) fn amount(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K', 'M']) {
        Some(digits) if text.ends_with('M') => (digits, 1_000_000),
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "write a number above 0 such as 1500, 250k or 10M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_durations_are_parsed() {
        assert_eq!(amount("1"), Ok(1));
        assert_eq!(amount("2k"), Ok(2000));
        assert_eq!(amount("2K"), Ok(2000));
        assert_eq!(amount("3M"), Ok(3_000_000));
        for text in ["", "k", "-1", "1.5M", "1G", "0k", "18446744073709551616"] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "0", "-1", "inf", "NaN", "1e10", "1e-300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}

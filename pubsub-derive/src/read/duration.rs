//! Reads durations as people write them: `"500ms"`, `"1.5s"`, `"15m"`.
//!
//! The result is exact, in whole nanoseconds, because no float is involved.

use std::time::Duration;

/// The units, longest first, with their lengths in nanoseconds.
const UNITS: [(&str, u128); 5] = [
    ("d", 24 * 60 * 60 * 1_000_000_000),
    ("h", 60 * 60 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// The units in the spellings of other libraries and languages.
const OTHER_SPELLINGS: [(&str, &[&str]); 5] = [
    ("d", &["day", "days"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("ms", &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
];

/// The most decimals of a number.
const MAX_DECIMALS: usize = 9;

/// Parses a duration. The error says what is wrong, and what to write.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let tight: String = text.split_whitespace().collect();
    if tight.is_empty() {
        return Err("a duration cannot be empty\nwrite a number and a unit, such as `\"30s\"`".to_owned());
    }
    if tight.starts_with('-') {
        return Err(format!("`{text}` is negative\na duration is zero or longer"));
    }
    let digits = tight.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(tight.len());
    let (number, unit) = tight.split_at(digits);
    if number.is_empty() {
        return Err(format!(
            "`{text}` does not start with a number\nwrite a number and a unit, such as `\"30s\"`"
        ));
    }
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit\nwrite `\"{number}s\"` for seconds; {}", units()));
    }
    if unit.contains(|c: char| c.is_ascii_digit()) {
        return Err(format!(
            "`{text}` has more than one number and unit\nwrite the sum, such as `\"90s\"` for a minute and a half"
        ));
    }
    let length = length_of(text, number, unit)?;
    if tight != text {
        return Err(format!("`{text}` contains a space\nwrite `\"{tight}\"`"));
    }
    let nanos = nanos(number, length).ok_or_else(|| {
        format!("`{number}` is not a number of {unit}\nwrite an integer or a decimal, such as `\"1.5s\"`")
    })?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| format!("`{text}` is longer than 500 years"))
}

/// Returns the length of `unit` in nanoseconds.
fn length_of(text: &str, number: &str, unit: &str) -> Result<u128, String> {
    if let Some((_, length)) = UNITS.iter().find(|(known, _)| *known == unit) {
        return Ok(*length);
    }
    let lower = unit.to_lowercase();
    let meant = UNITS.iter().map(|(known, _)| *known).find(|known| *known == lower).or_else(|| {
        let spelled = OTHER_SPELLINGS.iter().find(|(_, spellings)| spellings.contains(&lower.as_str()));
        spelled.map(|(known, _)| *known)
    });
    Err(match meant {
        Some(meant) => format!("unknown unit `{unit}` in `{text}`\nwrite `\"{number}{meant}\"`; {}", units()),
        None => format!("unknown unit `{unit}` in `{text}`\n{}", units()),
    })
}

fn units() -> &'static str {
    "the units are `ms`, `s`, `m`, `h` and `d`"
}

/// Returns `number` times `unit` nanoseconds, or `None` if it is not a decimal, or too precise or too large.
fn nanos(number: &str, unit: u128) -> Option<u128> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if decimals.is_empty() || decimals.len() > MAX_DECIMALS {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let fraction = decimals.parse::<u128>().ok()? * unit / scale;
    whole.parse::<u128>().ok()?.checked_mul(unit)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Shown;

    #[test]
    fn numbers_with_a_unit_are_durations() {
        let cases = [
            ("0s", Duration::ZERO),
            ("500ms", Duration::from_millis(500)),
            ("0.5ms", Duration::from_micros(500)),
            ("1s", Duration::from_secs(1)),
            ("1.5s", Duration::from_millis(1_500)),
            ("0.000000001s", Duration::from_nanos(1)),
            ("15m", Duration::from_secs(900)),
            ("0.1h", Duration::from_secs(360)),
            ("24h", Duration::from_secs(86_400)),
            ("7d", Duration::from_secs(604_800)),
        ];
        for (text, duration) in cases {
            assert_eq!(parse(text), Ok(duration), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_refused_with_a_hint() {
        let cases = [
            ("", "a duration cannot be empty\nwrite a number and a unit, such as `\"30s\"`"),
            ("30x", "unknown unit `x` in `30x`\nthe units are `ms`, `s`, `m`, `h` and `d`"),
            (
                "30",
                "`30` has no unit\nwrite `\"30s\"` for seconds; the units are `ms`, `s`, `m`, `h` and `d`",
            ),
            ("-1s", "`-1s` is negative\na duration is zero or longer"),
            ("1 s", "`1 s` contains a space\nwrite `\"1s\"`"),
            (
                "10min",
                "unknown unit `min` in `10min`\nwrite `\"10m\"`; the units are `ms`, `s`, `m`, `h` and `d`",
            ),
            ("30S", "unknown unit `S` in `30S`\nwrite `\"30s\"`; the units are `ms`, `s`, `m`, `h` and `d`"),
            ("s", "`s` does not start with a number\nwrite a number and a unit, such as `\"30s\"`"),
            (
                "1m30s",
                "`1m30s` has more than one number and unit\nwrite the sum, such as `\"90s\"` for a minute and a half",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_number_that_is_not_a_decimal_is_refused() {
        for text in
            ["1.s", ".5s", "1.2.3s", "1.0000000001s", ".s", "99999999999999999999999999999999999999999999s"]
        {
            assert!(parse(text).is_err_and(|message| message.contains("is not a number of")), "{text}");
        }
    }

    #[test]
    fn centuries_are_refused() {
        assert_eq!(parse("1000000d"), Err("`1000000d` is longer than 500 years".to_owned()));
    }

    #[test]
    fn a_shown_duration_reads_back() {
        for text in ["500ms", "1s", "90s", "15m", "36h", "2d", "0s", "0.0005s"] {
            assert_eq!(parse(text).map(|read| Shown(read).to_string()), Ok(text.to_owned()));
        }
    }
}

//! `--timeout`: how long a command may take. The process that works on the model is ended from outside.

use std::time::Duration;

/// Units by their names, in seconds.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Reads `30`, `0.5`, `500ms`, `90s`, `2m` or `1h`. A number alone is of seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit = UNITS.iter().find_map(|(name, seconds)| Some((text.strip_suffix(name)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1.0));
    let wrong = || format!("`{text}` is no time: take 30 (seconds), 500ms, 90s, 2m or 1h");
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_are_seconds_without() {
        let cases = [
            ("30", 30_000),
            ("0.5", 500),
            ("500ms", 500),
            ("90s", 90_000),
            ("2m", 120_000),
            ("1.5h", 5_400_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "0", "-1", "s", "1d", "1e30", "nan", "inf", "1 2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

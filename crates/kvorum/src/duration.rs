//! Durations as people type them: `250ms`, `10s`, `5m`, `2h`, `7d`.

use std::time::Duration;

/// Reads a duration.
///
/// # Errors
/// A text that shows the form.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 250ms, 10s, 5m, 2h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms_per_unit).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "s", "10", "-1s", "1.5s", "10 s", "1y", "99999999999999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}

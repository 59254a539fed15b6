//! Times as people write them: `65`, `65.5`, `1:05.5`, `0:01:05`, and windows of two of them.

/// What a time looks like, for messages.
const FORMS: &str = "use 65, 1:05 or 0:01:05";

/// A longer time is a mistake; it also keeps the arithmetic in range. Whether a window is too long for a clip, the
/// contract decides.
const MAX_HOURS: u64 = 1_000;

/// Parses a time. Returns milliseconds.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    let bad = || format!("{text:?} is not a time ({FORMS})");
    let fields: Vec<&str> = text.trim().split(':').collect();
    let (last, leading) = fields.split_last().ok_or_else(bad)?;
    if leading.len() > 2 {
        return Err(bad());
    }
    let mut minutes = 0;
    for (index, field) in leading.iter().enumerate() {
        let number = digits(field).ok_or_else(bad)?;
        // Below hours there are 60 minutes. Minutes alone may be more: people write 75:30.
        if index > 0 && number >= 60 {
            return Err(bad());
        }
        minutes = minutes * 60 + number;
    }
    let (whole, fraction) = last.split_once('.').unwrap_or((last, "0"));
    let seconds = digits(whole).ok_or_else(bad)?;
    if !leading.is_empty() && seconds >= 60 || minutes > MAX_HOURS * 60 || seconds > MAX_HOURS * 3_600 {
        return Err(bad());
    }
    let milliseconds = (minutes * 60 + seconds) * 1_000 + milliseconds(fraction).ok_or_else(bad)?;
    i64::try_from(milliseconds).map_err(|_| bad())
}

/// Parses `START-END` or `START+LENGTH`. Returns start and end, milliseconds.
pub(crate) fn parse_window(text: &str) -> Result<(i64, i64), String> {
    // Editors and chat programs turn the hyphen into a dash.
    let at = text.find(['-', '+', '–']).ok_or_else(|| {
        format!("{text:?} is not a window (use START-END or START+LENGTH, for example 1:05-1:20 or 1:05+15)")
    })?;
    let separator = text[at..].chars().next().unwrap_or('-');
    let (start, second) = (&text[..at], &text[at + separator.len_utf8()..]);
    window(parse_time(start)?, second, separator == '+')
}

/// A window that begins at `start`, with its end or its length.
pub(crate) fn window(start: i64, second: &str, is_length: bool) -> Result<(i64, i64), String> {
    let second = parse_time(second)?;
    Ok((start, if is_length { start + second } else { second }))
}

fn digits(text: &str) -> Option<u64> {
    let valid = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { text.parse().ok() } else { None }
}

/// The milliseconds of a decimal fraction, rounded.
fn milliseconds(fraction: &str) -> Option<u64> {
    digits(fraction)?;
    let thousandths = format!("0.{fraction}").parse::<f64>().ok()? * 1_000.0;
    Some(thousandths.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_seconds_minutes_or_hours() {
        for (text, milliseconds) in [
            ("65", 65_000),
            ("0", 0),
            ("12.5", 12_500),
            ("1:05", 65_000),
            ("1:05.5", 65_500),
            ("0:01:05", 65_000),
            ("1:00:00.001", 3_600_001),
            ("75:30", 4_530_000),
            ("90", 90_000),
            (" 1:05 ", 65_000),
            ("1.0005", 1_001),
            ("0.9999", 1_000),
        ] {
            assert_eq!(parse_time(text), Ok(milliseconds), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused_with_the_forms() {
        for text in ["", "a", "1:", ":5", "1:60", "1:60:00", "1:2:3:4", "-5", "1e3", "inf", "1,5", "1.", "9999999999"] {
            let error = parse_time(text).unwrap_err();
            assert!(error.contains("0:01:05") && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_window_has_an_end_or_a_length() {
        assert_eq!(parse_window("1:05-1:20"), Ok((65_000, 80_000)));
        assert_eq!(parse_window("1:05+15"), Ok((65_000, 80_000)));
        assert_eq!(parse_window("12.5-57"), Ok((12_500, 57_000)));
        assert_eq!(parse_window("1:05–1:20"), Ok((65_000, 80_000)));
        assert_eq!(parse_window("5-3"), Ok((5_000, 3_000)), "whether it can be a clip is checked with the rest");
        for text in ["12", "1:05", "a-b", "1--2", "-5", "5-"] {
            assert!(parse_window(text).is_err(), "{text}");
        }
    }
}

//! Numbers as people write them.

use std::time::Duration;

/// A count with its noun: `1 clip`, `2 clips`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    let ending = match noun {
        _ if count == 1 => "",
        noun if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{ending}")
}

/// A size in bytes with its unit, decimal as file managers show it: `13.7 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut amount, mut unit) = (bytes as f64, 0);
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1_000.0;
        unit += 1;
    }
    if unit == 0 || amount >= 99.95 {
        format!("{amount:.0} {}", UNITS[unit])
    } else {
        format!("{amount:.1} {}", UNITS[unit])
    }
}

/// A length in minutes and seconds, rounded to seconds: `0:20`, `1:02:05`.
pub(crate) fn clock(milliseconds: i64) -> String {
    let seconds = (milliseconds.max(0) + 500) / 1_000;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// How long something took: `0.9 s`, `12 s`, `3:05`.
pub(crate) fn took(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds if seconds < 99.5 => format!("{seconds:.0} s"),
        seconds => clock((seconds * 1_000.0) as i64),
    }
}

/// Cuts a text to a width and marks the cut.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if console::measure_text_width(text) <= width {
        return text.to_owned();
    }
    console::truncate_str(text, width, "…").into_owned()
}

/// Fills a text with spaces up to a width.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(console::measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(plural(1, "clip"), "1 clip");
        assert_eq!(plural(0, "clip"), "0 clips");
        assert_eq!(plural(2, "batch"), "2 batches");
    }

    #[test]
    fn sizes_have_two_or_three_digits() {
        let sizes = [0, 999, 1_000, 13_700_000, 999_999, 812_000_000, 64 << 30];
        assert_eq!(sizes.map(size), ["0 B", "999 B", "1.0 kB", "13.7 MB", "1.0 MB", "812 MB", "68.7 GB"]);
    }

    #[test]
    fn times_are_rounded_to_what_people_read() {
        assert_eq!([20_000, 65_499, 3_725_000].map(clock), ["0:20", "1:05", "1:02:05"]);
        assert_eq!(
            [900, 9_949, 12_300, 185_000].map(|ms| took(Duration::from_millis(ms))),
            ["0.9 s", "9.9 s", "12 s", "3:05"]
        );
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(fit("インタビュー", 5), "イン…");
        assert_eq!(pad("東京", 6), "東京  ");
    }
}

//! Limits the length of foreign text (from storage servers, drivers, codecs, older versions of the fleet), so that no
//! document, event or log line grows without bound.

/// Characters reserved for the ellipsis: its words and a count of up to ten digits.
const ELLIPSIS_CHARS: usize = 40;

/// The text as one line of at most `max_chars` characters. Control characters become spaces. The middle of a longer
/// text is replaced by the number of its characters: the beginning says what failed, and the end often names the
/// remedy.
pub fn bounded(text: &str, max_chars: usize) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        let printable = if breaks_lines(c) { ' ' } else { c };
        if printable == c || !line.ends_with(' ') {
            line.push(printable);
        }
    }
    let length = line.chars().count();
    if length <= max_chars {
        return line;
    }
    let kept = max_chars.saturating_sub(ELLIPSIS_CHARS);
    let tail = kept / 3;
    let beginning: String = line.chars().take(kept - tail).collect();
    let end: String = line.chars().skip(length - tail).collect();
    format!("{beginning} … ({} characters left out) … {end}", length - kept)
}

/// Whether a character ends a line, controls a terminal, or reverses what follows it.
fn breaks_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failure::{Code, Failure, FieldViolation},
        lifecycle::{Encoding, Output},
        limits::{MAX_CODE_CHARS, MAX_DETAILS, MAX_LABEL_CHARS, MAX_MESSAGE_CHARS, MAX_URL_BYTES},
    };

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end_and_counts_what_was_left_out() {
        let text = format!("failed to write gs://b/o: {}; choose another prefix", "ä".repeat(1_500_000));
        let short = bounded(&text, 200);
        assert!(short.chars().count() <= 200, "{short}");
        assert!(short.starts_with("failed to write gs://b/o: ä") && short.ends_with("; choose another prefix"));
        let (beginning, rest) = short.split_once(" … (").unwrap();
        let (count, end) = rest.split_once(" characters left out) … ").unwrap();
        let kept = beginning.chars().count() + end.chars().count();
        assert_eq!(count.parse::<usize>().unwrap() + kept, text.chars().count());
        assert_eq!(bounded(&short, 200), short, "a bounded text is unchanged");
    }

    #[test]
    fn a_text_becomes_one_line_and_a_short_one_is_unchanged() {
        assert_eq!(bounded("a\r\n\r\nb\u{1b}[31m\u{2028}c\u{202e}d  e", 100), "a b [31m c d  e");
        assert_eq!(bounded("ä", 1), "ä");
    }

    #[test]
    fn every_failure_is_bounded_when_it_is_made_and_when_it_is_read() {
        let long = "x".repeat(1_500_000);
        for made in [
            Failure::new(Code::OutputRefused, long.as_str()),
            Failure::new(Code::OutputUnavailable, long.as_str()),
            Failure::new(Code::PipelineCrashed, long.as_str()),
            Failure::invalid(vec![FieldViolation::new(long.as_str(), long.as_str()); 10_000]),
            Failure { message: long.clone(), code: Code::parse(&long), retryable: true, details: Vec::new() }.bounded(),
        ] {
            assert!(made.message.chars().count() <= MAX_MESSAGE_CHARS, "{}", made.message.len());
            assert!(made.code.as_str().chars().count() <= MAX_CODE_CHARS && made.details.len() <= MAX_DETAILS);
            assert_eq!(made.clone().bounded(), made);
        }
    }

    #[test]
    fn a_url_that_is_too_long_is_left_out_and_not_truncated() {
        let long = "u".repeat(MAX_URL_BYTES + 1);
        let output = Output { uri: "gs://b/o".into(), url: long.clone(), size_bytes: 7, ..Output::default() };
        assert_eq!(output.bounded(), Output { uri: "gs://b/o".into(), size_bytes: 7, ..Output::default() });
        let encoding = Encoding { gpu_driver: long, ..Encoding::default() }.bounded();
        assert!(encoding.gpu_driver.chars().count() <= MAX_LABEL_CHARS);
    }
}

//! The treatment of sound on the wire.

use crate::{v1, violations::Violations};
use clipfleet_domain::audio::{Audio, CentiDb, NormalizeLoudness};

/// Checks the treatment of a clip's sound. `at` is the path of its message, ending in a dot.
pub(crate) fn parse(message: Option<&v1::Audio>, at: &str, violations: &mut Violations) -> Option<Audio> {
    let Some(message) = message else { return Some(Audio::default()) };
    let at = format!("{at}normalizeLoudness.");
    let normalize_loudness = match &message.normalize_loudness {
        Some(asked) => Some(normalize_loudness(asked, &at, violations)?),
        None => None,
    };
    Some(Audio { normalize_loudness })
}

fn normalize_loudness(
    asked: &v1::NormalizeLoudness,
    at: &str,
    violations: &mut Violations,
) -> Option<NormalizeLoudness> {
    let default = NormalizeLoudness::default();
    let target = asked.target_lufs.map_or(Ok(default.target_lufs), NormalizeLoudness::parse_target);
    let peak = asked.true_peak_dbtp.map_or(Ok(default.true_peak_dbtp), NormalizeLoudness::parse_true_peak);
    let target_lufs = violations.take(format!("{at}targetLufs"), target);
    let true_peak_dbtp = violations.take(format!("{at}truePeakDbtp"), peak);
    Some(NormalizeLoudness { target_lufs: target_lufs?, true_peak_dbtp: true_peak_dbtp? })
}

/// The message that says the same, every default filled in; none where nothing is asked for, as before there was the field.
pub(crate) fn message(audio: &Audio) -> Option<v1::Audio> {
    let normalize_loudness = |asked: NormalizeLoudness| v1::NormalizeLoudness {
        target_lufs: Some(CentiDb::as_db(asked.target_lufs)),
        true_peak_dbtp: Some(CentiDb::as_db(asked.true_peak_dbtp)),
    };
    let asked = audio.normalize_loudness.map(normalize_loudness)?;
    Some(v1::Audio { normalize_loudness: Some(asked) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn parsed(json: &str) -> Result<Audio, Vec<String>> {
        let given: v1::Audio = json::parse(json.as_bytes()).unwrap();
        let mut violations = Violations::default();
        let parsed = parse(Some(&given), "audio.", &mut violations);
        parsed.ok_or(violations.0.iter().map(|bad| format!("{} {}", bad.field, bad.reason)).collect())
    }

    #[test]
    fn what_is_asked_for_is_read_and_written_back() {
        let json = r#"{"normalizeLoudness":{"targetLufs":-16.25,"truePeakDbtp":-1.0}}"#;
        assert_eq!(serde_json::to_string(&message(&parsed(json).unwrap())).unwrap(), json);
    }

    #[test]
    fn an_empty_wish_means_the_defaults_and_no_wish_means_nothing() {
        let default = Audio { normalize_loudness: Some(NormalizeLoudness::default()) };
        assert_eq!(parsed(r#"{"normalizeLoudness":{}}"#).unwrap(), default);
        assert_eq!(parsed(r#"{"normalizeLoudness":{"targetLufs":-14,"truePeakDbtp":-1.5}}"#).unwrap(), default);
        assert_eq!(parsed("{}").unwrap(), Audio::default());
        assert_eq!(parse(None, "", &mut Violations::default()), Some(Audio::default()));
        assert_eq!(message(&Audio::default()), None);
    }

    #[test]
    fn every_wrong_level_is_named_at_once_with_its_value() {
        let said = parsed(r#"{"normalizeLoudness":{"targetLufs":"NaN","truePeakDbtp":1.5}}"#).unwrap_err();
        assert_eq!(
            said,
            [
                "audio.normalizeLoudness.targetLufs must lie between -40 and -5 LUFS \
                 (-14 is what platforms play shorts at), got NaN",
                "audio.normalizeLoudness.truePeakDbtp must lie between -9 and 0 dBTP \
                 (-1.5 leaves players some room), got 1.5",
            ]
        );
    }
}

//! Audio settings on the wire.

use crate::{v1, violations::Violations};
use clipfleet_domain::audio::{Audio, CentiDb, NormalizeLoudness};

/// Checks the audio settings of a clip. `at` is the path of their message, ending in a dot.
pub(crate) fn parse(message: Option<&v1::Audio>, at: &str, violations: &mut Violations) -> Option<Audio> {
    let Some(message) = message else { return Some(Audio::default()) };
    let at = format!("{at}normalizeLoudness.");
    let normalize_loudness = match &message.normalize_loudness {
        Some(given) => Some(normalize_loudness(given, &at, violations)?),
        None => None,
    };
    Some(Audio { normalize_loudness })
}

fn normalize_loudness(
    given: &v1::NormalizeLoudness,
    at: &str,
    violations: &mut Violations,
) -> Option<NormalizeLoudness> {
    let default = NormalizeLoudness::default();
    let target = given.target_lufs.map_or(Ok(default.target_lufs), NormalizeLoudness::parse_target);
    let peak = given.true_peak_dbtp.map_or(Ok(default.true_peak_dbtp), NormalizeLoudness::parse_true_peak);
    let target_lufs = violations.check(format!("{at}targetLufs"), target);
    let true_peak_dbtp = violations.check(format!("{at}truePeakDbtp"), peak);
    Some(NormalizeLoudness { target_lufs: target_lufs?, true_peak_dbtp: true_peak_dbtp? })
}

/// The message with the same meaning, every default filled in. `None` if nothing is requested, as before the field
/// existed.
pub(crate) fn message(audio: &Audio) -> Option<v1::Audio> {
    let normalize_loudness = |settings: NormalizeLoudness| v1::NormalizeLoudness {
        target_lufs: Some(CentiDb::as_db(settings.target_lufs)),
        true_peak_dbtp: Some(CentiDb::as_db(settings.true_peak_dbtp)),
    };
    let message = audio.normalize_loudness.map(normalize_loudness)?;
    Some(v1::Audio { normalize_loudness: Some(message) })
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
    fn settings_are_read_and_written_back() {
        let json = r#"{"normalizeLoudness":{"targetLufs":-16.25,"truePeakDbtp":-1.0}}"#;
        assert_eq!(serde_json::to_string(&message(&parsed(json).unwrap())).unwrap(), json);
    }

    #[test]
    fn an_empty_message_means_the_defaults_and_no_message_means_no_change() {
        let default = Audio { normalize_loudness: Some(NormalizeLoudness::default()) };
        assert_eq!(parsed(r#"{"normalizeLoudness":{}}"#).unwrap(), default);
        assert_eq!(parsed(r#"{"normalizeLoudness":{"targetLufs":-14,"truePeakDbtp":-1.5}}"#).unwrap(), default);
        assert_eq!(parsed("{}").unwrap(), Audio::default());
        assert_eq!(parse(None, "", &mut Violations::default()), Some(Audio::default()));
        assert_eq!(message(&Audio::default()), None);
    }

    #[test]
    fn all_invalid_levels_are_named_with_their_values() {
        let violations = parsed(r#"{"normalizeLoudness":{"targetLufs":"NaN","truePeakDbtp":1.5}}"#).unwrap_err();
        assert_eq!(
            violations,
            [
                "audio.normalizeLoudness.targetLufs must lie between -40 and -5 LUFS \
                 (-14 is what platforms play shorts at), got NaN",
                "audio.normalizeLoudness.truePeakDbtp must lie between -9 and 0 dBTP \
                 (-1.5 leaves players some room), got 1.5",
            ]
        );
    }
}

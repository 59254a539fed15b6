//! Reframing on the wire: modes, and which fields belong to which mode.
//!
//! A position or a zoom out of range is refused instead of clamped, and so is a field that the mode does not use,
//! unless it has the default: keyframes with `auto_center`, a zoom with `fit_blur`. A silent correction would show
//! another picture than the one in the preview.

use crate::{v1, violations::Violations};
use clipfleet_domain::{
    crop_path::{CropPath, Keyframe},
    failure::FieldViolation,
    ids::shorten,
    percent::MilliPercent,
    reframe::{DEFAULT_POSITION, DEFAULT_ZOOM, Reframe},
};

/// Checks the reframing of a clip of `length_ms`. `at` is the path of its message, ending in a dot.
pub(crate) fn parse(
    message: Option<&v1::Reframe>,
    length_ms: i64,
    at: &str,
    violations: &mut Violations,
) -> Option<Reframe> {
    let Some(message) = message else { return Some(Reframe::default()) };
    let framing = |violations: &mut Violations| {
        let position = violations.check(format!("{at}position"), position(message.position));
        let zoom = violations.check(format!("{at}zoom"), zoom(message.zoom));
        position.zip(zoom)
    };
    match message.mode.as_str() {
        "" | "auto_center" => {
            let (framing, clean) = (framing(violations), without_keyframes(message, at, violations));
            framing.zip(clean).map(|((position, zoom), ())| Reframe::AutoCenter { position, zoom })
        }
        "fit_blur" => {
            let unused = without_framing(message, "it shows the whole picture", at, violations);
            let clean = without_keyframes(message, at, violations);
            unused.and(clean).map(|()| Reframe::FitBlur)
        }
        "crop_path" => {
            let unused = without_framing(message, "put it into the keyframes", at, violations);
            let path = crop_path(&message.keyframes, length_ms, at, violations);
            unused.and(path).map(Reframe::CropPath)
        }
        unknown => {
            let reason = format!("must be one of {}, got {:?}", Reframe::MODES.join(", "), shorten(unknown));
            violations.check(format!("{at}mode"), Err(reason))
        }
    }
}

fn position(given: Option<f64>) -> Result<MilliPercent, String> {
    given.map_or(Ok(DEFAULT_POSITION), |given| MilliPercent::parse(given, 0, 100))
}

fn zoom(given: Option<f64>) -> Result<MilliPercent, String> {
    given.map_or(Ok(DEFAULT_ZOOM), |given| MilliPercent::parse(given, 100, 200))
}

/// Refuses a position or zoom that the mode does not use: the client that sent it showed another picture. Defaults are
/// allowed, because forms send them.
fn without_framing(message: &v1::Reframe, why: &str, at: &str, violations: &mut Violations) -> Option<()> {
    let fields = [("position", message.position, DEFAULT_POSITION), ("zoom", message.zoom, DEFAULT_ZOOM)];
    let mut clean = Some(());
    for (name, given, default) in fields {
        if let Some(given) = given.filter(|given| *given != default.as_percent()) {
            let reason = format!("must be left out with mode {} ({why}), got {given}", message.mode);
            violations.0.push(FieldViolation::new(format!("{at}{name}"), reason));
            clean = None;
        }
    }
    clean
}

fn without_keyframes(message: &v1::Reframe, at: &str, violations: &mut Violations) -> Option<()> {
    if message.keyframes.is_empty() {
        return Some(());
    }
    let mode = if message.mode.is_empty() { Reframe::MODES[0] } else { &message.mode };
    let count = message.keyframes.len();
    let reason = format!("must be left out with mode {mode} (or set mode to crop_path), got {count} keyframes");
    violations.check(format!("{at}keyframes"), Err(reason))
}

fn crop_path(messages: &[v1::Keyframe], length_ms: i64, at: &str, violations: &mut Violations) -> Option<CropPath> {
    violations.check(format!("{at}keyframes"), CropPath::check_count(messages.len()))?;
    let mut keyframes = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let position = violations.check(format!("{at}keyframes[{index}].position"), position(message.position));
        let zoom = violations.check(format!("{at}keyframes[{index}].zoom"), zoom(message.zoom));
        keyframes.push(position.zip(zoom).map(|(position, zoom)| Keyframe { at_ms: message.at_ms, position, zoom }));
    }
    let keyframes: Vec<Keyframe> = keyframes.into_iter().collect::<Option<_>>()?;
    let path = CropPath::new(keyframes, length_ms).map_err(|bad| {
        let field = format!("{at}keyframes[{}].atMs", bad.index);
        violations.0.push(FieldViolation::new(field, bad.reason));
    });
    path.ok()
}

/// The message with the same meaning, every default filled in.
pub(crate) fn message(reframe: &Reframe) -> v1::Reframe {
    let mode = reframe.mode().to_owned();
    match reframe {
        Reframe::AutoCenter { position, zoom } => {
            let (position, zoom) = (Some(position.as_percent()), Some(zoom.as_percent()));
            v1::Reframe { mode, position, zoom, keyframes: Vec::new() }
        }
        Reframe::FitBlur => v1::Reframe { mode, ..v1::Reframe::default() },
        Reframe::CropPath(path) => {
            let keyframe = |keyframe: &Keyframe| v1::Keyframe {
                at_ms: keyframe.at_ms,
                position: Some(keyframe.position.as_percent()),
                zoom: Some(keyframe.zoom.as_percent()),
            };
            let keyframes = path.keyframes().iter().map(keyframe).collect();
            v1::Reframe { mode, keyframes, ..v1::Reframe::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn parsed(json: &str) -> Result<Reframe, Vec<String>> {
        let given: v1::Reframe = json::parse(json.as_bytes()).unwrap();
        let mut violations = Violations::default();
        let parsed = parse(Some(&given), 10_000, "reframe.", &mut violations);
        let reasons = violations.0.iter().map(|bad| format!("{} {}", bad.field, bad.reason)).collect();
        parsed.ok_or(reasons)
    }

    #[track_caller]
    fn refused(json: &str, reason: &str) {
        assert_eq!(parsed(json).unwrap_err(), [reason]);
    }

    #[test]
    fn every_mode_is_read_and_written_back() {
        for json in [
            r#"{"mode":"auto_center","position":12.5,"zoom":133.3}"#,
            r#"{"mode":"fit_blur"}"#,
            concat!(
                r#"{"mode":"crop_path","keyframes":[{"atMs":"500","position":10.0,"zoom":100.0},"#,
                r#"{"atMs":"9000","position":80.5,"zoom":150.0}]}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&message(&parsed(json).unwrap())).unwrap(), json);
        }
    }

    #[test]
    fn defaults_are_filled_in_and_a_form_may_send_them() {
        assert_eq!(parsed("{}").unwrap(), Reframe::default());
        assert_eq!(parsed(r#"{"mode":"fit_blur","position":50,"zoom":100}"#).unwrap(), Reframe::FitBlur);
        let short = parsed(r#"{"mode":"crop_path","keyframes":[{}]}"#).unwrap();
        let long = r#"{"mode":"crop_path","position":50,"keyframes":[{"atMs":0,"position":50,"zoom":100}]}"#;
        assert_eq!(short, parsed(long).unwrap());
    }

    #[test]
    fn a_field_of_another_mode_is_refused_with_what_to_do() {
        refused(
            r#"{"keyframes":[{"atMs":0}]}"#,
            "reframe.keyframes must be left out with mode auto_center (or set mode to crop_path), got 1 keyframes",
        );
        refused(
            r#"{"mode":"fit_blur","keyframes":[{},{}]}"#,
            "reframe.keyframes must be left out with mode fit_blur (or set mode to crop_path), got 2 keyframes",
        );
        refused(
            r#"{"mode":"fit_blur","zoom":120}"#,
            "reframe.zoom must be left out with mode fit_blur (it shows the whole picture), got 120",
        );
        refused(
            r#"{"mode":"crop_path","position":0,"keyframes":[{}]}"#,
            "reframe.position must be left out with mode crop_path (put it into the keyframes), got 0",
        );
        refused(r#"{"mode":"zoomy"}"#, r#"reframe.mode must be one of auto_center, fit_blur, crop_path, got "zoomy""#);
    }

    #[test]
    fn an_invalid_keyframe_is_named_with_its_value() {
        let keyframes = |list: &str| format!(r#"{{"mode":"crop_path","keyframes":[{list}]}}"#);
        refused(&keyframes(""), "reframe.keyframes must have 1 to 1200 keyframes with mode crop_path, got 0");
        let many = vec!["{}"; 1_300].join(",");
        refused(&keyframes(&many), "reframe.keyframes must have 1 to 1200 keyframes with mode crop_path, got 1300");
        refused(
            &keyframes(r#"{"atMs":10001}"#),
            "reframe.keyframes[0].atMs must lie between 0 and 10000, the clip's length (it counts from its start), \
             got 10001",
        );
        refused(
            &keyframes(r#"{"atMs":700},{"atMs":600}"#),
            "reframe.keyframes[1].atMs must be greater than 700, that of the keyframe before (sort them), got 600",
        );
        refused(
            &keyframes(r#"{"atMs":700,"position":101},{"atMs":800}"#),
            "reframe.keyframes[0].position must lie between 0 and 100 percent, got 101",
        );
        refused(
            &keyframes(r#"{},{"atMs":800,"zoom":90}"#),
            "reframe.keyframes[1].zoom must lie between 100 and 200 percent, got 90",
        );
    }
}

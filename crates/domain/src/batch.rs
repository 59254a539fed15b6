//! A batch: a checked request, and the work that it plans.

use crate::{
    audio::NormalizeLoudness,
    clip::Clip,
    crop_path::Keyframe,
    failure::FieldViolation,
    ids::{BatchId, OwnerUid, ProjectId},
    limits::{MAX_CLIPS, MAX_OBJECT_NAME_BYTES, MAX_PREFIX_BYTES},
    percent::MilliPercent,
    reframe::Reframe,
    rendition::Rendition,
    source::{ObjectUri, Source},
    wire_name::WireName as _,
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The `gs://bucket/path/` under which results are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(ObjectUri);

impl Prefix {
    /// Parses a URI that ends in a slash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri = ObjectUri::parse(text).map_err(|bad| bad.to_string())?;
        if !uri.object().ends_with('/') {
            return Err(format!("must end in '/', got {text:?}"));
        }
        if uri.object().len() > MAX_PREFIX_BYTES {
            return Err(format!("must be at most {MAX_PREFIX_BYTES} bytes long, got {}", uri.object().len()));
        }
        Ok(Self(uri))
    }

    /// The URI, which ends in a slash.
    pub fn as_uri(&self) -> &ObjectUri {
        &self.0
    }

    fn name(&self, file: &str) -> Result<ObjectUri, String> {
        let uri = ObjectUri::parse(&format!("{}{file}", self.0)).map_err(|bad| bad.to_string())?;
        debug_assert!(uri.object().len() <= MAX_OBJECT_NAME_BYTES);
        Ok(uri)
    }
}

/// A checked batch that can be dispatched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its id.
    pub id: BatchId,
    /// The owner.
    pub owner: OwnerUid,
    /// The project it belongs to.
    pub project: ProjectId,
    /// The video all clips are cut from.
    pub source: Source,
    /// The form of the results.
    pub rendition: Rendition,
    /// Where the results are stored.
    pub prefix: Prefix,
    /// 1 to 1,000 clips with different ids.
    pub clips: Vec<Clip>,
}

/// One clip of a batch, with everything decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedClip {
    /// The clip.
    pub clip: Clip,
    /// The visible result.
    pub output: ObjectUri,
    /// Equal for equal work. Part of the result's name.
    pub settings_hash: String,
}

impl Batch {
    /// Plans each clip, for the given generation of the source.
    pub fn plan(&self, generation: i64) -> Result<Vec<PlannedClip>, String> {
        self.clips.iter().map(|clip| self.plan_clip(clip, generation)).collect()
    }

    fn plan_clip(&self, clip: &Clip, generation: i64) -> Result<PlannedClip, String> {
        let settings_hash = settings_hash(&self.source.uri, generation, clip, self.rendition);
        let output = self.prefix.name(&format!("{}-{settings_hash}.mp4", clip.id))?;
        Ok(PlannedClip { clip: clip.clone(), output, settings_hash })
    }
}

/// Checks the number of a batch's clips, and that no two have the same id.
pub fn check_clip_ids<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Vec<FieldViolation> {
    if !(1..=MAX_CLIPS).contains(&ids.len()) {
        return vec![FieldViolation::new("clips", format!("must have 1 to {MAX_CLIPS} clips, got {}", ids.len()))];
    }
    let mut first_use = HashMap::new();
    let mut violations = Vec::new();
    for (index, id) in ids.enumerate().filter(|(_, id)| !id.is_empty()) {
        let first = *first_use.entry(id).or_insert(index);
        if first != index {
            let reason = format!("must be unique in the batch, got {id:?} as in clips[{first}]");
            violations.push(FieldViolation::new(format!("clips[{index}].clipId"), reason));
        }
    }
    violations
}

/// Incremented when the same request gives different video or audio than before, so that old results are not reused.
const MEDIA_VERSION: u32 = 3;

/// A hash of everything that decides the content of the result: 80 bits, enough that two clips of one owner never
/// collide. The dispatcher and the workers compute it, possibly in different versions, so its text is spelled here and
/// not derived from types.
pub(crate) fn settings_hash(source: &ObjectUri, generation: i64, clip: &Clip, rendition: Rendition) -> String {
    let Rendition { quality, aspect, fps } = rendition;
    let mut settings = format!(
        "{MEDIA_VERSION}\n{source}\n{generation}\n{}\n{}\n{}\n{}\n{}\n{fps}",
        clip.window.start_ms(),
        clip.window.end_ms(),
        reframe_text(&clip.reframe),
        quality.name(),
        aspect.name(),
    );
    // Newer settings are included only if requested, so that clips made before these settings existed keep their names.
    if let Some(at_ms) = clip.cover_at_ms {
        settings += &format!("\ncover {at_ms}");
    }
    if let Some(NormalizeLoudness { target_lufs, true_peak_dbtp }) = clip.audio.normalize_loudness {
        settings += &format!("\nnormalizeLoudness {:.2} {:.2}", target_lufs.as_db(), true_peak_dbtp.as_db());
    }
    Sha256::digest(settings).iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

fn reframe_text(reframe: &Reframe) -> String {
    let percents =
        |position: MilliPercent, zoom: MilliPercent| format!(" {} {}", position.thousandths(), zoom.thousandths());
    let parameters = match reframe {
        Reframe::AutoCenter { position, zoom } => percents(*position, *zoom),
        Reframe::FitBlur => String::new(),
        Reframe::CropPath(path) => {
            let keyframe = |it: &Keyframe| format!(" {}{}", it.at_ms, percents(it.position, it.zoom));
            path.keyframes().iter().map(keyframe).collect()
        }
    };
    format!("{}{parameters}", reframe.mode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audio::{Audio, CentiDb},
        clip::Window,
        crop_path::CropPath,
        ids::ClipId,
    };

    fn clip(id: &str, start_ms: i64, end_ms: i64) -> Clip {
        Clip {
            id: ClipId::parse(id).unwrap(),
            window: Window::new(start_ms, end_ms).unwrap(),
            reframe: Reframe::default(),
            cover_at_ms: None,
            audio: Audio::default(),
        }
    }

    fn batch(source: &str, clips: Vec<Clip>) -> Batch {
        let owner = OwnerUid::parse("u1").unwrap();
        Batch {
            id: BatchId::parse("b1").unwrap(),
            prefix: Prefix::parse("gs://media/processed-clips/u1/").unwrap(),
            owner,
            project: ProjectId::parse("p1").unwrap(),
            source: Source { uri: ObjectUri::parse(source).unwrap(), generation: None },
            rendition: Rendition::default(),
            clips,
        }
    }

    #[test]
    fn a_repeated_clip_id_is_named_with_its_first_use() {
        let violations = check_clip_ids(["c1", "c2", "c1", "", ""].into_iter());
        assert_eq!(violations.len(), 1);
        assert_eq!(violations[0].field, "clips[2].clipId");
        assert!(violations[0].reason.ends_with("as in clips[0]"));
    }

    #[test]
    fn equal_work_has_equal_names_and_different_work_different_names() {
        let names = |generation, end| {
            batch("gs://media/a.mp4", vec![clip("c1", 0, end)]).plan(generation).unwrap()[0].output.to_string()
        };
        assert_eq!(names(7, 1_000), names(7, 1_000));
        assert_ne!(names(7, 1_000), names(8, 1_000));
        assert_ne!(names(7, 1_000), names(7, 1_001));
        assert!(names(7, 1_000).starts_with("gs://media/processed-clips/u1/c1-"));
    }

    #[test]
    fn every_keyframe_is_part_of_the_name() {
        let whole = MilliPercent::whole;
        let path = |at_ms, position, zoom| {
            let keyframes = [(0, 50, 100), (at_ms, position, zoom)];
            let keyframes = keyframes.map(|(at_ms, p, z)| Keyframe { at_ms, position: whole(p), zoom: whole(z) });
            Reframe::CropPath(CropPath::new(keyframes.into(), 1_000).unwrap())
        };
        let paths = [path(500, 50, 100), path(501, 50, 100), path(500, 51, 100), path(500, 50, 101)];
        let names: std::collections::HashSet<String> = [Reframe::default(), Reframe::FitBlur]
            .into_iter()
            .chain(paths)
            .map(|reframe| Clip { reframe, ..clip("c1", 0, 1_000) })
            .map(|clip| batch("gs://media/a.mp4", vec![clip]).plan(7).unwrap()[0].settings_hash.clone())
            .collect();
        assert_eq!(names.len(), 6);
    }

    #[test]
    fn loudness_is_part_of_the_name_only_if_requested() {
        let hash = |audio| {
            let clip = Clip { audio, ..clip("c1", 0, 1_000) };
            batch("gs://media/a.mp4", vec![clip]).plan(7).unwrap()[0].settings_hash.clone()
        };
        let requested = |target_lufs, true_peak_dbtp| {
            let (target_lufs, true_peak_dbtp) = (CentiDb::hundredths(target_lufs), CentiDb::hundredths(true_peak_dbtp));
            hash(Audio { normalize_loudness: Some(NormalizeLoudness { target_lufs, true_peak_dbtp }) })
        };
        // Versions that run side by side must agree on it.
        assert_eq!(hash(Audio::default()), "83936ce4eb943fb62d6e");
        assert_eq!(hash(Audio { normalize_loudness: Some(NormalizeLoudness::default()) }), requested(-1_400, -150));
        let names = [hash(Audio::default()), requested(-1_400, -150), requested(-1_401, -150), requested(-1_400, -151)];
        assert_eq!(names.iter().collect::<std::collections::HashSet<_>>().len(), names.len());
    }

    #[test]
    fn a_prefix_must_end_in_a_slash() {
        assert!(Prefix::parse("gs://media/out/").is_ok());
        assert!(Prefix::parse("gs://media/out").unwrap_err().contains("must end in '/'"));
    }
}

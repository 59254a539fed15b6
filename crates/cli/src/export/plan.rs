//! What an export will do. Everything that can be checked on this machine is checked here, before any work, by the same
//! rules as the server's.

use super::{
    args::ExportArgs,
    clips::{self, ClipSpec},
    files::{self, ClipFile},
    source::SourceFile,
};
use crate::{
    exit::Failed,
    output::{
        table::{Align, table},
        text,
    },
};
use clipfleet_contract::{
    batch, names,
    v1::{Audio, ExportBatch, NormalizeLoudness, Output, Reframe, Source},
};
use clipfleet_domain::{
    access::AccessPolicy,
    batch::{Batch, PlannedClip},
    rendition::Rendition,
};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// A checked export.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The request. If the source is a file, its URI is that of the object in the default bucket.
    pub(crate) request: ExportBatch,
    /// The source, if it is a file of this machine.
    pub(crate) source: Option<SourceFile>,
    /// One per clip, in the order of the request.
    pub(crate) files: Vec<ClipFile>,
    pub(crate) out: PathBuf,
    pub(crate) rendition: Rendition,
}

impl Plan {
    /// Checks the arguments. `is_local` tells whether a fleet on this machine makes the clips.
    pub(crate) fn new(args: &ExportArgs, is_local: bool) -> Result<Self, Failed> {
        let mut request = request(args)?;
        let source_name = request.source.as_ref().map_or(String::new(), |source| source.uri.clone());
        let source = match source_name.starts_with("gs://") {
            true => None,
            false => Some(SourceFile::open(source_name.as_ref())?),
        };
        if let (Some(file), Some(source)) = (&source, &mut request.source) {
            source.uri = format!("gs://{}/{}", names::LOCAL_BUCKET, file.object);
        }
        let batch = check(&request, is_local)?;
        let prefix = match &args.name {
            Some(name) if name.is_empty() || name.contains('/') => {
                return Err(Failed::usage(format!("--name {name:?} cannot begin a file's name"))
                    .hint("use --out for directories"));
            }
            Some(name) => name.clone(),
            None => files::stem(&source_name),
        };
        if args.out.exists() && !args.out.is_dir() {
            return Err(Failed::usage(format!("--out {} is not a directory", args.out.display())));
        }
        // An object without a generation may have other bytes next time.
        let is_fixed = source.is_some() || batch.source.generation.is_some();
        let planned = batch.plan(batch.source.generation.unwrap_or(0)).map_err(Failed::usage)?;
        let file = |planned: &PlannedClip| ClipFile {
            clip: planned.clip.id.to_string(),
            length_ms: planned.clip.window.length_ms(),
            path: args.out.join(files::file_name(&prefix, planned.clip.id.as_str())),
            content: is_fixed.then(|| planned.settings_hash.clone()),
        };
        let files = planned.iter().map(file).collect();
        Ok(Self { request, source, files, out: args.out.clone(), rendition: batch.rendition })
    }

    /// "talk.mp4 (812 MB) → 5 clips, 1080x1920, clips/".
    pub(crate) fn title(&self) -> String {
        let source = match &self.source {
            Some(file) => format!("{} ({})", file.name, text::size(file.bytes)),
            None => self.request.source.as_ref().map_or(String::new(), |source| source.uri.clone()),
        };
        let clips = text::plural(self.files.len(), "clip");
        format!("{source} → {clips}, {}, {}", self.rendition.size(), directory(&self.out))
    }

    /// What would be made.
    pub(crate) fn table(&self) -> String {
        let clips = self.request.clips.iter().zip(&self.files);
        let rows: Vec<[String; 5]> = clips
            .map(|(clip, file)| {
                let [start, end, length] = [clip.start_ms, clip.end_ms, file.length_ms].map(text::clock);
                [file.clip.clone(), start, end, length, file.path.display().to_string()]
            })
            .collect();
        let header = [
            ("clip", Align::Left),
            ("start", Align::Right),
            ("end", Align::Right),
            ("length", Align::Right),
            ("file", Align::Left),
        ];
        table(header, &rows)
    }
}

/// A directory with its slash.
pub(crate) fn directory(path: &Path) -> String {
    format!("{}/", path.display().to_string().trim_end_matches('/'))
}

/// The request by the arguments. Its source may be a file on this machine.
fn request(args: &ExportArgs) -> Result<ExportBatch, Failed> {
    let mut request = match &args.request {
        Some(path) => {
            let bytes = fs::read(path)
                .map_err(|error| Failed::usage(format!("--request {} cannot be read: {error}", path.display())))?;
            batch::from_json(&bytes)
                .map_err(|failure| Failed::usage(format!("--request {}: {}", path.display(), failure.message)))?
        }
        None => ExportBatch::default(),
    };
    if let Some(uri) = &args.source {
        request.source = Some(Source { uri: uri.clone(), generation: 0 });
    }
    if request.source.as_ref().is_none_or(|source| source.uri.is_empty()) {
        return Err(Failed::usage("no video is named").hint("clipfleet export VIDEO --clip START-END"));
    }
    let specs = specs(args)?;
    if !specs.is_empty() {
        request.clips = specs.iter().map(|spec| spec.clip.clone()).collect();
    }
    if request.clips.is_empty() {
        return Err(Failed::usage("no clip is named")
            .hint("add --clip START-END, for example --clip 1:05-1:20, or --clips FILE.csv"));
    }
    number_clips(&mut request);
    let output = request.output.get_or_insert_with(Output::default);
    override_with(&mut output.quality, args.quality.as_ref());
    override_with(&mut output.aspect, args.aspect.as_ref());
    override_with(&mut output.fps, args.fps.as_ref());
    for clip in &mut request.clips {
        if let Some(mode) = &args.reframe {
            clip.reframe = Some(Reframe { mode: mode.clone(), ..Reframe::default() });
        }
        if let Some(lufs) = args.loudness {
            let normalize = NormalizeLoudness { target_lufs: Some(lufs), ..NormalizeLoudness::default() };
            clip.audio = Some(Audio { normalize_loudness: Some(normalize) });
        }
    }
    let defaults = [
        (&mut request.batch_id, format!("cli-{}", Uuid::now_v7().simple())),
        (&mut request.owner_uid, "local".to_owned()),
        (&mut request.project_id, "cli".to_owned()),
    ];
    for (field, default) in defaults {
        if field.is_empty() {
            *field = default;
        }
    }
    Ok(request)
}

/// The clips of `--clip` and `--clips`, each checked.
fn specs(args: &ExportArgs) -> Result<Vec<ClipSpec>, Failed> {
    let mut specs = args.clips.clone();
    if let Some(path) = &args.list {
        specs.extend(clips::read_list(path).map_err(Failed::usage)?);
    }
    let mut origins: HashMap<&str, &str> = HashMap::new();
    for spec in &specs {
        if let Some(problem) = clips::window_problem(&spec.clip) {
            return Err(Failed::usage(format!("{} {problem}", spec.origin)));
        }
        let name = spec.clip.clip_id.as_str();
        if let Some(first) = origins.insert(name, &spec.origin).filter(|_| !name.is_empty()) {
            return Err(Failed::usage(format!("{first} and {} have the same name", spec.origin)));
        }
    }
    Ok(specs)
}

/// Names the clips that have no name by their position; a number that is a clip's name is not used again.
fn number_clips(request: &mut ExportBatch) {
    let taken: Vec<String> = request.clips.iter().map(|clip| clip.clip_id.clone()).collect();
    for (index, clip) in request.clips.iter_mut().enumerate().filter(|(_, clip)| clip.clip_id.is_empty()) {
        let numbers = (index + 1..).map(|number| format!("clip-{number}"));
        clip.clip_id = numbers.filter(|name| !taken.contains(name)).take(1).collect();
    }
}

fn override_with<T: Clone>(field: &mut T, argument: Option<&T>) {
    if let Some(argument) = argument {
        field.clone_from(argument);
    }
}

/// Checks the request as a server does. Which buckets a server allows, only the server knows.
fn check(request: &ExportBatch, is_local: bool) -> Result<Batch, Failed> {
    let mut others = Vec::new();
    if !is_local {
        let uris = [request.source.as_ref().map(|source| &source.uri), request.output.as_ref().map(|out| &out.prefix)];
        let buckets = uris.into_iter().flatten().filter_map(|uri| uri.strip_prefix("gs://")?.split('/').next());
        others.extend(buckets.map(ToOwned::to_owned));
    }
    let policy = AccessPolicy::of_buckets(names::LOCAL_BUCKET, &others);
    batch::check(request, &policy, &request.batch_id).map_err(|failure| {
        if let [bad] = failure.details.as_slice()
            && bad.field == "source.uri"
        {
            let uri = request.source.as_ref().map_or("", |source| source.uri.as_str());
            return Failed::usage(format!("{uri} {}", bad.reason))
                .hint("give a file, or use --server for other buckets");
        }
        let mut text = failure.message.clone();
        for bad in failure.details.iter().filter(|_| failure.details.len() > 1) {
            text += &format!("\n  {}: {}", bad.field, bad.reason);
        }
        Failed::usage(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches as _};

    fn plan(arguments: &[&str]) -> Result<Plan, String> {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("talk.mp4");
        fs::write(&source, b"\0\0\0\x20ftypisom").unwrap();
        let command = ExportArgs::augment_args(clap::Command::new("export"));
        let words = ["export", source.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        Plan::new(&ExportArgs::from_arg_matches(&matches).unwrap(), true).map_err(|failed| failed.text().to_owned())
    }

    #[test]
    fn files_have_the_names_of_source_and_clip() {
        let plan = plan(&["--clip", "intro=0-1", "--clip", "1:05+15", "--clip", "clip-3=2-3"]).unwrap();
        let paths: Vec<String> = plan.files.iter().map(|file| file.path.display().to_string()).collect();
        assert_eq!(paths, ["clips/talk-intro.mp4", "clips/talk-clip-2.mp4", "clips/talk-clip-3.mp4"]);
        assert_eq!(plan.files[1].length_ms, 15_000);
        assert!(plan.files.iter().all(|file| file.content.is_some()));
    }

    #[test]
    fn a_number_that_is_a_name_is_not_used_again() {
        let plan = plan(&["--clip", "clip-2=0-1", "--clip", "1-2"]).unwrap();
        assert_eq!(plan.files.iter().map(|file| file.clip.as_str()).collect::<Vec<_>>(), ["clip-2", "clip-3"]);
    }

    #[test]
    fn wrong_arguments_are_named_as_they_were_written() {
        for (arguments, expected) in [
            (&["--clip", "5-3"][..], "--clip 5-3 ends before it starts"),
            (&["--clip", "a=0-1", "--clip", "a=2-3"], "--clip a=0-1 and --clip a=2-3 have the same name"),
            (&["--clip", "soon-3"], "\"soon\" is not a time (use 65, 1:05 or 0:01:05)"),
            (&["--clip", "my clip=0-1"], "for example my-clip"),
            (&["--clip", "0-1", "--quality", "8k"], "possible values: 720p, 1080p"),
            (&["--clip", "0-1", "--fps", "31"], "possible values: 24, 25"),
            (&["--clip", "0-1", "--loudness=14"], "must lie between -40 and -5"),
            (&["--clip", "0-1", "--name", "a/b"], "--name \"a/b\" cannot begin a file's name"),
            (&[], "no clip is named"),
        ] {
            let error = plan(arguments).unwrap_err();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn the_form_of_the_clips_is_part_of_the_request() {
        let plan = plan(&["--clip", "0-1", "--fps", "60", "--reframe", "fit_blur", "--loudness", "--aspect", "1:1"]);
        let plan = plan.unwrap();
        assert_eq!((plan.rendition.fps, plan.rendition.size().to_string()), (60, "1080x1080".to_owned()));
        let clip = &plan.request.clips[0];
        assert_eq!(clip.reframe.as_ref().unwrap().mode, "fit_blur");
        let loudness = clip.audio.as_ref().unwrap().normalize_loudness.as_ref().unwrap();
        assert_eq!(loudness.target_lufs, Some(-14.0));
    }
}

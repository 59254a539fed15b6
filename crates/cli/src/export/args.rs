//! The arguments of `clipfleet export`.

use super::clips::{ClipSpec, parse_clip};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser as _},
};
use clipfleet_domain::{
    audio::NormalizeLoudness,
    rendition::{Aspect, FRAME_RATES, Quality},
    wire_name::WireName,
};
use std::path::PathBuf;

/// Arguments of `clipfleet export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The video: a file (MP4, MOV, MKV or WebM), or gs://bucket/object
    pub(crate) source: Option<String>,

    /// A clip (repeatable): [NAME=]START-END or [NAME=]START+LENGTH
    ///
    /// Times are seconds, minutes or hours, as players show them: 65, 1:05, 1:05.5, 0:01:05. Examples: 1:05-1:20,
    /// 65+15, intro=0-12.5. A name is part of the file's name; it may have letters, digits, '.', '_' and '-'.
    #[arg(long = "clip", value_name = "CLIP", value_parser = parse_clip)]
    pub(crate) clips: Vec<ClipSpec>,
    /// A file with one clip a line: name,start,end
    ///
    /// Columns may be separated by commas, semicolons or tabs. The first line may name them: name, start, and end or
    /// length. The name may be missing.
    #[arg(long = "clips", value_name = "FILE.csv")]
    pub(crate) list: Option<PathBuf>,

    /// Quality of the clips; high is 1080p at a higher bitrate [default: 1080p]
    #[arg(long, value_name = "QUALITY", value_parser = names::<Quality>())]
    pub(crate) quality: Option<String>,
    /// Aspect ratio of the clips [default: 9:16]
    #[arg(long, value_name = "RATIO", value_parser = names::<Aspect>())]
    pub(crate) aspect: Option<String>,
    /// Frames per second of the clips [default: 30]
    #[arg(long, value_name = "FPS", value_parser = frame_rates())]
    pub(crate) fps: Option<u32>,
    /// How the picture fits: auto_center crops, fit_blur shows all of it [default: auto_center]
    #[arg(long, value_name = "MODE", value_parser = ["auto_center", "fit_blur"])]
    pub(crate) reframe: Option<String>,
    /// Normalize the loudness, to -14 LUFS if no value is given
    #[arg(long, value_name = "LUFS", num_args = 0..=1, require_equals = true, default_missing_value = "-14",
          value_parser = parse_loudness)]
    pub(crate) loudness: Option<f64>,

    /// Directory for the clips
    #[arg(short, long, value_name = "DIR", default_value = "clips")]
    pub(crate) out: PathBuf,
    /// Beginning of the files' names [default: the source's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Overwrite files that exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Open the directory at the end
    #[arg(long)]
    pub(crate) open: bool,
    /// Check everything and show what would be made
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Finish the last interrupted export
    #[arg(long, conflicts_with_all = ["source", "clips", "list", "request", "dry_run"])]
    pub(crate) resume: bool,

    /// Print the final status as JSON instead of bars and a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Print every change as a JSON object on a line, then the final status
    #[arg(long, conflicts_with = "json", hide_short_help = true)]
    pub(crate) json_lines: bool,
    /// Print errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show the logs, too
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Use a running fleet instead of starting one
    #[arg(long, env = "CLIPFLEET_SERVER", value_name = "URL", hide_short_help = true)]
    pub(crate) server: Option<String>,
    /// Identity token, if the server requires one
    #[arg(long, env = "CLIPFLEET_TOKEN", hide_env_values = true, value_name = "TOKEN", hide_short_help = true)]
    pub(crate) token: Option<String>,
    /// A request as JSON (the body of POST /v1/batches), which other arguments override
    #[arg(long, value_name = "FILE.json", hide_short_help = true)]
    pub(crate) request: Option<PathBuf>,
    /// Directory of all data [default: clipfleet in your cache directory]
    #[arg(long, env = "CLIPFLEET_DATA", value_name = "DIR", hide_short_help = true)]
    pub(crate) data: Option<PathBuf>,
    /// Worker processes of the temporary fleet
    #[arg(long, env = "CLIPFLEET_WORKERS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256), hide_short_help = true)]
    pub(crate) workers: u16,
    /// Clips at once per worker
    #[arg(long, env = "CLIPFLEET_SLOTS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=64), hide_short_help = true)]
    pub(crate) slots: u16,
}

/// The examples below the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  clipfleet export talk.mp4 --clip 1:05-1:20 --clip intro=0+12
  clipfleet export talk.mp4 --clips cuts.csv --quality high --out shorts
  clipfleet export talk.mp4 --clip 1:05-1:20 --dry-run
  clipfleet export --resume";

fn names<T: WireName + 'static>() -> PossibleValuesParser {
    PossibleValuesParser::new(T::ALL.iter().map(|(_, name)| *name))
}

fn frame_rates() -> impl clap::builder::TypedValueParser<Value = u32> {
    PossibleValuesParser::new(["24", "25", "30", "50", "60"])
        .map(|text| FRAME_RATES.into_iter().find(|rate| rate.to_string() == text).unwrap_or_default())
}

fn parse_loudness(text: &str) -> Result<f64, String> {
    let lufs = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    NormalizeLoudness::parse_target(lufs).map(|target| target.as_db())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_rate_of_the_domain_can_be_chosen() {
        let parser = frame_rates();
        let command = clap::Command::new("test").arg(clap::Arg::new("fps").long("fps").value_parser(parser));
        for rate in FRAME_RATES {
            let matches = command.clone().get_matches_from(["test", "--fps", &rate.to_string()]);
            assert_eq!(matches.get_one::<u32>("fps"), Some(&rate));
        }
    }
}

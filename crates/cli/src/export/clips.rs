//! The clips of an export as the command line names them: by `--clip`, or by the lines of a file.

use super::timecode::{parse_time, parse_window, window};
use crate::output::text;
use clipfleet_contract::v1::Clip;
use clipfleet_domain::{clip::Window, ids::ClipId, limits};
use std::{fs, path::Path};

/// One clip, and where it was written, for messages.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClipSpec {
    /// `--clip 5-3`, or `cuts.csv:7`.
    pub(crate) origin: String,
    /// The clip; its name may be empty.
    pub(crate) clip: Clip,
}

/// Parses `[NAME=]START-END` or `[NAME=]START+LENGTH`.
pub(crate) fn parse_clip(text: &str) -> Result<ClipSpec, String> {
    let (name, times) = text.rsplit_once('=').unwrap_or(("", text));
    let clip = clip(name, parse_window(times)?)?;
    Ok(ClipSpec { origin: format!("--clip {text}"), clip })
}

fn clip(name: &str, (start_ms, end_ms): (i64, i64)) -> Result<Clip, String> {
    let name = name.trim();
    check_name(name)?;
    Ok(Clip { clip_id: name.to_owned(), start_ms, end_ms, ..Clip::default() })
}

/// Checks the name of a clip, which is its id. An empty one is filled in later.
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || ClipId::parse(name).is_ok() {
        return Ok(());
    }
    let allowed = "use letters, digits, '.', '_' and '-'";
    let proposal = as_id(name);
    Err(if ClipId::parse(&proposal).is_ok() {
        format!("{name:?} cannot be a clip's name; {allowed}, for example {proposal}")
    } else {
        format!("{name:?} cannot be a clip's name; {allowed}, at most {} of them", limits::MAX_ID_CHARS)
    })
}

/// A name made of what an id may contain.
fn as_id(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let words = name.split(|c| !allowed(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// Why a window cannot be a clip, in the words of the command line. [`Window`] decides whether it can.
pub(crate) fn window_problem(clip: &Clip) -> Option<String> {
    let Clip { start_ms, end_ms, .. } = *clip;
    Window::new(start_ms, end_ms).err()?;
    Some(match end_ms - start_ms {
        _ if end_ms > limits::MAX_SOURCE_MS => "ends after 24:00:00, which no source may".to_owned(),
        0 => "has no length".to_owned(),
        ..0 => "ends before it starts".to_owned(),
        length if length < limits::MIN_CLIP_MS => {
            format!("is shorter than {} s", limits::MIN_CLIP_MS as f64 / 1_000.0)
        }
        _ => format!("is longer than {} minutes", limits::MAX_CLIP_MS / 60_000),
    })
}

/// Reads the clips of a file with the columns name, start and end (or length), separated by commas, semicolons or
/// tabs. The first line may name the columns.
pub(crate) fn read_list(path: &Path) -> Result<Vec<ClipSpec>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let file = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let specs = parse_list(&text, &file)?;
    if specs.is_empty() {
        return Err(format!("{} names no clips; write one a line: name,start,end", path.display()));
    }
    Ok(specs)
}

fn parse_list(text: &str, file: &str) -> Result<Vec<ClipSpec>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut columns = Columns::default();
    let mut specs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let origin = format!("{file}:{}", index + 1);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let fields = fields(line).map_err(|reason| format!("{origin}: {reason}"))?;
        if specs.is_empty()
            && let Some(named) = Columns::named_by(&fields).map_err(|reason| format!("{origin}: {reason}"))?
        {
            columns = named;
            continue;
        }
        let clip = columns.clip(&fields).map_err(|reason| format!("{origin}: {reason}"))?;
        specs.push(ClipSpec { origin, clip });
    }
    Ok(specs)
}

/// The fields of a line. A field in quotes may contain the separator, and a quote twice.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let separator = [';', '\t'].into_iter().find(|separator| line.contains(*separator)).unwrap_or(',');
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(character),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields.iter().map(|field| field.trim().to_owned()).collect())
}

/// Where the columns are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Columns {
    name: Option<usize>,
    start: usize,
    second: usize,
    is_length: bool,
}

impl Default for Columns {
    fn default() -> Self {
        Self { name: Some(0), start: 1, second: 2, is_length: false }
    }
}

impl Columns {
    /// The columns that a header names; `None` if the line is no header.
    fn named_by(fields: &[String]) -> Result<Option<Self>, String> {
        let position =
            |names: &[&str]| fields.iter().position(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name)));
        let name = position(&["name", "clip", "id", "title"]);
        let (start, end) = (position(&["start", "in"]), position(&["end", "out"]));
        let length = position(&["length", "duration"]);
        match (start, end, length) {
            (None, None, None) => Ok(None),
            (Some(start), Some(second), _) => Ok(Some(Self { name, start, second, is_length: false })),
            (Some(start), None, Some(second)) => Ok(Some(Self { name, start, second, is_length: true })),
            _ => Err("the header must name the columns start, and end or length".to_owned()),
        }
    }

    fn clip(&self, fields: &[String]) -> Result<Clip, String> {
        // Two columns are a window without a name.
        let columns = match fields.len() {
            2 if *self == Self::default() => Self { name: None, start: 0, second: 1, is_length: false },
            _ => *self,
        };
        let field = |at: usize| {
            let found = fields.get(at).map(String::as_str);
            found.ok_or_else(|| format!("has {}; write name,start,end", text::plural(fields.len(), "column")))
        };
        let start = parse_time(field(columns.start)?)?;
        let times = window(start, field(columns.second)?, columns.is_length)?;
        clip(columns.name.map_or(Ok(""), field)?, times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<(String, i64, i64)> {
        let specs = parse_list(text, "cuts.csv").unwrap();
        specs.into_iter().map(|spec| (spec.clip.clip_id, spec.clip.start_ms, spec.clip.end_ms)).collect()
    }

    fn row(name: &str, start_ms: i64, end_ms: i64) -> (String, i64, i64) {
        (name.to_owned(), start_ms, end_ms)
    }

    #[test]
    fn a_clip_may_have_a_name() {
        let named = parse_clip("intro=1:05-1:20").unwrap();
        assert_eq!((named.clip.clip_id.as_str(), named.clip.start_ms, named.clip.end_ms), ("intro", 65_000, 80_000));
        assert_eq!(named.origin, "--clip intro=1:05-1:20");
        assert_eq!(parse_clip("65+15").unwrap().clip.clip_id, "");
    }

    #[test]
    fn a_title_is_not_an_id_and_an_id_is_proposed() {
        let error = parse_clip("My Über Clip=1-2").unwrap_err();
        assert!(error.contains("letters, digits") && error.contains("for example my-ber-clip"), "{error}");
        assert!(parse_clip("日本=1-2").unwrap_err().contains("at most 128"));
    }

    #[test]
    fn a_window_that_cannot_be_a_clip_is_described() {
        let problem = |text: &str| window_problem(&parse_clip(text).unwrap().clip).unwrap_or_default();
        assert_eq!(problem("5-3"), "ends before it starts");
        assert_eq!(problem("5-5"), "has no length");
        assert_eq!(problem("5-5.05"), "is shorter than 0.1 s");
        assert_eq!(problem("0-1:00:01"), "is longer than 60 minutes");
        assert_eq!(problem("24:00:00-24:00:05"), "ends after 24:00:00, which no source may");
        assert_eq!(problem("0-1:00:00"), "");
    }

    #[test]
    fn a_list_may_have_a_header_in_any_order() {
        let expected = vec![row("intro", 5_000, 20_000), row("end", 65_000, 80_500)];
        assert_eq!(list("intro,5,20\nend,1:05,1:20.5\n"), expected);
        assert_eq!(list("name,start,end\nintro,5,20\r\nend,1:05,1:20.5"), expected);
        assert_eq!(list("\u{feff}Start;Length;Clip\n5;15;intro\n\n# late\n1:05;15.5;end"), expected);
        assert_eq!(list("\"intro\"\t5\t20\n\"end\"\t1:05\t1:20.5"), expected);
        assert_eq!(list("5,20\n1:05,1:20.5"), [row("", 5_000, 20_000), row("", 65_000, 80_500)]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, expected) in [
            ("intro,5,20\nend,soon,20", "cuts.csv:2: \"soon\" is not a time"),
            ("name,start\nintro,5", "cuts.csv:1: the header must name the columns start, and end or length"),
            ("my clip,5,20", "cuts.csv:1: \"my clip\" cannot be a clip's name"),
            ("intro", "cuts.csv:1: has 1 column;"),
            ("\"intro,5,20", "cuts.csv:1: a quote is not closed"),
        ] {
            let error = parse_list(text, "cuts.csv").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

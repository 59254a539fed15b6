//! Glob patterns of `matchGlob`.

use super::error::ApiError;
use regex::{Regex, RegexBuilder};

/// Longest pattern; object names have at most 1,024 bytes.
const MAX_PATTERN_BYTES: usize = 4 << 10;
/// Largest compiled pattern; a few kilobytes are usual.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// A pattern for object names.
#[derive(Debug, Clone)]
pub(super) struct Glob(Regex);

impl Glob {
    /// Parses a pattern:
    ///
    /// | pattern | matches |
    /// |---|---|
    /// | `*`, `?` | any characters but `/`, one of them |
    /// | `**` | any characters |
    /// | `**/` at the start or behind `/` | any number of folders, none included |
    /// | `[a-z]`, `[^a-z]`, `[!a-z]` | one character of a set, or one that is in none |
    /// | `{a,b}` | either |
    /// | `\*` | the character itself |
    pub(super) fn parse(pattern: &str) -> Result<Self, ApiError> {
        let malformed = || ApiError::Invalid(format!("Invalid glob pattern '{pattern}'."));
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(ApiError::Invalid(format!("The glob pattern is longer than {MAX_PATTERN_BYTES} bytes.")));
        }
        let expression = translate(pattern).ok_or_else(malformed)?;
        let compiled = RegexBuilder::new(&expression).size_limit(MAX_COMPILED_BYTES).build();
        compiled.map(Self).map_err(|_| malformed())
    }

    /// Whether a name matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// The pattern as a regular expression; `None` if a bracket or brace is unbalanced.
fn translate(pattern: &str) -> Option<String> {
    let mut expression = String::from(r"(?s)\A(?:");
    let mut braces = 0;
    // Whether a folder may begin here.
    let mut at_folder = true;
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let folder = std::mem::replace(&mut at_folder, c == '/');
        if let Some(after) = rest.strip_prefix("**/").filter(|_| folder) {
            expression.push_str("(?:.*/)?");
            at_folder = true;
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("**") {
            expression.push_str(".*");
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '[' => {
                let end = rest.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
                expression.push_str(&set(&rest[..end]));
                rest = &rest[end + 1..];
            }
            '{' => {
                braces += 1;
                expression.push_str("(?:");
            }
            '}' if braces > 0 => {
                braces -= 1;
                expression.push(')');
            }
            ',' if braces > 0 => expression.push('|'),
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                literal(escaped, &mut expression);
            }
            '}' => return None,
            _ => literal(c, &mut expression),
        }
    }
    expression.push_str(r")\z");
    (braces == 0).then_some(expression)
}

fn literal(c: char, expression: &mut String) {
    expression.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// A set of characters; it never contains `/`.
fn set(text: &str) -> String {
    let (negated, members) = match text.strip_prefix(['^', '!']) {
        Some(members) => (true, members),
        None => (false, text),
    };
    let mut escaped = String::new();
    for c in members.chars() {
        // A hyphen between two characters is a range, as in regular expressions.
        if c != '-' && c.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    if negated { format!("[^/{escaped}]") } else { format!("[{escaped}]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching<'a>(pattern: &str, names: &[&'a str]) -> Vec<&'a str> {
        let glob = Glob::parse(pattern).unwrap();
        names.iter().copied().filter(|name| glob.matches(name)).collect()
    }

    /// The names and patterns of the system test of Google's Python client.
    #[test]
    fn patterns_match_as_google_documents() {
        let names = ["foo/bar", "foo/baz", "foo/foobar", "foobar"];
        assert_eq!(matching("foo*bar", &names), ["foobar"]);
        assert_eq!(matching("foo**bar", &names), ["foo/bar", "foo/foobar", "foobar"]);
        assert_eq!(matching("**/foobar", &names), ["foo/foobar", "foobar"]);
        assert_eq!(matching("*/ba[rz]", &names), ["foo/bar", "foo/baz"]);
        assert_eq!(matching("*/ba[!a-y]", &names), ["foo/baz"]);
        assert_eq!(matching("**/{foobar,baz}", &names), ["foo/baz", "foo/foobar", "foobar"]);
        assert_eq!(matching("foo/{foo*,*baz}", &names), ["foo/baz", "foo/foobar"]);
        assert_eq!(matching("foo?bar", &names), Vec::<&str>::new());
    }

    #[test]
    fn regular_expression_syntax_is_matched_literally() {
        let names = ["a.mp4", "axmp4", "a+b", "(a|b)", "a*b"];
        assert_eq!(matching("a.mp4", &names), ["a.mp4"]);
        assert_eq!(matching("a+b", &names), ["a+b"]);
        assert_eq!(matching("(a|b)", &names), ["(a|b)"]);
        assert_eq!(matching(r"a\*b", &names), ["a*b"]);
    }

    #[test]
    fn incomplete_and_huge_patterns_are_rejected() {
        for pattern in ["[a", "{a,b", "a}", "a\\", &"{a,b}".repeat(1_000)] {
            assert!(matches!(Glob::parse(pattern), Err(ApiError::Invalid(_))), "{} characters", pattern.len());
        }
    }
}

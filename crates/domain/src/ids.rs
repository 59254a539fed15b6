//! Identifiers. Each is a type of its own, so that one cannot be used in place of another.

use crate::limits::MAX_ID_CHARS;
use std::fmt;

/// Why a text is not an identifier; reads after the field's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadId(String);

fn check(text: &str) -> Result<(), BadId> {
    let refuse = |reason: &str| Err(BadId(format!("{reason}, got {:?}", shorten(text))));
    if text.is_empty() {
        return Err(BadId("must not be empty".into()));
    }
    if text.chars().count() > MAX_ID_CHARS {
        return refuse(&format!("must have at most {MAX_ID_CHARS} characters"));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return refuse("may contain only letters, digits, '-', '_' and '.'");
    }
    // Firestore does not allow these as document ids.
    if text == "." || text == ".." || (text.starts_with("__") && text.ends_with("__")) {
        return refuse("must not be '.', '..' or of the form '__…__'");
    }
    Ok(())
}

/// The first characters of a text, for error messages.
pub fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARS).chain(['…']).collect()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Parses 1 to 128 letters, digits, `-`, `_` and `.` that Firestore allows as a document id.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A batch: all clips of one request. Chosen by the client, which makes the request idempotent, or generated.
    BatchId
);
id!(
    /// A clip within its batch.
    ClipId
);
id!(
    /// The user who owns a batch.
    OwnerUid
);
id!(
    /// The user's project the clips belong to.
    ProjectId
);
id!(
    /// One attempt at a clip.
    AttemptId
);
id!(
    /// A worker process; new at each start.
    WorkerId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_dashes_and_dots_are_accepted() {
        for text in ["a", "wizard--clip-1", "v1.2_x", &"x".repeat(128)] {
            assert_eq!(ClipId::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn ids_that_are_invalid_in_paths_or_firestore_are_refused_with_the_value() {
        for text in ["a/b", "..", "__x__", "ä", "a b", &"x".repeat(129)] {
            assert!(ClipId::parse(text).unwrap_err().to_string().contains("got"), "{text}");
        }
        assert_eq!(ClipId::parse("").unwrap_err().to_string(), "must not be empty");
    }
}

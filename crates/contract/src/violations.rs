//! The invalid fields of a message.

use crate::Malformed;
use clipfleet_domain::failure::FieldViolation;
use std::fmt::Display;

/// Collects the invalid fields of a message, so that an error names all of them.
#[derive(Default)]
pub(crate) struct Violations(pub(crate) Vec<FieldViolation>);

impl Violations {
    /// The error for a message that this fleet wrote itself.
    pub(crate) fn malformed(&self) -> Malformed {
        let list: Vec<String> = self.0.iter().map(|bad| format!("{} {}", bad.field, bad.reason)).collect();
        Malformed(list.join("; "))
    }

    /// Returns the parsed value, or records the field as invalid.
    pub(crate) fn check<T, E: Display>(&mut self, field: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|reason| self.0.push(FieldViolation::new(field, reason.to_string()))).ok()
    }
}

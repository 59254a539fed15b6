//! Everything that is wrong with a message, field by field.

use crate::Malformed;
use clipfleet_domain::failure::FieldViolation;
use std::fmt::Display;

/// Collects what is wrong, field by field, so that all of it can be said at once.
#[derive(Default)]
pub(crate) struct Violations(pub(crate) Vec<FieldViolation>);

impl Violations {
    /// All of it, about a message of our own.
    pub(crate) fn malformed(&self) -> Malformed {
        let list: Vec<String> = self.0.iter().map(|bad| format!("{} {}", bad.field, bad.reason)).collect();
        Malformed(list.join("; "))
    }

    pub(crate) fn take<T, E: Display>(&mut self, field: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|reason| self.0.push(FieldViolation::new(field, reason.to_string()))).ok()
    }
}

//! What somebody asked of a long test by its environment.

use std::{env, ops::Range};

/// The number that a variable asks for; the usual one when it is not set.
///
/// # Panics
/// When it says something else.
pub fn number(variable: &str, usual: u64) -> u64 {
    let Ok(asked) = env::var(variable) else { return usual };
    asked.parse().unwrap_or_else(|_| panic!("{variable}={asked}: give a whole number"))
}

/// The numbers that a variable asks for, `17000..60000`, or as many as `500`; all when it is not set.
///
/// # Panics
/// When it says something else.
pub fn numbers(variable: &str, all: Range<u64>) -> Range<u64> {
    let Ok(asked) = env::var(variable) else { return all };
    let (from, to) = asked.split_once("..").unwrap_or(("0", &asked));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{variable}={asked}: give 500 or 17000..60000"));
    number(from)..number(to)
}

//! Settings of long tests, from environment variables.

use std::{env, ops::Range};

/// Returns the number in a variable, or `default` if it is not set.
///
/// # Panics
/// If the variable holds anything else.
pub fn number(variable: &str, default: u64) -> u64 {
    let Ok(value) = env::var(variable) else { return default };
    value.parse().unwrap_or_else(|_| panic!("{variable}={value}: give a whole number"))
}

/// Returns the range in a variable, such as `17000..60000`, or the first numbers, such as `500`; `default` if it is not
/// set.
///
/// # Panics
/// If the variable holds anything else.
pub fn range(variable: &str, default: Range<u64>) -> Range<u64> {
    let Ok(value) = env::var(variable) else { return default };
    let (from, to) = value.split_once("..").unwrap_or(("0", &value));
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{variable}={value}: give 500 or 17000..60000"));
    number(from)..number(to)
}

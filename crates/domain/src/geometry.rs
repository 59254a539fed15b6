//! Limits of the pictures that a window can be cut from.

use crate::{
    limits::{MAX_SOURCE_SIDE, MIN_SOURCE_SIDE},
    rendition::Size,
};

/// Refuses a picture that is too small or too large to cut a window from.
pub(crate) fn check_source(source: Size) -> Result<(), String> {
    for side in [source.width, source.height] {
        if !(MIN_SOURCE_SIDE..=MAX_SOURCE_SIDE).contains(&side) {
            return Err(format!(
                "picture of {source} has a side outside {MIN_SOURCE_SIDE} to {MAX_SOURCE_SIDE} pixels"
            ));
        }
    }
    Ok(())
}

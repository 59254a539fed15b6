//! The names that enum values have in messages, documents and metrics.

use crate::ids::shorten;

/// An enum whose values have stable names.
pub trait WireName: Copy + PartialEq + 'static {
    /// Every value with its name.
    const ALL: &'static [(Self, &'static str)];

    /// The value with this name. The error lists the known names and reads after the field's name.
    fn parse(name: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(value, _)| *value).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, known)| *known).collect();
            format!("must be one of {}, got {:?}", names.join(", "), shorten(name))
        })
    }

    /// The name of this value.
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rendition::Aspect;

    #[test]
    fn a_value_is_parsed_from_its_name() {
        for (aspect, name) in Aspect::ALL {
            assert_eq!((Aspect::parse(name), aspect.name()), (Ok(*aspect), *name));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(Aspect::parse("3:4").unwrap_err(), r#"must be one of 9:16, 1:1, 4:5, 16:9, got "3:4""#);
    }
}

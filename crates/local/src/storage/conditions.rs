//! Preconditions on generation and metageneration.

use super::{error::Refusal, gcs};

/// What must hold of an object for a request to be carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// The live generation; 0 for none.
    pub(super) generation_match: Option<i64>,
    /// Not this generation; 0 for "there is one".
    pub(super) generation_not_match: Option<i64>,
    /// The metageneration.
    pub(super) metageneration_match: Option<i64>,
    /// Not this metageneration.
    pub(super) metageneration_not_match: Option<i64>,
}

impl Conditions {
    /// Checks them for a change.
    pub(super) fn check_write(&self, current: Option<&gcs::Object>) -> Result<(), Refusal> {
        let generation = current.map_or(0, |object| object.generation);
        let metageneration = current.map_or(0, |object| object.metageneration);
        let holds = self.generation_match.is_none_or(|wanted| wanted == generation)
            && self.generation_not_match.is_none_or(|unwanted| unwanted != generation)
            && self.metageneration_match.is_none_or(|wanted| wanted == metageneration)
            && self.metageneration_not_match.is_none_or(|unwanted| unwanted != metageneration);
        if holds { Ok(()) } else { Err(unmet()) }
    }

    /// Checks them for a read: "not this" is then a question whether anything is new.
    pub(super) fn check_read(&self, object: &gcs::Object) -> Result<(), Refusal> {
        if self.generation_match.is_some_and(|wanted| wanted != object.generation)
            || self.metageneration_match.is_some_and(|wanted| wanted != object.metageneration)
        {
            return Err(unmet());
        }
        if self.generation_not_match == Some(object.generation)
            || self.metageneration_not_match == Some(object.metageneration)
        {
            return Err(Refusal::NotModified);
        }
        Ok(())
    }
}

fn unmet() -> Refusal {
    Refusal::Precondition("At least one of the pre-conditions you specified did not hold.".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_means_that_there_is_no_object() {
        let absent = Conditions { generation_match: Some(0), ..Conditions::default() };
        let present = Conditions { generation_not_match: Some(0), ..Conditions::default() };
        let object = gcs::Object { generation: 7, metageneration: 1, ..gcs::Object::default() };
        assert!(absent.check_write(None).is_ok());
        assert!(absent.check_write(Some(&object)).is_err());
        assert!(present.check_write(None).is_err());
        assert!(present.check_write(Some(&object)).is_ok());
    }

    #[test]
    fn a_reader_that_has_the_generation_is_told_so() {
        let object = gcs::Object { generation: 7, metageneration: 1, ..gcs::Object::default() };
        let known = Conditions { generation_not_match: Some(7), ..Conditions::default() };
        assert_eq!(known.check_read(&object), Err(Refusal::NotModified));
    }
}

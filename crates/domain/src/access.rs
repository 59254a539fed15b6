//! Which objects an owner may use: the places that sources are read from, and those that results are written to.

use crate::{
    batch::Prefix,
    ids::{OwnerUid, shorten},
    source::ObjectUri,
};
use std::{fmt, str::FromStr};

/// What stands for the owner in a place, as one whole part of its path.
const OWNER: &str = "{ownerUid}";

/// The folder of results in the bucket for requests without a prefix, unless places are configured.
const RESULTS: &str = "processed-clips";

/// A part of a place's path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Name(String),
    Owner,
}

/// Objects under `gs://BUCKET/PREFIX/`, in which a part `{ownerUid}` stands for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    bucket: String,
    parts: Vec<Part>,
}

impl Place {
    /// All objects of a bucket.
    pub fn bucket(name: impl Into<String>) -> Self {
        Self { bucket: name.into(), parts: Vec::new() }
    }

    /// Whether an object is in this place; the owner may be any if none is given.
    fn contains(&self, uri: &ObjectUri, owner: Option<&OwnerUid>) -> bool {
        let mut path: Vec<&str> = uri.object().split('/').collect();
        // The last part is the object's own name.
        path.pop();
        let holds = |(part, text): (&Part, &&str)| match part {
            Part::Name(name) => name == text,
            Part::Owner => owner.is_none_or(|owner| owner.as_str() == *text),
        };
        uri.bucket() == self.bucket && path.len() >= self.parts.len() && self.parts.iter().zip(&path).all(holds)
    }

    /// Whether each owner has a place of their own.
    pub fn is_by_owner(&self) -> bool {
        self.parts.contains(&Part::Owner)
    }

    /// The place as one owner sees it.
    fn of(&self, owner: &OwnerUid) -> String {
        self.to_string().replace(OWNER, owner.as_str())
    }
}

impl FromStr for Place {
    type Err = String;

    /// The error reads after the setting's name.
    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = |reason: &str| Err(format!("{reason}, got {:?}", shorten(text)));
        let Some((bucket, path)) = text.strip_prefix("gs://").and_then(|rest| rest.split_once('/')) else {
            return invalid("must be places such as gs://BUCKET/uploads/{ownerUid}/, comma-separated");
        };
        if !path.is_empty() && !path.ends_with('/') {
            return invalid("must name places that end in '/'");
        }
        let named = path.trim_end_matches('/').split('/').filter(|_| !path.is_empty());
        let parts: Vec<Part> =
            named.map(|part| if part == OWNER { Part::Owner } else { Part::Name(part.to_owned()) }).collect();
        if parts.iter().any(|part| matches!(part, Part::Name(name) if name.is_empty() || name.contains(['{', '}']))) {
            return invalid("must name places whose path has no empty part, and {ownerUid} as a whole part");
        }
        // The rules for URIs hold for buckets and names here, too.
        if let Err(bad) = ObjectUri::parse(&format!("gs://{bucket}/{}object", path.replace(OWNER, "owner"))) {
            return Err(bad.to_string());
        }
        Ok(Self { bucket: bucket.to_owned(), parts })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}/", self.bucket)?;
        self.parts.iter().try_for_each(|part| match part {
            Part::Name(name) => write!(f, "{name}/"),
            Part::Owner => write!(f, "{OWNER}/"),
        })
    }
}

/// Which objects owners may use. Dispatcher and workers check it, each by itself: a worker's queue is a border of
/// trust, and the worker may read and write more than any owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicy {
    sources: Vec<Place>,
    outputs: Vec<Place>,
}

impl AccessPolicy {
    /// Sources are read from `sources`, and results are written to `outputs`. Results of requests without a prefix are
    /// stored in the first place of `outputs`, which therefore is one by owner.
    pub fn new(sources: Vec<Place>, outputs: Vec<Place>) -> Result<Self, String> {
        match outputs.first() {
            Some(first) if first.is_by_owner() => Ok(Self { sources, outputs }),
            first => Err(format!(
                "must begin with a place that contains {OWNER}, where results of requests without output.prefix are \
                 stored, got {:?}",
                first.map(Place::to_string).unwrap_or_default()
            )),
        }
    }

    /// Everything in some buckets. Results of requests without a prefix are stored in a folder of the first.
    pub fn of_buckets(default_bucket: &str, additional: &[String]) -> Self {
        let results =
            Place { bucket: default_bucket.to_owned(), parts: vec![Part::Name(RESULTS.to_owned()), Part::Owner] };
        let buckets = || [default_bucket].into_iter().chain(additional.iter().map(String::as_str)).map(Place::bucket);
        Self { sources: buckets().collect(), outputs: [results].into_iter().chain(buckets()).collect() }
    }

    /// Checks that an owner's clips may be made from an object. What lies where results are written is no source,
    /// unless a place of sources says so as specifically: results of any owner could otherwise be read through a wider
    /// place. The error reads after the field's name.
    pub fn check_source(&self, owner: &OwnerUid, uri: &ObjectUri) -> Result<(), String> {
        let Some(allowed) = deepest(&self.sources, uri, Some(owner)) else {
            return Err(format!("must lie in {}, got {uri}", places(&self.sources, owner)));
        };
        match deepest(&self.outputs, uri, None) {
            Some(results) if results.parts.len() > allowed.parts.len() => {
                Err(format!("must not be a result: sources do not lie in {results}, got {uri}"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that an owner's results may be written to an object, or under a prefix. The error reads after the field's
    /// name.
    pub fn check_output(&self, owner: &OwnerUid, uri: &ObjectUri) -> Result<(), String> {
        match deepest(&self.outputs, uri, Some(owner)) {
            Some(_) => Ok(()),
            None => Err(format!("must lie in {}, got {uri}", places(&self.outputs, owner))),
        }
    }

    /// Where an owner's results are stored by default.
    pub fn default_prefix(&self, owner: &OwnerUid) -> Result<Prefix, String> {
        Prefix::parse(&self.outputs.first().map(|first| first.of(owner)).unwrap_or_default())
    }

    /// Fails unless every place of results belongs to one owner. The error names the first that does not.
    pub fn separates_owners(&self) -> Result<(), String> {
        match self.outputs.iter().find(|place| !place.is_by_owner()) {
            Some(shared) => Err(format!("must contain {OWNER} in every place, got {shared}")),
            None => Ok(()),
        }
    }
}

/// The most specific place of an object.
fn deepest<'a>(places: &'a [Place], uri: &ObjectUri, owner: Option<&OwnerUid>) -> Option<&'a Place> {
    places.iter().filter(|place| place.contains(uri, owner)).max_by_key(|place| place.parts.len())
}

fn places(places: &[Place], owner: &OwnerUid) -> String {
    places.iter().map(|place| place.of(owner)).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn uri(text: &str) -> ObjectUri {
        ObjectUri::parse(text).unwrap()
    }

    fn owner(text: &str) -> OwnerUid {
        OwnerUid::parse(text).unwrap()
    }

    fn by_owner() -> AccessPolicy {
        let sources = vec![place("gs://uploads/{ownerUid}/"), place("gs://stock/")];
        AccessPolicy::new(sources, vec![place("gs://stock/clips/{ownerUid}/")]).unwrap()
    }

    #[test]
    fn places_are_spelled_as_they_were_given() {
        for text in ["gs://uploads/", "gs://uploads/{ownerUid}/", "gs://uploads/a/{ownerUid}/b/"] {
            assert_eq!(place(text).to_string(), text);
        }
    }

    #[test]
    fn other_places_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "must be places"),
            ("uploads/", "must be places"),
            ("gs://uploads", "must be places"),
            ("gs://uploads/a", "end in '/'"),
            ("gs://uploads/a//b/", "no empty part"),
            ("gs://uploads//", "no empty part"),
            ("gs://uploads/u-{ownerUid}/", "whole part"),
            ("gs://uploads/{uid}/", "whole part"),
            ("gs://{ownerUid}/a/", "bucket"),
            ("gs://U/a/", "bucket"),
            ("gs://uploads/../a/", "'..'"),
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(error.contains(reason) && error.contains("got"), "{text}: {error}");
        }
    }

    #[test]
    fn an_owner_reads_only_what_is_theirs_or_shared() {
        let policy = by_owner();
        let may = |who: &str, what: &str| policy.check_source(&owner(who), &uri(what)).is_ok();
        assert!(may("u1", "gs://uploads/u1/a.mp4") && may("u1", "gs://uploads/u1/b/a.mp4"));
        assert!(may("u1", "gs://stock/beach.mp4"));
        for what in [
            "gs://uploads/u2/a.mp4",
            "gs://uploads/u1",
            "gs://uploads/u11/a.mp4",
            "gs://uploads/a.mp4",
            "gs://elsewhere/u1/a.mp4",
        ] {
            assert!(!may("u1", what), "{what}");
        }
        // An owner whose name is that of the placeholder's folder gains nothing.
        assert!(!may("clips", "gs://uploads/u1/a.mp4"));
        let error = policy.check_source(&owner("u1"), &uri("gs://uploads/u2/a.mp4")).unwrap_err();
        assert_eq!(error, "must lie in gs://uploads/u1/ or gs://stock/, got gs://uploads/u2/a.mp4");
    }

    #[test]
    fn results_are_no_source_unless_the_policy_says_so() {
        let policy = by_owner();
        for who in ["u1", "u2"] {
            let error = policy.check_source(&owner(who), &uri("gs://stock/clips/u1/c.mp4")).unwrap_err();
            assert!(error.contains("must not be a result"), "{error}");
        }
        let results = place("gs://stock/clips/{ownerUid}/");
        let policy = AccessPolicy::new(vec![place("gs://stock/"), results.clone()], vec![results]).unwrap();
        assert!(policy.check_source(&owner("u1"), &uri("gs://stock/clips/u1/c.mp4")).is_ok());
        assert!(policy.check_source(&owner("u2"), &uri("gs://stock/clips/u1/c.mp4")).is_err());
        // Without configured places, too.
        let policy = AccessPolicy::of_buckets("media", &["more".to_owned()]);
        assert!(policy.check_source(&owner("u1"), &uri("gs://media/processed-clips/u1/c.mp4")).is_err());
        assert!(policy.check_source(&owner("u1"), &uri("gs://media/processed.mp4")).is_ok());
        assert!(policy.check_source(&owner("u1"), &uri("gs://more/a.mp4")).is_ok());
    }

    #[test]
    fn an_owner_writes_only_into_their_own_places() {
        let policy = by_owner();
        let may = |who: &str, what: &str| policy.check_output(&owner(who), &uri(what)).is_ok();
        assert!(may("u1", "gs://stock/clips/u1/") && may("u1", "gs://stock/clips/u1/deep/c.mp4"));
        for what in ["gs://stock/clips/u2/c.mp4", "gs://stock/clips/u1", "gs://stock/c.mp4", "gs://uploads/u1/c.mp4"] {
            assert!(!may("u1", what), "{what}");
        }
        assert_eq!(policy.default_prefix(&owner("u1")).unwrap().as_uri().to_string(), "gs://stock/clips/u1/");
        let all = AccessPolicy::of_buckets("media", &[]);
        assert_eq!(all.default_prefix(&owner("u1")).unwrap().as_uri().to_string(), "gs://media/processed-clips/u1/");
        assert!(all.check_output(&owner("u1"), &uri("gs://media/anywhere/c.mp4")).is_ok());
    }

    #[test]
    fn the_first_place_of_results_is_one_by_owner() {
        let error = AccessPolicy::new(Vec::new(), vec![place("gs://results/")]).unwrap_err();
        assert!(error.contains("{ownerUid}") && error.contains("gs://results/"), "{error}");
        assert!(AccessPolicy::new(Vec::new(), Vec::new()).is_err());
        assert!(by_owner().separates_owners().is_ok());
        let error = AccessPolicy::of_buckets("media", &[]).separates_owners().unwrap_err();
        assert!(error.contains("gs://media/"), "{error}");
    }
}

//! Settings of who may call a fleet, what owners may use, and how results are linked to.

use super::cloud::{self, Buckets};
use clipfleet_cloud::LinkKind;
use clipfleet_dispatcher::{Api, Authentication, Callers};
use clipfleet_domain::access::{AccessPolicy, Place};
use clipfleet_service::settings::{Reader, Setting, list, optional};

/// Where sources may lie.
pub(crate) const SOURCES: Setting = Setting {
    flag: "sources",
    env: "CLIPFLEET_SOURCES",
    value: "PLACES",
    default: "",
    help: "Places that sources may lie in, comma-separated, such as gs://B/uploads/{ownerUid}/ [default: all allowed \
           buckets]",
};
/// Where results may be stored.
pub(crate) const OUTPUTS: Setting = Setting {
    flag: "outputs",
    env: "CLIPFLEET_OUTPUTS",
    value: "PLACES",
    default: "",
    help: "Places that results may be stored in; the first, by owner, for requests without a prefix [default: \
           processed-clips/{ownerUid}/ of the default bucket, and all allowed buckets]",
};
/// The kind of links to results.
pub(crate) const OUTPUT_LINKS: Setting = Setting {
    flag: "output-links",
    env: "CLIPFLEET_OUTPUT_LINKS",
    value: "KIND",
    default: "auto",
    help: "Links to results: firebase (a token in the object's metadata), public, signed (for an hour, when asked \
           for), none, or auto (firebase for Firebase's buckets, otherwise signed)",
};
const SURFACE: Setting = Setting {
    flag: "surface",
    env: "CLIPFLEET_SURFACE",
    value: "SURFACE",
    default: "all",
    help: "Routes to serve: requests (batches and clips), operations (fleet and dead letters) or all",
};
const FIREBASE_PROJECT: Setting = Setting {
    flag: "firebase-project",
    env: "CLIPFLEET_FIREBASE_PROJECT",
    value: "PROJECT",
    default: "",
    help: "Firebase project whose users may use their own batches, with their ID tokens",
};
const AUDIENCE: Setting = Setting {
    flag: "audience",
    env: "CLIPFLEET_AUDIENCE",
    value: "URL",
    default: "",
    help: "Audience of the tokens of requesters and operators: the URL of the dispatcher",
};
const REQUESTERS: Setting = Setting {
    flag: "requesters",
    env: "CLIPFLEET_REQUESTERS",
    value: "EMAILS",
    default: "",
    help: "Accounts that may request for every owner, comma-separated",
};
const OPERATORS: Setting = Setting {
    flag: "operators",
    env: "CLIPFLEET_OPERATORS",
    value: "EMAILS",
    default: "",
    help: "Accounts that may also operate the fleet, comma-separated",
};

/// Settings of roles that read sources or write results.
pub(crate) const ACCESS: &[Setting] = &[SOURCES, OUTPUTS, OUTPUT_LINKS];
/// Settings of roles that serve the API.
pub(crate) const API: &[Setting] = &[SURFACE, FIREBASE_PROJECT, AUDIENCE, REQUESTERS, OPERATORS];

/// How a dispatcher serves its callers.
pub(crate) struct ApiSettings {
    pub(crate) buckets: Buckets,
    pub(crate) access: AccessPolicy,
    pub(crate) links: Option<LinkKind>,
    pub(crate) api: Api,
}

/// Reads [`ACCESS`], [`API`] and [`cloud::BUCKETS`].
pub(crate) fn api(reader: &mut Reader<'_>) -> Option<ApiSettings> {
    let buckets = cloud::buckets(reader);
    let firebase_project = reader.take(&FIREBASE_PROJECT, optional);
    let owners_call = firebase_project.as_ref().is_some_and(Option::is_some);
    let places = places(reader, |outputs| match outputs {
        None if owners_call => Err("must be set, because owners call the API (CLIPFLEET_FIREBASE_PROJECT): their own \
                                    places, such as gs://BUCKET/{ownerUid}/"
            .to_owned()),
        Some(policy) if owners_call => policy.separates_owners(),
        _ => Ok(()),
    });
    let links = links(reader);
    let surface = reader.take(&SURFACE, str::parse);
    let (requesters, operators) = (reader.take(&REQUESTERS, list), reader.take(&OPERATORS, list));
    let callers = (firebase_project, requesters, operators);
    let authentication = reader.take(&AUDIENCE, |text| {
        // Those that could not be read are reported by themselves.
        let (Some(firebase_project), Some(requesters), Some(operators)) = callers else { return Ok(None) };
        Authentication::new(&Callers { firebase_project, audience: optional(text)?, requesters, operators })
    });
    let (buckets, places) = (buckets?, places?);
    let access = places.unwrap_or_else(|| AccessPolicy::of_buckets(&buckets.default, &buckets.others));
    let api = Api { surface: surface?, authentication: authentication? };
    Some(ApiSettings { buckets, access, links: links?, api })
}

/// Reads [`ACCESS`] for a worker, which checks only what is configured.
pub(crate) fn worker(reader: &mut Reader<'_>) -> Option<(Option<AccessPolicy>, Option<LinkKind>)> {
    places(reader, |_| Ok(())).zip(links(reader))
}

/// Reads [`OUTPUT_LINKS`].
pub(crate) fn links(reader: &mut Reader<'_>) -> Option<Option<LinkKind>> {
    reader.take(&OUTPUT_LINKS, LinkKind::parse)
}

/// Reads the places of sources and results, if they are configured. `check` may refuse them.
fn places(
    reader: &mut Reader<'_>,
    check: impl FnOnce(Option<&AccessPolicy>) -> Result<(), String>,
) -> Option<Option<AccessPolicy>> {
    let sources = reader.take(&SOURCES, parse)?;
    reader.take(&OUTPUTS, |text| {
        let outputs = parse(text)?;
        let policy = match (sources.is_empty(), outputs.is_empty()) {
            (true, true) => None,
            (false, false) => Some(AccessPolicy::new(sources, outputs)?),
            (true, false) => return Err("must be set together with CLIPFLEET_SOURCES (--sources)".to_owned()),
            (false, true) => return Err("must be set, because CLIPFLEET_SOURCES is".to_owned()),
        };
        check(policy.as_ref())?;
        Ok(policy)
    })
}

fn parse(text: &str) -> Result<Vec<Place>, String> {
    list(text)?.iter().map(|place| place.parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;
    use clipfleet_domain::{ids::OwnerUid, source::ObjectUri};
    use clipfleet_service::settings::declare;

    fn read(arguments: &[&str]) -> Result<ApiSettings, String> {
        let command = declare(Command::new("dispatcher"), &[cloud::BUCKETS, ACCESS, API]);
        let matches = command.try_get_matches_from(["dispatcher"].iter().chain(arguments)).unwrap();
        let mut reader = Reader::new(&matches);
        let settings = api(&mut reader);
        reader.finish(settings).map_err(|bad| bad.to_string())
    }

    #[test]
    fn without_settings_all_buckets_may_be_used_and_nobody_is_authenticated() {
        let settings = read(&["--default-bucket=media", "--allowed-buckets=more"]).unwrap();
        assert!(settings.api.authentication.is_none() && settings.links.is_none());
        assert_eq!(settings.access, AccessPolicy::of_buckets("media", &["more".to_owned()]));
    }

    #[test]
    fn owners_who_call_need_places_of_their_own() {
        let error = read(&["--firebase-project=p"]).err().unwrap();
        assert!(error.contains("CLIPFLEET_OUTPUTS (--outputs) must be set"), "{error}");
        let shared = ["--firebase-project=p", "--sources=gs://uploads/", "--outputs=gs://clips/{ownerUid}/,gs://all/"];
        let error = read(&shared).err().unwrap();
        assert!(error.contains("{ownerUid} in every place, got gs://all/"), "{error}");
        let own = ["--firebase-project=p", "--sources=gs://uploads/{ownerUid}/", "--outputs=gs://clips/{ownerUid}/"];
        let settings = read(&own).unwrap();
        assert!(settings.api.authentication.is_some());
        let (owner, other) = (OwnerUid::parse("u1").unwrap(), OwnerUid::parse("u2").unwrap());
        let source = ObjectUri::parse("gs://uploads/u1/a.mp4").unwrap();
        assert!(settings.access.check_source(&owner, &source).is_ok());
        assert!(settings.access.check_source(&other, &source).is_err());
    }

    #[test]
    fn settings_that_do_not_fit_together_are_named_with_the_remedy() {
        for (arguments, named) in [
            (&["--sources=gs://abc/"][..], "CLIPFLEET_OUTPUTS (--outputs) must be set, because CLIPFLEET_SOURCES is"),
            (&["--outputs=gs://abc/{ownerUid}/"], "together with CLIPFLEET_SOURCES"),
            (&["--sources=gs://abc", "--outputs=gs://abc/{ownerUid}/"], "CLIPFLEET_SOURCES (--sources) must be places"),
            (&["--operators=a@b"], "CLIPFLEET_AUDIENCE (--audience) must be set"),
            (&["--audience=https://d"], "CLIPFLEET_AUDIENCE (--audience) is only used with"),
            (&["--output-links=forever"], "CLIPFLEET_OUTPUT_LINKS (--output-links) must be auto"),
            (&["--surface=none"], "CLIPFLEET_SURFACE (--surface) must be all"),
        ] {
            let error = read(arguments).err().unwrap();
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }
}

//! The query of `GET /v1/batches`: checked parameters, and the tokens of its pages.

use crate::documents::batch::BatchFilter;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clipfleet_domain::{
    failure::{Failure, FieldViolation},
    ids::{BatchId, OwnerUid, ProjectId},
    state::State,
    wire_name::WireName as _,
};
use std::collections::HashMap;

/// Batches per page, unless requested otherwise.
const DEFAULT_PAGE_SIZE: u32 = 50;

/// The maximum. A page needs two reads of as many documents.
const MAX_PAGE_SIZE: u32 = 200;

/// The query parameters.
const OWNER_UID: &str = "ownerUid";
const PROJECT_ID: &str = "projectId";
const STATUS: &str = "status";
const PAGE_SIZE: &str = "pageSize";
const PAGE_TOKEN: &str = "pageToken";
const PARAMETERS: [&str; 5] = [OWNER_UID, PROJECT_ID, STATUS, PAGE_SIZE, PAGE_TOKEN];

/// A request for a page of batches.
#[derive(Debug, PartialEq)]
pub struct PageRequest {
    /// Which batches.
    pub filter: BatchFilter,
    /// The maximum number of batches on the page.
    pub size: u32,
    /// The last batch of the previous page: when it was created, and its id.
    after: Option<(i64, BatchId)>,
}

impl PageRequest {
    /// Reads query parameters. The error names all invalid ones.
    pub fn parse(query: &HashMap<String, String>) -> Result<Self, Failure> {
        let mut violations = Vec::new();
        let unknown = query.keys().filter(|name| !PARAMETERS.contains(&name.as_str()));
        violations.extend(
            unknown.map(|name| FieldViolation::new(name, format!("is not a parameter; use {}", PARAMETERS.join(", ")))),
        );
        let request = Self {
            filter: BatchFilter {
                owner: parameter(query, OWNER_UID, |text| OwnerUid::parse(text).map_err(text_of), &mut violations),
                project: parameter(query, PROJECT_ID, |text| ProjectId::parse(text).map_err(text_of), &mut violations),
                state: parameter(query, STATUS, |text| State::parse(text).map_err(text_of), &mut violations),
            },
            size: parameter(query, PAGE_SIZE, page_size, &mut violations).unwrap_or(DEFAULT_PAGE_SIZE),
            after: parameter(query, PAGE_TOKEN, decode, &mut violations),
        };
        if violations.is_empty() { Ok(request) } else { Err(Failure::invalid(violations)) }
    }

    /// The last batch of the previous page, as [`latest`](crate::documents::batch::latest) takes it.
    pub fn after(&self) -> Option<(i64, &str)> {
        self.after.as_ref().map(|(created_at_ms, id)| (*created_at_ms, id.as_str()))
    }
}

/// Reads a parameter. An empty one is absent, as forms send it.
fn parameter<T>(
    query: &HashMap<String, String>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    violations: &mut Vec<FieldViolation>,
) -> Option<T> {
    let text = query.get(name).filter(|text| !text.is_empty())?;
    parse(text).map_err(|reason| violations.push(FieldViolation::new(name, reason))).ok()
}

fn text_of(error: impl ToString) -> String {
    error.to_string()
}

fn page_size(text: &str) -> Result<u32, String> {
    let valid = text.parse().ok().filter(|size| (1..=MAX_PAGE_SIZE).contains(size));
    valid.ok_or_else(|| format!("must be a number from 1 to {MAX_PAGE_SIZE}, got {text:?}"))
}

/// The token of the page after a batch. Opaque to clients.
pub fn page_token(created_at_ms: i64, id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{created_at_ms}/{id}"))
}

fn decode(token: &str) -> Result<(i64, BatchId), String> {
    let decode = || {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (created_at_ms, id) = text.split_once('/')?;
        Some((created_at_ms.parse().ok()?, BatchId::parse(id).ok()?))
    };
    decode().ok_or_else(|| format!("must be the nextPageToken of a previous page, got {token:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<PageRequest, Failure> {
        PageRequest::parse(&query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn parameters_are_optional() {
        let all = PageRequest { filter: BatchFilter::default(), size: DEFAULT_PAGE_SIZE, after: None };
        assert_eq!(parse(&[]).unwrap(), all);
        assert_eq!(parse(&[("status", ""), ("pageToken", "")]).unwrap(), all, "as forms send empty fields");
        let token = page_token(1_700_000_000_000, "b-1");
        let page = parse(&[("ownerUid", "u1"), ("status", "partial"), ("pageSize", "7"), ("pageToken", &token)]);
        let page = page.unwrap();
        assert_eq!(page.filter.state, Some(State::Partial));
        assert_eq!((page.size, page.after), (7, Some((1_700_000_000_000, BatchId::parse("b-1").unwrap()))));
    }

    #[test]
    fn all_invalid_parameters_are_named() {
        let query = [("status", "done"), ("pageSize", "0"), ("pageToken", "x"), ("owner", "u1")];
        let failure = parse(&query).unwrap_err();
        let mut named: Vec<_> = failure.details.iter().map(|bad| bad.field.as_str()).collect();
        named.sort_unstable();
        assert_eq!(named, ["owner", "pageSize", "pageToken", "status"]);
        assert!(failure.details.iter().all(|bad| !bad.reason.is_empty()));
    }
}

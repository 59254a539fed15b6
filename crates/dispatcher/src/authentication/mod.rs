//! Who calls the HTTP API, and what they may do.
//!
//! | caller | proves it with | may |
//! |---|---|---|
//! | owner | an ID token of Firebase | do everything with their own batches |
//! | requester | a token of Google for a service account or user in the list | request for every owner |
//! | operator | the same, in the list of operators | also operate the fleet |
//!
//! Without any of the settings, IAM in front of the dispatcher is the only check, and every caller is an operator.

mod caller;
mod id_token;
mod keys;

pub(crate) use caller::Caller;

use crate::refusal::Refusal;
use axum::http::{HeaderMap, header};
use clipfleet_domain::failure::{Code, Failure};
use id_token::{Identity, Issuer, TokenError};

/// Where Firebase and Google publish the keys that they sign tokens with.
const FIREBASE_KEYS: &str = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";
const GOOGLE_KEYS: &str = "https://www.googleapis.com/oauth2/v3/certs";

/// Which callers are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callers {
    /// The Firebase project whose users call as owners.
    pub firebase_project: Option<String>,
    /// The audience of tokens of requesters and operators: the dispatcher's URL.
    pub audience: Option<String>,
    /// E-mail addresses of accounts that may request for every owner.
    pub requesters: Vec<String>,
    /// E-mail addresses of accounts that may operate the fleet, too.
    pub operators: Vec<String>,
}

/// Authenticates callers.
pub struct Authentication {
    firebase: Option<Issuer>,
    google: Option<Issuer>,
    requesters: Vec<String>,
    operators: Vec<String>,
}

impl Authentication {
    /// Authentication of these callers; `None` if no settings name any. The error is about the audience, and reads
    /// after its name.
    pub fn new(callers: &Callers) -> Result<Option<Self>, String> {
        Self::with_keys(callers, FIREBASE_KEYS, GOOGLE_KEYS)
    }

    fn with_keys(callers: &Callers, firebase_keys: &str, google_keys: &str) -> Result<Option<Self>, String> {
        let Callers { firebase_project, audience, requesters, operators } = callers;
        let names_accounts = !requesters.is_empty() || !operators.is_empty();
        if names_accounts && audience.is_none() {
            return Err("must be set, because there are requesters or operators: the URL of this dispatcher, which \
                        their tokens name"
                .to_owned());
        }
        if audience.is_some() && !names_accounts {
            return Err("is only used with CLIPFLEET_REQUESTERS or CLIPFLEET_OPERATORS; set one of them".to_owned());
        }
        if !names_accounts && firebase_project.is_none() {
            return Ok(None);
        }
        let lower = |addresses: &[String]| addresses.iter().map(|address| address.to_lowercase()).collect();
        Ok(Some(Self {
            firebase: firebase_project.as_deref().map(|project| Issuer::firebase(project, firebase_keys)),
            google: audience.as_deref().map(|audience| Issuer::google(audience, google_keys)),
            requesters: lower(requesters),
            operators: lower(operators),
        }))
    }

    /// The caller of a request.
    pub(crate) async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer_token(headers).ok_or_else(|| {
            unauthenticated("the request has no token; send it as Authorization: Bearer TOKEN".to_owned())
        })?;
        let issuer = id_token::issuer_of(token);
        let known = [&self.firebase, &self.google].into_iter().flatten();
        let issuer = known.into_iter().find(|known| issuer.as_deref().is_some_and(|issuer| known.is(issuer)));
        let issuer = issuer.ok_or_else(|| {
            unauthenticated("the token is not one that this fleet accepts: no known issuer made it".to_owned())
        })?;
        let identity = issuer.verify(token).await.map_err(|error| match error {
            TokenError::Invalid(reason) => unauthenticated(format!("the token {reason}")),
            TokenError::NoKeys(error) => Refusal::Unavailable(error),
        })?;
        self.authorize(identity)
    }

    fn authorize(&self, identity: Identity) -> Result<Caller, Refusal> {
        match identity {
            Identity::Owner(owner) => Ok(Caller::Owner(owner)),
            Identity::Account(email) if self.operators.contains(&email) => Ok(Caller::Operator),
            Identity::Account(email) if self.requesters.contains(&email) => Ok(Caller::Requester),
            Identity::Account(email) => Err(forbidden(format!(
                "{email} is neither among the requesters nor the operators of this fleet (CLIPFLEET_REQUESTERS, \
                 CLIPFLEET_OPERATORS)"
            ))),
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token.trim())
}

fn unauthenticated(message: String) -> Refusal {
    Refusal::Unauthenticated(Failure::new(Code::Unauthenticated, message))
}

fn forbidden(message: String) -> Refusal {
    Refusal::Forbidden(Failure::new(Code::Forbidden, message))
}

#[cfg(test)]
mod tests;

//! V4 signatures of URLs, verified as Cloud Storage does: signer, expiration, method, path, parameters and headers. A
//! URL without a signature is accepted, because this server requires no credentials. A wrong signature is rejected;
//! otherwise a program that signs wrongly would fail only in production.

use super::{
    account::{Account, SIGNER_EMAIL},
    error::ApiError,
};
use crate::{clock, url};
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use prost_types::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The only algorithm whose key is available. The other one, HMAC, requires keys that are created with the account.
const ALGORITHM: &str = "GOOG4-RSA-SHA256";
/// Longest expiration of a signed URL (documented: 7 days).
const MAX_EXPIRES_SECONDS: u64 = 604_800;
/// How far ahead the signer's clock may be (documented: 15 minutes).
const MAX_CLOCK_SKEW_MICROS: u64 = 15 * 60 * 1_000_000;

/// A signature, from the parameters of a URL.
pub(super) struct Signature {
    parameters: BTreeMap<String, String>,
    signature: Vec<u8>,
    date: String,
    scope: String,
    signed_headers: Vec<String>,
}

impl Signature {
    /// The signature of a URL, if it has one.
    pub(super) fn from_request(parts: &Parts) -> Result<Option<Self>, ApiError> {
        let pairs = url::query(parts.uri.query().unwrap_or_default());
        let has = |name: &str| pairs.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        if has("GoogleAccessId") && has("Signature") {
            let text = "V2 signatures are not part of this local server; sign the URL with version v4.";
            return Err(ApiError::Unsupported(text.into()));
        }
        if !["X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Signature"].into_iter().any(has) {
            return Ok(None);
        }
        let mut parameters: BTreeMap<_, _> = pairs.into_iter().collect();
        let given = |name: &str| {
            parameters.get(name).cloned().ok_or_else(|| malformed(format!("The parameter {name} is missing.")))
        };
        let algorithm = given("X-Goog-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(malformed(format!("X-Goog-Algorithm is '{algorithm}', this local server knows {ALGORITHM}.")));
        }
        let (date, credential) = (given("X-Goog-Date")?, given("X-Goog-Credential")?);
        let signed_headers = given("X-Goog-SignedHeaders")?.split(';').map(str::to_owned).collect();
        let signature = hex::decode(given("X-Goog-Signature")?)
            .map_err(|_| malformed("X-Goog-Signature is not hexadecimal.".into()))?;
        parameters.remove("X-Goog-Signature");
        let (email, scope) =
            credential.split_once('/').ok_or_else(|| malformed("X-Goog-Credential has no scope.".into()))?;
        if email != SIGNER_EMAIL {
            let text = format!("'{email}' is unknown here; sign as {SIGNER_EMAIL}, whose key file this server shows.");
            return Err(denied(StatusCode::FORBIDDEN, "AccessDenied", text));
        }
        let scope = scope.to_owned();
        Ok(Some(Self { parameters, signature, date, scope, signed_headers }))
    }

    /// Verifies the signature of a request at `now`, in microseconds since the epoch.
    pub(super) fn check(&self, parts: &Parts, account: &Account, now: u64) -> Result<(), ApiError> {
        self.check_validity(now)?;
        self.check_headers(&parts.headers)?;
        let host = header_value(parts, "host").ok_or_else(|| malformed("The Host header is missing.".into()))?;
        // Signers disagree on whether the port is part of the host: the official Rust client omits it. The real service
        // has no port.
        let without_port = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        if self.verify(parts, account, without_port)?.is_ok() {
            return Ok(());
        }
        let Err((text, canonical)) = self.verify(parts, account, &host)? else { return Ok(()) };
        let details = vec![("StringToSign", text), ("CanonicalRequest", canonical)];
        let (status, code) = (StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
        let message = "The request signature we calculated does not match the signature you provided. Check your \
                       Google secret key and signing method.";
        Err(ApiError::Denied { status, code, message: message.into(), details })
    }

    /// Verifies the signature for this host. The inner error is the text to sign and the canonical request.
    fn verify(&self, parts: &Parts, account: &Account, host: &str) -> Result<Result<(), (String, String)>, ApiError> {
        let canonical = self.canonical_request(parts, host)?;
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("{ALGORITHM}\n{}\n{}\n{digest}", self.date, self.scope);
        Ok(if account.verify(text.as_bytes(), &self.signature) { Ok(()) } else { Err((text, canonical)) })
    }

    fn check_validity(&self, now: u64) -> Result<(), ApiError> {
        let day = self.scope.split('/').next().unwrap_or_default();
        if !self.scope.ends_with("/storage/goog4_request") || !self.date.starts_with(day) || day.len() != 8 {
            return Err(malformed(format!("The scope '{}' does not fit X-Goog-Date '{}'.", self.scope, self.date)));
        }
        let signed_at =
            parse_date(&self.date).ok_or_else(|| malformed(format!("X-Goog-Date '{}' is no time.", self.date)))?;
        let expires = self.parameters.get("X-Goog-Expires").and_then(|seconds| seconds.parse::<u64>().ok());
        let Some(expires) = expires.filter(|seconds| (1..=MAX_EXPIRES_SECONDS).contains(seconds)) else {
            return Err(malformed(format!("X-Goog-Expires must be 1 to {MAX_EXPIRES_SECONDS} seconds.")));
        };
        if signed_at > now + MAX_CLOCK_SKEW_MICROS {
            return Err(denied(StatusCode::FORBIDDEN, "AccessDenied", "Request is not yet valid.".into()));
        }
        if signed_at + expires * 1_000_000 <= now {
            return Err(denied(StatusCode::BAD_REQUEST, "ExpiredToken", "The provided token has expired.".into()));
        }
        Ok(())
    }

    /// The host must be signed, and every `x-goog-` header of the request.
    fn check_headers(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if !self.signed_headers.iter().any(|name| name == "host") {
            return Err(malformed("X-Goog-SignedHeaders must name host.".into()));
        }
        let unsigned = headers
            .keys()
            .map(header::HeaderName::as_str)
            .find(|name| name.starts_with("x-goog-") && !self.signed_headers.iter().any(|signed| signed == name));
        match unsigned {
            Some(name) => Err(denied(
                StatusCode::BAD_REQUEST,
                "MalformedSecurityHeader",
                format!("The header {name} is sent and not signed; name it when signing."),
            )),
            None => Ok(()),
        }
    }

    fn canonical_request(&self, parts: &Parts, host: &str) -> Result<String, ApiError> {
        let path: Vec<_> = parts.uri.path().split('/').map(|segment| url::encode(&url::decode(segment))).collect();
        let query: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{}={}", url::encode(name), url::encode(value)))
            .collect();
        let mut headers = String::new();
        for name in &self.signed_headers {
            let value = if name == "host" { Some(host.to_owned()) } else { header_value(parts, name) };
            let value = value.ok_or_else(|| malformed(format!("The signed header {name} was not sent.")))?;
            headers.push_str(&format!("{name}:{value}\n"));
        }
        let payload = header_value(parts, "x-goog-content-sha256").unwrap_or_else(|| "UNSIGNED-PAYLOAD".into());
        let (path, query, names) = (path.join("/"), query.join("&"), self.signed_headers.join(";"));
        let method = &parts.method;
        Ok(format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}"))
    }
}

/// A header's value as it is signed: repeated values are joined, and runs of spaces become one space.
fn header_value(parts: &Parts, name: &str) -> Option<String> {
    let values: Vec<_> = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    let value = match values.as_slice() {
        // HTTP/2 has the host in the URL.
        [] if name == "host" => parts.uri.authority()?.to_string(),
        [] => return None,
        values => values.join(","),
    };
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Parses `20261122T173000Z` to microseconds since the epoch.
fn parse_date(date: &str) -> Option<u64> {
    let part = |range: std::ops::Range<usize>| date.get(range);
    let (day, time) =
        (format!("{}-{}-{}", part(0..4)?, part(4..6)?, part(6..8)?), (part(9..11)?, part(11..13)?, part(13..15)?));
    if date.len() != 16 || part(8..9)? != "T" || part(15..16)? != "Z" {
        return None;
    }
    let at: Timestamp = format!("{day}T{}:{}:{}Z", time.0, time.1, time.2).parse().ok()?;
    Some(clock::micros(&at))
}

fn malformed(message: String) -> ApiError {
    denied(StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError", message)
}

fn denied(status: StatusCode, code: &'static str, message: String) -> ApiError {
    ApiError::Denied { status, code, message, details: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_parsed_to_the_second() {
        assert_eq!(parse_date("20261122T173001Z"), Some(1_795_368_601_000_000));
        for wrong in ["", "20261122T173001", "20261322T173001Z", "2026-11-22T17:30Z", "2026112２T173001"] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}

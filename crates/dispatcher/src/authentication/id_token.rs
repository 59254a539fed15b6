//! ID tokens: JSON Web Tokens (RFC 7519) that Firebase or Google signed with RS256.

use super::keys::Keys;
use clipfleet_cloud::CloudError;
use clipfleet_domain::ids::OwnerUid;
use jsonwebtoken::{
    Algorithm, Validation, dangerous::insecure_decode, decode, decode_header, errors::ErrorKind, get_current_timestamp,
};
use serde_json::Value;

/// How far the clocks of issuers may differ from this one, seconds.
const MAX_CLOCK_SKEW: u64 = 10;

/// Whom a token names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// A user of the Firebase project.
    Owner(OwnerUid),
    /// An account of Google by its e-mail address, in lower case.
    Account(String),
}

/// Why a token proves nothing.
#[derive(Debug)]
pub(super) enum TokenError {
    /// Reads after "the token".
    Invalid(String),
    /// The issuer's keys cannot be read.
    NoKeys(CloudError),
}

/// What an issuer's tokens name.
enum Kind {
    Firebase,
    Google,
}

/// An issuer of tokens for this fleet.
pub(super) struct Issuer {
    kind: Kind,
    names: Vec<String>,
    audience: String,
    keys: Keys,
}

impl Issuer {
    /// <https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library>
    pub(super) fn firebase(project: &str, keys: &str) -> Self {
        let names = vec![format!("https://securetoken.google.com/{project}")];
        Self { kind: Kind::Firebase, names, audience: project.to_owned(), keys: Keys::new(keys) }
    }

    /// <https://cloud.google.com/docs/authentication/token-types#id>
    pub(super) fn google(audience: &str, keys: &str) -> Self {
        let names = ["https://accounts.google.com", "accounts.google.com"].map(str::to_owned).into();
        Self { kind: Kind::Google, names, audience: audience.to_owned(), keys: Keys::new(keys) }
    }

    /// Whether tokens with this issuer are its own.
    pub(super) fn is(&self, issuer: &str) -> bool {
        self.names.iter().any(|name| name == issuer)
    }

    /// Verifies a token: its signature, issuer, audience and times.
    pub(super) async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let invalid = |reason: &str| TokenError::Invalid(reason.to_owned());
        let header = decode_header(token).map_err(|_| invalid("is not a JSON Web Token"))?;
        if header.alg != Algorithm::RS256 {
            return Err(TokenError::Invalid(format!("must be signed with RS256, got {:?}", header.alg)));
        }
        let id = header.kid.ok_or_else(|| invalid("names no key"))?;
        let key = self.keys.get(&id).await.map_err(TokenError::NoKeys)?;
        let key = key.ok_or_else(|| invalid("names a key that its issuer does not have; get a new token"))?;
        let claims = decode::<Value>(token, &key, &self.validation()).map_err(|error| invalid(reason(error.kind())))?;
        let claims = claims.claims;
        // The clock by which the other times were checked.
        let now = get_current_timestamp();
        let is_past = |name: &str| claims[name].as_u64().is_some_and(|at| at <= now + MAX_CLOCK_SKEW);
        if !is_past("iat") {
            return Err(invalid("was issued in the future"));
        }
        match self.kind {
            Kind::Firebase if !is_past("auth_time") => Err(invalid("does not say when its user signed in")),
            Kind::Firebase => owner(&claims),
            Kind::Google => account(&claims),
        }
    }

    fn validation(&self) -> Validation {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&self.names);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = MAX_CLOCK_SKEW;
        validation
    }
}

fn owner(claims: &Value) -> Result<Identity, TokenError> {
    let subject = claims["sub"].as_str().unwrap_or_default();
    let owner = OwnerUid::parse(subject);
    owner.map(Identity::Owner).map_err(|bad| TokenError::Invalid(format!("names a user (sub) that {bad}")))
}

fn account(claims: &Value) -> Result<Identity, TokenError> {
    match (claims["email"].as_str(), claims["email_verified"].as_bool()) {
        (Some(email), Some(true)) => Ok(Identity::Account(email.to_lowercase())),
        _ => Err(TokenError::Invalid("contains no verified e-mail address".to_owned())),
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "has expired; get a new one",
        ErrorKind::ImmatureSignature => "is not valid yet",
        ErrorKind::InvalidAudience => "was made for another audience",
        ErrorKind::InvalidIssuer => "was made by another issuer",
        ErrorKind::InvalidSignature => "has an invalid signature",
        ErrorKind::MissingRequiredClaim(_) => "lacks one of exp, iss, aud and sub",
        _ => "is malformed",
    }
}

/// The issuer that a token names, not verified: it only selects which keys verify it.
pub(super) fn issuer_of(token: &str) -> Option<String> {
    let claims = insecure_decode::<Value>(token).ok()?.claims;
    claims["iss"].as_str().map(str::to_owned)
}

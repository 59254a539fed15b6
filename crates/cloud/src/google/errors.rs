//! Translates the errors of Google's clients; no other module does.

use crate::{CloudError, ErrorKind};
use google_cloud_auth::{build_errors, signer};
use google_cloud_gax::{
    client_builder,
    error::{Error, rpc::Code},
};
use google_cloud_pubsub::error::PublishError;
use google_cloud_storage::error::SigningError;
use std::{error::Error as StdError, sync::Arc};

/// A failed call of an official client. `doing` names the action and its object: `stat gs://b/o`.
pub(super) fn call(doing: &str, error: Error) -> CloudError {
    let kind = kind_of(&error);
    let cause = match error.status() {
        Some(status) if !status.message.is_empty() => status.message.clone(),
        _ => with_root(&error),
    };
    failed(doing, kind, &cause).because(error)
}

/// A failed call of a generated client.
pub(super) fn status(doing: &str, status: tonic::Status) -> CloudError {
    let kind = kind_of_code(Code::from(status.code() as i32));
    let cause = match (status.message(), status.source()) {
        ("", None) => status.code().description().to_owned(),
        (message, None) => message.to_owned(),
        (_, Some(source)) => with_root(source),
    };
    failed(doing, kind, &cause).because(status)
}

/// A call that timed out; the service may still complete it.
pub(super) fn timeout(doing: &str) -> CloudError {
    failed(doing, ErrorKind::Unavailable, "no answer in time")
}

/// A publish that was not confirmed.
pub(super) fn publish(doing: &str, error: PublishError) -> CloudError {
    match error {
        PublishError::Rpc(error) => {
            let cause = error.status().map_or_else(|| with_root(&*error), |status| status.message.clone());
            failed(doing, kind_of(&error), &cause).because(Shared(error))
        }
        // No ordering keys are used and the publisher outlives its callers, so the only other cause is a shutdown.
        other => failed(doing, ErrorKind::Unavailable, &other.to_string()).because(other),
    }
}

/// A client that could not be built: the address is malformed or the credentials are unusable.
pub(super) fn build(service: &str, error: client_builder::Error) -> CloudError {
    let kind = if error.is_default_credentials() { ErrorKind::Denied } else { ErrorKind::Invalid };
    failed(&format!("set up {service}"), kind, &with_root(&error)).because(error)
}

/// Credentials that could not be read.
pub(super) fn credentials(error: build_errors::Error) -> CloudError {
    failed("read the google cloud credentials of the environment", ErrorKind::Denied, &with_root(&error)).because(error)
}

/// A request that could not be given its credentials.
pub(super) fn authentication(doing: &str, error: google_cloud_auth::errors::CredentialsError) -> CloudError {
    let kind = if error.is_transient() { ErrorKind::Unavailable } else { ErrorKind::Denied };
    failed(doing, kind, &with_root(&error)).because(error)
}

/// A URL that could not be signed.
pub(super) fn signing(doing: &str, error: SigningError) -> CloudError {
    let transport =
        chain(&error).any(|cause| matches!(cause.downcast_ref::<signer::SigningError>(), Some(e) if e.is_transport()));
    let kind = match transport {
        _ if error.is_invalid_parameter() => ErrorKind::Invalid,
        true => ErrorKind::Unavailable,
        false => ErrorKind::Denied,
    };
    failed(doing, kind, &with_root(&error)).because(error)
}

fn kind_of(error: &Error) -> ErrorKind {
    match (error.status().map(|status| status.code), error.http_status_code()) {
        // Responses of Cloud Storage's JSON API have no code, so their HTTP status is used.
        (None | Some(Code::Unknown), Some(http)) => kind_of_http(http),
        (Some(code), _) => kind_of_code(code),
        (None, None) if error.is_binding() => ErrorKind::Invalid,
        (None, None) if error.is_authentication() && !error.is_transient_and_before_rpc() => ErrorKind::Denied,
        // A lost connection, a garbled response, a failed checksum: a retry may succeed.
        (None, None) => ErrorKind::Unavailable,
    }
}

fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::FailedPrecondition => ErrorKind::Conflict,
        Code::InvalidArgument | Code::OutOfRange | Code::Unimplemented => ErrorKind::Invalid,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    }
}

fn kind_of_http(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        409 => ErrorKind::AlreadyExists,
        412 => ErrorKind::Conflict,
        408 | 429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

fn failed(doing: &str, kind: ErrorKind, cause: &str) -> CloudError {
    CloudError::new(kind, format!("{doing}: {}", cause.trim_end_matches('.')))
}

/// An error's text, with that of its root cause, which names the refused connection or the missing file.
fn with_root(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    match chain(error).last().map(ToString::to_string) {
        Some(root) if !text.contains(&root) => format!("{text}: {root}"),
        _ => text,
    }
}

/// An error and its sources, down to the root cause.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error that several publishers share, as the source of each one's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shared(Arc<Error>);

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_gax::error::rpc::Status;

    #[test]
    fn an_error_names_the_resource_and_the_cause() {
        let error = call(
            "stat gs://b/o",
            Error::service(Status::default().set_code(Code::NotFound).set_message("No such object.")),
        );
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "stat gs://b/o: No such object"));
    }

    #[test]
    fn an_http_error_without_a_code_is_classified_by_its_status() {
        let http =
            |status| call("read gs://b/o", Error::http(status, http::HeaderMap::new(), bytes::Bytes::new())).kind();
        assert_eq!(http(412), ErrorKind::Conflict);
        assert_eq!(http(416), ErrorKind::Invalid);
        assert_eq!(http(503), ErrorKind::Unavailable);
    }

    #[test]
    fn a_broken_connection_is_transient() {
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset");
        assert!(call("commit 1 writes", Error::io(broken)).is_transient());
        assert!(status("commit 1 writes", tonic::Status::aborted("contention")).is_transient());
    }
}

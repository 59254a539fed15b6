//! Signed URLs.

use super::{errors, retry};
use crate::{CloudError, ErrorKind, ObjectName, links::one_segment};
use google_cloud_auth::{build_errors, credentials, credentials::service_account, signer::Signer};
use google_cloud_storage::builder::storage::SignedUrlBuilder;
use std::time::Duration;
use tokio::{sync::OnceCell, time::timeout};

/// Longest lifetime of a signed URL; the service's own limit.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where an emulator of ours tells the key of the only account that it knows.
const EMULATOR_KEY: &str = "_clipfleet/service-account";

/// How signed URLs are created.
pub(super) enum SignedUrls {
    /// Signed with the environment's credentials: a key in a file, or an instance's service account through a remote
    /// call, for which the account needs the role `iam.serviceAccountTokenCreator` on itself.
    Google(Signer),
    /// Not possible, for this reason: a user's credentials cannot sign.
    Unsignable(build_errors::Error),
    /// Signed with the emulator's own key; `None` for an emulator that has none, and serves unsigned URLs.
    Emulator { base: String, signer: OnceCell<Option<Signer>> },
}

impl SignedUrls {
    pub(super) fn new(emulator: Option<String>) -> Self {
        match emulator {
            Some(base) => Self::Emulator { base, signer: OnceCell::new() },
            None => credentials::Builder::default().build_signer().map_or_else(Self::Unsignable, Self::Google),
        }
    }

    pub(super) async fn create(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        let doing = format!("sign a url for {name}");
        if lifetime > MAX_LIFETIME {
            let reason = format!("{doing}: {} s is over the limit of 7 days", lifetime.as_secs());
            return Err(CloudError::new(ErrorKind::Invalid, reason));
        }
        let bucket = format!("projects/_/buckets/{}", name.bucket);
        let builder = SignedUrlBuilder::for_object(bucket, &name.object).with_expiration(lifetime);
        let (signer, builder) = match self {
            Self::Google(signer) => (signer, builder),
            Self::Unsignable(error) => {
                return Err(CloudError::new(ErrorKind::Denied, format!("{doing}: these credentials cannot: {error}")));
            }
            Self::Emulator { base, signer } => match signer.get_or_try_init(|| emulator_signer(base)).await? {
                Some(signer) => (signer, builder.with_endpoint(base)),
                None => {
                    let object = one_segment(&name.object);
                    return Ok(format!("{base}/storage/v1/b/{}/o/{object}?alt=media", name.bucket));
                }
            },
        };
        let signed = timeout(retry::ATTEMPT_TIMEOUT, builder.sign_with(signer)).await;
        signed.map_err(|_| errors::timeout(&doing))?.map_err(|error| errors::signing(&doing, error))
    }
}

/// The signer of an emulator, if it has one.
async fn emulator_signer(base: &str) -> Result<Option<Signer>, CloudError> {
    let doing = "read the emulator's key";
    let unavailable =
        |error: reqwest::Error| CloudError::new(ErrorKind::Unavailable, format!("{doing}: {error}")).because(error);
    let request = reqwest::Client::new().get(format!("{base}/{EMULATOR_KEY}")).timeout(retry::ATTEMPT_TIMEOUT);
    let response = request.send().await.map_err(unavailable)?;
    if !response.status().is_success() {
        return Ok(None);
    }
    let key = response.json().await.map_err(unavailable)?;
    let signer = service_account::Builder::new(key).build_signer();
    signer.map(Some).map_err(|error| CloudError::new(ErrorKind::Invalid, format!("{doing}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_emulator_without_a_key_gets_a_plain_url_and_the_same_limit() {
        let server = axum::Router::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, server).await });
        let urls = SignedUrls::new(Some(base.clone()));
        let name = ObjectName::new("b", "a/é 1.mp4");
        let url = urls.create(&name, MAX_LIFETIME).await.unwrap();
        assert_eq!(url, format!("{base}/storage/v1/b/b/o/a%2F%C3%A9%201.mp4?alt=media"));
        let error = urls.create(&name, MAX_LIFETIME + Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

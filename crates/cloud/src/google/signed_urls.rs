//! Download URLs.

use super::{errors, retry};
use crate::{CloudError, ErrorKind, ObjectName};
use google_cloud_auth::{build_errors, credentials, signer::Signer};
use google_cloud_storage::builder::storage::SignedUrlBuilder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use tokio::time::timeout;

/// Longest lifetime of a signed URL; the service's own limit.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// How download URLs are created.
pub(super) enum SignedUrls {
    /// Signed with the environment's credentials: a key in a file, or an instance's service account through a remote
    /// call, for which the account needs the role `iam.serviceAccountTokenCreator` on itself.
    Signed(Signer),
    /// Not possible, for this reason: a user's credentials cannot sign.
    Unsignable(build_errors::Error),
    /// Unsigned, for an emulator at this address.
    Plain(String),
}

impl SignedUrls {
    pub(super) fn new(emulator: Option<String>) -> Self {
        match emulator.map(Self::Plain) {
            Some(plain) => plain,
            None => credentials::Builder::default().build_signer().map_or_else(Self::Unsignable, Self::Signed),
        }
    }

    pub(super) async fn create(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        let doing = format!("sign a url for {name}");
        if lifetime > MAX_LIFETIME {
            let reason = format!("{doing}: {} s is over the limit of 7 days", lifetime.as_secs());
            return Err(CloudError::new(ErrorKind::Invalid, reason));
        }
        let signer = match self {
            Self::Signed(signer) => signer,
            Self::Unsignable(error) => {
                return Err(CloudError::new(ErrorKind::Denied, format!("{doing}: these credentials cannot: {error}")));
            }
            Self::Plain(base) => {
                let object = percent_encoded(&name.object);
                return Ok(format!("{base}/storage/v1/b/{}/o/{object}?alt=media", name.bucket));
            }
        };
        let bucket = format!("projects/_/buckets/{}", name.bucket);
        let signing = SignedUrlBuilder::for_object(bucket, &name.object).with_expiration(lifetime).sign_with(signer);
        let signed = timeout(retry::ATTEMPT_TIMEOUT, signing).await.map_err(|_| errors::timeout(&doing))?;
        signed.map_err(|error| errors::signing(&doing, error))
    }
}

/// An object's name, encoded as one path segment of a URL.
fn percent_encoded(name: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(name, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_slashes_and_accents_is_one_segment() {
        assert_eq!(percent_encoded("clips/é 1.mp4"), "clips%2F%C3%A9%201.mp4");
    }

    #[tokio::test]
    async fn an_emulator_gets_a_plain_url_and_the_same_limit() {
        let urls = SignedUrls::new(Some("http://127.0.0.1:8085".into()));
        let name = ObjectName::new("b", "a/b.mp4");
        let url = urls.create(&name, MAX_LIFETIME).await.unwrap();
        assert_eq!(url, "http://127.0.0.1:8085/storage/v1/b/b/o/a%2Fb.mp4?alt=media");
        let error = urls.create(&name, MAX_LIFETIME + Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

//! Headers for calls to Google's APIs that no client here covers.

use super::{Access, Endpoints, errors};
use crate::CloudError;
use google_cloud_auth::credentials::CacheableResource;
use http::HeaderMap;

/// The headers that authorize a call with the credentials of the environment, `authorization` among them.
pub async fn authorization_headers() -> Result<HeaderMap, CloudError> {
    let credentials = Access::new(&Endpoints::default())?.target(None).credentials;
    match credentials.headers(http::Extensions::new()).await {
        Ok(CacheableResource::New { data, .. }) => Ok(data),
        Ok(CacheableResource::NotModified) => Ok(HeaderMap::new()),
        Err(error) => Err(errors::authentication("authorize a call", error)),
    }
}

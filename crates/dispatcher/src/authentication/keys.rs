//! The public keys of an issuer of tokens, fetched when needed and kept as long as the issuer says.

use clipfleet_cloud::{CloudError, ErrorKind};
use jsonwebtoken::{DecodingKey, jwk::JwkSet};
use parking_lot::Mutex;
use reqwest::{Client, header::CACHE_CONTROL};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// The longest wait for keys.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long keys are kept if the issuer does not say. Google says hours.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// Issuers publish a key well before they sign with it. So a token that names an unknown one is probably forged, and
/// must not make this process ask the issuer each time.
const MIN_INTERVAL: Duration = Duration::from_secs(60);

/// The keys of one issuer.
pub(super) struct Keys {
    url: String,
    client: Client,
    known: Mutex<Known>,
    /// Held while keys are fetched, so that concurrent requests fetch them once.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<String, DecodingKey>,
    fetched_at: Option<Instant>,
    lifetime: Duration,
}

impl Known {
    /// Whether the issuer should be asked about a key.
    fn is_due(&self, id: &str) -> bool {
        let age = self.fetched_at.map(|at| at.elapsed());
        let limit = if self.by_id.contains_key(id) { self.lifetime.max(MIN_INTERVAL) } else { MIN_INTERVAL };
        age.is_none_or(|age| age >= limit)
    }
}

impl Keys {
    pub(super) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), client: Client::new(), known: Mutex::default(), fetching: Default::default() }
    }

    /// The key with an id; `None` if the issuer has no such key. While the issuer does not answer, known keys are used.
    pub(super) async fn get(&self, id: &str) -> Result<Option<DecodingKey>, CloudError> {
        if self.known.lock().is_due(id) {
            let _only = self.fetching.lock().await;
            // Another request may have fetched them meanwhile.
            let due = self.known.lock().is_due(id);
            if due && let Err(error) = self.fetch().await {
                match self.known.lock().by_id.get(id) {
                    Some(_) => tracing::warn!(%error, "keys not renewed, using the known ones"),
                    None => return Err(error),
                }
            }
        }
        Ok(self.known.lock().by_id.get(id).cloned())
    }

    async fn fetch(&self) -> Result<(), CloudError> {
        let failed = |error: reqwest::Error| {
            let text = format!("read the keys of tokens from {}: {}", self.url, error.without_url());
            CloudError::new(ErrorKind::Unavailable, text)
        };
        let response = self.client.get(&self.url).timeout(TIMEOUT).send().await;
        let response = response.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let lifetime = response.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let set: JwkSet = response.json().await.map_err(failed)?;
        let usable = set.keys.iter().filter_map(|key| {
            let id = key.common.key_id.clone()?;
            Some((id, DecodingKey::from_jwk(key).ok()?))
        });
        *self.known.lock() = Known {
            by_id: usable.collect(),
            fetched_at: Some(Instant::now()),
            lifetime: lifetime.unwrap_or(DEFAULT_LIFETIME),
        };
        Ok(())
    }
}

fn max_age(cache_control: &str) -> Option<Duration> {
    let seconds = cache_control.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_says_how_long_keys_are_kept() {
        assert_eq!(max_age("public, max-age=19302, must-revalidate"), Some(Duration::from_secs(19_302)));
        assert_eq!(max_age("no-store"), None);
        assert_eq!(max_age("max-age=soon"), None);
    }
}

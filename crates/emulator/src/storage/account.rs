//! The only account that can sign URLs for this server: an RSA key that is generated on first use and kept with the
//! data.
//!
//! `GET /_clipfleet/service-account` returns it as the key file of a service account, with which every official client
//! can sign. The key grants no further access, because this server requires no credentials.

use super::{Storage, error::ApiError, tables};
use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use serde_json::{Value, json};

/// The path of the key file. No bucket can have such a name.
pub(crate) const PATH: &str = "/_clipfleet/service-account";

/// The email address of the signer.
pub(super) const SIGNER_EMAIL: &str = "clipfleet-local@clipfleet-local.iam.gserviceaccount.com";

/// The account's key.
pub(super) struct Account {
    pkcs8: Vec<u8>,
    key: KeyPair,
}

impl Account {
    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, ApiError> {
        let key =
            KeyPair::from_pkcs8(&pkcs8).map_err(|error| ApiError::Disk(format!("failed to read the key: {error}")))?;
        Ok(Self { pkcs8, key })
    }

    /// Whether the account signed this text.
    pub(super) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        public.verify(text, signature).is_ok()
    }

    /// The key file, in Google's format.
    pub(super) fn key_file(&self, base_url: &str) -> Value {
        json!({
            "type": "service_account",
            "project_id": "clipfleet-local",
            "private_key_id": "local",
            "private_key": pem(&self.pkcs8),
            "client_email": SIGNER_EMAIL,
            "client_id": "0",
            "auth_uri": format!("{base_url}/_clipfleet/no-authorization"),
            "token_uri": format!("{base_url}/_clipfleet/no-token"),
            "universe_domain": "googleapis.com",
        })
    }
}

impl Storage {
    /// The account; generates its key if there is none.
    pub(super) async fn account(&self) -> Result<&Account, ApiError> {
        self.account
            .get_or_try_init(|| async {
                if let Some(pkcs8) = self.store.read(tables::signing_key).await? {
                    return Account::from_pkcs8(pkcs8);
                }
                let generate =
                    || KeyPair::generate(KeySize::Rsa2048).and_then(|key| Ok(key.as_der()?.as_ref().to_vec()));
                let generated: Result<Vec<u8>, aws_lc_rs::error::Unspecified> =
                    tokio::task::spawn_blocking(generate).await?;
                let pkcs8 = generated.map_err(|_| ApiError::Disk("failed to make a key".into()))?;
                let stored = pkcs8.clone();
                self.store.write(move |transaction| tables::put_signing_key(transaction, &stored)).await?;
                Account::from_pkcs8(pkcs8)
            })
            .await
    }
}

/// A private key in PEM format.
fn pem(pkcs8: &[u8]) -> String {
    let base64 = crate::json::encode_base64(pkcs8);
    let lines = base64.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line)));
    format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n", lines.collect::<String>())
}

//! The one account that can sign URLs for this server: an RSA key made when it is first asked for and kept with the data.
//!
//! `GET /_clipfleet/service-account` shows it as the key file of a service account, which every official client can sign with.
//! It opens nothing but this server, where nothing is closed.

use super::{Storage, error::Refusal, tables};
use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use serde_json::{Value, json};

/// Where the key file is shown. No bucket can be called that.
pub(crate) const PATH: &str = "/_clipfleet/service-account";

/// Who signs.
pub(super) const EMAIL: &str = "clipfleet-local@clipfleet-local.iam.gserviceaccount.com";

/// The account's key.
pub(super) struct Account {
    pkcs8: Vec<u8>,
    key: KeyPair,
}

impl Account {
    fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, Refusal> {
        let key =
            KeyPair::from_pkcs8(&pkcs8).map_err(|error| Refusal::Disk(format!("failed to read the key: {error}")))?;
        Ok(Self { pkcs8, key })
    }

    /// Whether the account signed this text.
    pub(super) fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.key.public_key().as_ref());
        public.verify(text, signature).is_ok()
    }

    /// The key file, in the form that Google hands out.
    pub(super) fn key_file(&self, base_url: &str) -> Value {
        json!({
            "type": "service_account",
            "project_id": "clipfleet-local",
            "private_key_id": "local",
            "private_key": pem(&self.pkcs8),
            "client_email": EMAIL,
            "client_id": "0",
            "auth_uri": format!("{base_url}/_clipfleet/no-authorization"),
            "token_uri": format!("{base_url}/_clipfleet/no-token"),
            "universe_domain": "googleapis.com",
        })
    }
}

impl Storage {
    /// The account; makes its key if there is none.
    pub(super) async fn account(&self) -> Result<&Account, Refusal> {
        self.account
            .get_or_try_init(|| async {
                if let Some(pkcs8) = self.store.read(tables::signing_key).await? {
                    return Account::from_pkcs8(pkcs8);
                }
                let make = || KeyPair::generate(KeySize::Rsa2048).and_then(|key| Ok(key.as_der()?.as_ref().to_vec()));
                let made: Result<Vec<u8>, aws_lc_rs::error::Unspecified> = tokio::task::spawn_blocking(make).await?;
                let pkcs8 = made.map_err(|_| Refusal::Disk("failed to make a key".into()))?;
                let stored = pkcs8.clone();
                self.store.write(move |transaction| tables::put_signing_key(transaction, &stored)).await?;
                Account::from_pkcs8(pkcs8)
            })
            .await
    }
}

/// A private key in the text form of key files.
fn pem(pkcs8: &[u8]) -> String {
    let base64 = crate::json::encode_base64(pkcs8);
    let lines = base64.as_bytes().chunks(64).map(|line| format!("{}\n", String::from_utf8_lossy(line)));
    format!("-----BEGIN PRIVATE KEY-----\n{}-----END PRIVATE KEY-----\n", lines.collect::<String>())
}

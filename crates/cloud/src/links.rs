//! Links: URLs with which a browser shows or downloads an object, without credentials of its own.

use crate::{CloudError, ErrorKind, ObjectInfo, ObjectName, Objects};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

/// In an object's metadata: the tokens with which Firebase's server answers a download, comma-separated. Firebase's own
/// clients write the same. To change or remove it is to revoke every link with the old token.
pub const DOWNLOAD_TOKENS: &str = "firebaseStorageDownloadTokens";

/// How long a signed link is valid: enough to play or download what a page shows, and to go on after a break.
pub const SIGNED_LINK_LIFETIME: Duration = Duration::from_secs(3_600);

/// Endings of the names of buckets that Firebase creates.
const FIREBASE_BUCKETS: [&str; 2] = [".appspot.com", ".firebasestorage.app"];

/// The kinds of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// With a token in the object's metadata: valid until it is changed or the object is deleted.
    Firebase,
    /// The object's plain address, for buckets that anyone may read: valid while the object exists.
    Public,
    /// Signed when read, for an hour.
    Signed,
    /// None.
    Disabled,
}

impl LinkKind {
    /// The name of a kind, as [`parse`](Self::parse) takes it.
    pub fn name(kind: Option<Self>) -> &'static str {
        match kind {
            None => "auto",
            Some(Self::Firebase) => "firebase",
            Some(Self::Public) => "public",
            Some(Self::Signed) => "signed",
            Some(Self::Disabled) => "none",
        }
    }

    /// Parses the name of a kind; `None` is `auto`. The error reads after the setting's name.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        match text {
            "auto" => Ok(None),
            "firebase" => Ok(Some(Self::Firebase)),
            "public" => Ok(Some(Self::Public)),
            "signed" => Ok(Some(Self::Signed)),
            "none" => Ok(Some(Self::Disabled)),
            other => Err(format!("must be auto, firebase, public, signed or none, got {other:?}")),
        }
    }
}

/// Where browsers find objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// The origin of public and signed links.
    pub storage: String,
    /// The origin of Firebase's links.
    pub firebase: String,
    /// Whether this is an emulator, which serves links of every kind for every bucket.
    pub is_emulator: bool,
}

impl Hosts {
    /// Google's.
    pub fn google() -> Self {
        Self {
            storage: "https://storage.googleapis.com".to_owned(),
            firebase: "https://firebasestorage.googleapis.com".to_owned(),
            is_emulator: false,
        }
    }

    /// Those of an emulator.
    pub fn emulator(url: &str) -> Self {
        Self { storage: url.to_owned(), firebase: url.to_owned(), is_emulator: true }
    }

    fn firebase_url(&self, name: &ObjectName, token: &str) -> String {
        format!("{}/v0/b/{}/o/{}?alt=media&token={token}", self.firebase, name.bucket, one_segment(&name.object))
    }

    fn public_url(&self, name: &ObjectName) -> String {
        let segments: Vec<String> = name.object.split('/').map(one_segment).collect();
        format!("{}/{}/{}", self.storage, name.bucket, segments.join("/"))
    }
}

/// An object's name, or a part of it, encoded as one path segment of a URL.
pub(crate) fn one_segment(name: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(name, RESERVED).to_string()
}

/// A link that was made for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The URL; `None` if the link was revoked.
    pub url: Option<String>,
    /// How long it is valid; `None` if it does not expire.
    pub lifetime: Option<Duration>,
}

/// Makes links to objects of one store.
#[derive(Clone)]
pub struct Links {
    objects: Arc<dyn Objects>,
    kind: Option<LinkKind>,
}

impl Links {
    /// Links of one kind; `None` chooses by bucket: Firebase's for its own buckets and for emulators, signed ones for
    /// others.
    pub fn new(objects: Arc<dyn Objects>, kind: Option<LinkKind>) -> Self {
        Self { objects, kind }
    }

    /// The kind for a bucket.
    pub fn kind(&self, bucket: &str) -> LinkKind {
        let is_firebase =
            || self.objects.hosts().is_emulator || FIREBASE_BUCKETS.iter().any(|ending| bucket.ends_with(ending));
        self.kind.unwrap_or_else(|| if is_firebase() { LinkKind::Firebase } else { LinkKind::Signed })
    }

    /// What the metadata of a new object must contain.
    pub fn new_metadata(&self, bucket: &str) -> BTreeMap<String, String> {
        match self.kind(bucket) {
            LinkKind::Firebase => [(DOWNLOAD_TOKENS.to_owned(), Uuid::new_v4().to_string())].into(),
            LinkKind::Public | LinkKind::Signed | LinkKind::Disabled => BTreeMap::new(),
        }
    }

    /// The link that lives as long as an object, if links of this kind do and it was not revoked.
    pub fn permanent(&self, name: &ObjectName, metadata: &BTreeMap<String, String>) -> Option<String> {
        match self.kind(&name.bucket) {
            LinkKind::Firebase => token(metadata).map(|token| self.objects.hosts().firebase_url(name, token)),
            LinkKind::Public => Some(self.objects.hosts().public_url(name)),
            LinkKind::Signed | LinkKind::Disabled => None,
        }
    }

    /// The same, for an object that may have been stored without a token: it gets one.
    pub async fn ensure_permanent(&self, name: &ObjectName, found: &ObjectInfo) -> Result<Option<String>, CloudError> {
        if self.kind(&name.bucket) != LinkKind::Firebase || found.metadata.contains_key(DOWNLOAD_TOKENS) {
            return Ok(self.permanent(name, &found.metadata));
        }
        let mut metadata = found.metadata.clone();
        metadata.extend(self.new_metadata(&name.bucket));
        let metadata = match self.objects.set_metadata(name, found, metadata).await {
            Ok(changed) => changed.metadata,
            // Another attempt was first: its token is as good.
            Err(error) if error.kind() == ErrorKind::Conflict => self.objects.stat(name, None).await?.metadata,
            Err(error) => return Err(error),
        };
        Ok(self.permanent(name, &metadata))
    }

    /// A link for a reader; `None` if links are disabled. Fails with `NotFound` if the object is gone.
    pub async fn current(&self, name: &ObjectName) -> Result<Option<Link>, CloudError> {
        let kind = self.kind(&name.bucket);
        if kind == LinkKind::Disabled {
            return Ok(None);
        }
        let info = self.objects.stat(name, None).await?;
        if kind != LinkKind::Signed {
            return Ok(Some(Link { url: self.permanent(name, &info.metadata), lifetime: None }));
        }
        let url = self.objects.signed_url(name, SIGNED_LINK_LIFETIME).await?;
        Ok(Some(Link { url: Some(url), lifetime: Some(SIGNED_LINK_LIFETIME) }))
    }
}

/// The first token that metadata names.
fn token(metadata: &BTreeMap<String, String>) -> Option<&str> {
    let tokens = metadata.get(DOWNLOAD_TOKENS)?;
    tokens.split(',').map(str::trim).find(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, NewObject, memory};

    async fn stored(links: &Links, name: &ObjectName, metadata: BTreeMap<String, String>) -> ObjectInfo {
        links.objects.ensure_bucket(&name.bucket).await.unwrap();
        let new = NewObject { content_type: "video/mp4".into(), metadata };
        links.objects.create(name, new, Body::Bytes("clip".into())).await.unwrap()
    }

    fn links(kind: Option<LinkKind>) -> Links {
        Links::new(memory::cloud().objects, kind)
    }

    #[test]
    fn the_urls_are_those_of_firebase_and_of_the_store() {
        let name = ObjectName::new("b.appspot.com", "clips/é 1.mp4");
        let google = Hosts::google();
        assert_eq!(
            google.firebase_url(&name, "t-1"),
            "https://firebasestorage.googleapis.com/v0/b/b.appspot.com/o/clips%2F%C3%A9%201.mp4?alt=media&token=t-1"
        );
        assert_eq!(google.public_url(&name), "https://storage.googleapis.com/b.appspot.com/clips/%C3%A9%201.mp4");
        let local = Hosts::emulator("http://127.0.0.1:8085");
        assert!(local.firebase_url(&name, "t").starts_with("http://127.0.0.1:8085/v0/b/b.appspot.com/o/clips%2F"));
        assert!(local.public_url(&name).starts_with("http://127.0.0.1:8085/b.appspot.com/clips/"));
    }

    #[test]
    fn a_kind_has_a_name_and_auto_depends_on_the_bucket() {
        assert_eq!(LinkKind::parse("auto"), Ok(None));
        assert_eq!(LinkKind::parse("none"), Ok(Some(LinkKind::Disabled)));
        for name in ["auto", "firebase", "public", "signed", "none"] {
            assert_eq!(LinkKind::name(LinkKind::parse(name).unwrap()), name);
        }
        assert!(LinkKind::parse("forever").unwrap_err().contains("\"forever\""));
        let auto = links(None);
        assert_eq!(auto.kind("p.appspot.com"), LinkKind::Firebase);
        assert_eq!(auto.kind("p.firebasestorage.app"), LinkKind::Firebase);
        assert_eq!(auto.kind("p-clips"), LinkKind::Signed);
        assert_eq!(links(Some(LinkKind::Public)).kind("p.appspot.com"), LinkKind::Public);
    }

    #[tokio::test]
    async fn a_token_is_unique_and_changing_it_revokes_the_link() {
        let links = links(Some(LinkKind::Firebase));
        let name = ObjectName::new("media", "c.mp4");
        let metadata = links.new_metadata("media");
        assert_ne!(metadata, links.new_metadata("media"));
        let info = stored(&links, &name, metadata).await;
        let link = links.permanent(&name, &info.metadata).unwrap();
        assert_eq!(links.current(&name).await.unwrap(), Some(Link { url: Some(link.clone()), lifetime: None }));

        let changed = [(DOWNLOAD_TOKENS.to_owned(), " new , old".to_owned())].into();
        let info = links.objects.set_metadata(&name, &info, changed).await.unwrap();
        let url = links.current(&name).await.unwrap().unwrap().url.unwrap();
        assert!(url.ends_with("token=new") && url != link, "{url}");

        // Revoked for good: no reader gets a link, and no attempt makes a new token.
        let removed = [(DOWNLOAD_TOKENS.to_owned(), String::new())].into();
        let info = links.objects.set_metadata(&name, &info, removed).await.unwrap();
        assert_eq!(links.current(&name).await.unwrap(), Some(Link { url: None, lifetime: None }));
        assert_eq!(links.ensure_permanent(&name, &info).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_object_without_a_token_gets_one_that_later_attempts_find() {
        let links = links(Some(LinkKind::Firebase));
        let name = ObjectName::new("media", "c.mp4");
        let found = stored(&links, &name, [("kept".to_owned(), "1".to_owned())].into()).await;
        let (first, second) = (
            links.ensure_permanent(&name, &found).await.unwrap(),
            links.ensure_permanent(&name, &found).await.unwrap(),
        );
        assert!(first.is_some() && first == second, "{first:?} {second:?}");
        assert_eq!(links.objects.stat(&name, None).await.unwrap().metadata["kept"], "1");
    }

    #[tokio::test]
    async fn signed_links_are_made_when_read_and_public_ones_never_expire() {
        let name = ObjectName::new("media", "c.mp4");
        let signed = links(Some(LinkKind::Signed));
        let info = stored(&signed, &name, BTreeMap::new()).await;
        assert_eq!(signed.ensure_permanent(&name, &info).await.unwrap(), None);
        let link = signed.current(&name).await.unwrap().unwrap();
        assert_eq!((link.url.is_some(), link.lifetime), (true, Some(SIGNED_LINK_LIFETIME)));
        let public = Links { kind: Some(LinkKind::Public), ..signed.clone() };
        let link = public.current(&name).await.unwrap().unwrap();
        assert_eq!((link.url, link.lifetime), (public.permanent(&name, &info.metadata), None));
        let disabled = Links { kind: Some(LinkKind::Disabled), ..signed.clone() };
        assert_eq!(disabled.current(&name).await.unwrap(), None);
        let gone = signed.current(&ObjectName::new("media", "gone.mp4")).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }
}

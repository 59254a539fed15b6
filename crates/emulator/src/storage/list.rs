//! Lists the objects of a bucket: by prefix, grouped at a delimiter, in pages.

use super::{Storage, bucket_not_found, error::ApiError, gcs, glob::Glob, tables};
use crate::{json, limits};

/// The parameters of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    /// Names start with this.
    pub(super) prefix: String,
    /// Names are cut after the first occurrence of this behind the prefix, and grouped.
    pub(super) delimiter: String,
    /// Names are equal to or after this.
    pub(super) start: String,
    /// Names are before this, if it is not empty.
    pub(super) end: String,
    /// Names match this.
    pub(super) glob: Option<Glob>,
    /// Objects whose names end in the delimiter are also listed as objects.
    pub(super) include_trailing_delimiter: bool,
    /// Largest number of objects and prefixes together; 0 for the default.
    pub(super) page_size: usize,
    /// Where the previous page ended.
    pub(super) page_token: String,
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Objects by name.
    pub(super) objects: Vec<gcs::Object>,
    /// The prefixes of grouped names.
    pub(super) prefixes: Vec<String>,
    /// The token of the next page; empty on the last page.
    pub(super) next: String,
}

impl Storage {
    /// Lists a bucket.
    pub(super) async fn list_objects(&self, bucket: &str, listing: Listing) -> Result<Page, ApiError> {
        let after = match json::decode_base64(&listing.page_token).map(String::from_utf8) {
            Some(Ok(after)) => after,
            _ => return Err(ApiError::Invalid("Invalid page token.".into())),
        };
        let bucket = bucket.to_owned();
        let page = self.store.read(move |snapshot| {
            if tables::bucket(&tables::buckets(snapshot)?, &bucket)?.is_none() {
                return Ok(Err(bucket_not_found()));
            }
            let start = [&listing.prefix, &listing.start, &after].into_iter().max().cloned().unwrap_or_default();
            let table = tables::objects(snapshot)?;
            let objects = tables::objects_from(&table, &bucket, &start)?;
            collect(objects, &listing, &after).map(Ok)
        });
        page.await?
    }
}

/// Returns one page of objects that are sorted by name, without those up to and including `after`.
fn collect(
    objects: impl Iterator<Item = Result<gcs::Object, redb::Error>>,
    listing: &Listing,
    after: &str,
) -> Result<Page, redb::Error> {
    let size =
        if listing.page_size == 0 { limits::MAX_PAGE_SIZE } else { listing.page_size.min(limits::MAX_PAGE_SIZE) };
    let ended_at_prefix = !listing.delimiter.is_empty() && after.ends_with(&listing.delimiter);
    let mut page = Page::default();
    let mut last = String::new();
    for object in objects {
        let object = object?;
        if !object.name.starts_with(&listing.prefix) || (!listing.end.is_empty() && object.name >= listing.end) {
            break;
        }
        if listing.glob.as_ref().is_some_and(|glob| !glob.matches(&object.name)) {
            continue;
        }
        let seen = !after.is_empty() && (object.name == after || (ended_at_prefix && object.name.starts_with(after)));
        let grouped = common_prefix(&object.name, listing);
        if seen
            || grouped.as_ref().is_some_and(|grouped| page.prefixes.last() == Some(grouped) && *grouped != object.name)
        {
            continue;
        }
        if page.objects.len() + page.prefixes.len() >= size {
            page.next = json::encode_base64(last.as_bytes());
            break;
        }
        match grouped {
            Some(grouped) => {
                last.clone_from(&grouped);
                if listing.include_trailing_delimiter && object.name == grouped {
                    page.objects.push(object);
                }
                page.prefixes.push(grouped);
            }
            None => {
                last.clone_from(&object.name);
                page.objects.push(object);
            }
        }
    }
    Ok(page)
}

/// The name up to and including the first delimiter after the prefix.
fn common_prefix(name: &str, listing: &Listing) -> Option<String> {
    if listing.delimiter.is_empty() {
        return None;
    }
    let suffix = name.get(listing.prefix.len()..)?;
    let at = suffix.find(&listing.delimiter)?;
    Some(name[..listing.prefix.len() + at + listing.delimiter.len()].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects and prefixes of each page of a list over these names.
    fn pages(names: &[&str], listing: &Listing) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let from = names.iter().filter(|name| **name >= listing.prefix.as_str() && **name >= after.as_str());
            let objects = from.map(|name| Ok(gcs::Object { name: (*name).into(), ..gcs::Object::default() }));
            let page = collect(objects, listing, &after).unwrap();
            pages.push(page.objects.into_iter().map(|object| object.name).chain(page.prefixes).collect());
            if page.next.is_empty() {
                return pages;
            }
            after = String::from_utf8(json::decode_base64(&page.next).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_delimiter_groups_names() {
        let names = ["a/1", "a/2", "a/b/3", "b", "c/4"];
        let grouped = Listing { delimiter: "/".into(), ..Listing::default() };
        assert_eq!(pages(&names, &grouped), [["b", "a/", "c/"]]);
        let below = Listing { prefix: "a/".into(), delimiter: "/".into(), ..Listing::default() };
        assert_eq!(pages(&names, &below), [["a/1", "a/2", "a/b/"]]);
    }

    #[test]
    fn pages_neither_repeat_nor_skip() {
        let names = ["a/1", "a/2", "b", "c/4", "c/5", "d"];
        let plain = Listing { page_size: 4, ..Listing::default() };
        assert_eq!(pages(&names, &plain), [vec!["a/1", "a/2", "b", "c/4"], vec!["c/5", "d"]]);
        let grouped = Listing { delimiter: "/".into(), page_size: 1, ..Listing::default() };
        assert_eq!(pages(&names, &grouped), [["a/"], ["b"], ["c/"], ["d"]]);
    }
}

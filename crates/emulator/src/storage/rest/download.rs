//! Reading bytes: whole or a range, small ones in one hop, large ones block by block.

use super::{Query, Refusal, Storage};
use crate::{
    limits,
    storage::{
        conditions::{Conditions, Etags},
        gcs, json, range,
    },
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use std::{
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::unix::fs::FileExt,
    sync::Arc,
};

/// What a reader asks for, apart from the object.
pub(super) struct Wanted {
    conditions: Conditions,
    range: Option<String>,
    /// The range is of an object with one of these entity tags; of another all is wanted.
    if_range: Option<Etags>,
    head: bool,
    /// The caller can unpack gzip.
    gzip: bool,
    /// The entity tag is written in quotes, as HTTP wants.
    quoted_etag: bool,
}

impl Wanted {
    /// From the request's head.
    pub(super) fn of(request: &Request, conditions: Conditions) -> Self {
        let headers = request.headers();
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        Self {
            conditions,
            range: range.map(str::to_owned),
            if_range: Etags::of(headers, header::IF_RANGE),
            head: request.method() == Method::HEAD,
            gzip: accepts_gzip(headers),
            quoted_etag: true,
        }
    }

    /// With the entity tag as the resource shows it.
    pub(super) fn with_bare_etag(self) -> Self {
        Self { quoted_etag: false, ..self }
    }
}

/// Whether `Accept-Encoding` names gzip and does not exclude it.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let excluded = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0_f32));
        matches!(name.trim(), "gzip" | "*") && !excluded
    })
}

/// What one trip to a blocking thread yields.
struct Opened {
    object: gcs::Object,
    file: File,
    /// It is packed with gzip, and its reader wants it unpacked.
    unpack: bool,
    /// The part to send; `None` for the whole object.
    range: Option<Range<u64>>,
    /// Its first block.
    first: Bytes,
}

/// Answers with the bytes of an object.
pub(super) async fn media(
    service: Arc<Storage>,
    bucket: String,
    name: String,
    query: &Query,
    wanted: Wanted,
) -> Result<Response, Refusal> {
    let generation = query.number("generation")?;
    let Wanted { conditions, range: wanted, if_range, head, gzip, quoted_etag } = wanted;
    let open = move || {
        let (object, file) = service.open_object(&bucket, &name, generation, &conditions)?;
        if !gzip && is_unpacked(&object, &file)? {
            // Ranges are of the packed bytes; the real service ignores them here, too.
            return Ok(Opened { object, file, unpack: true, range: None, first: Bytes::new() });
        }
        let wanted = wanted.filter(|_| if_range.is_none_or(|etags| etags.contain(&object.etag)));
        let size = u64::try_from(object.size).unwrap_or(0);
        let range = range::requested(wanted.as_deref(), size)?;
        let whole = range.clone().unwrap_or(0..size);
        let first = if head { Bytes::new() } else { read_block(&file, &whole)? };
        Ok::<_, Refusal>(Opened { object, file, unpack: false, range, first })
    };
    let Opened { object, file, unpack, range, first } = tokio::task::spawn_blocking(open).await??;
    let size = u64::try_from(object.size).unwrap_or(0);
    let sent = range.clone().unwrap_or(0..size);
    let body = if unpack {
        if head { Body::empty() } else { Body::from_stream(unpacked(file)) }
    } else if first.len() as u64 == sent.end - sent.start || head {
        Body::from(first)
    } else {
        let rest = sent.start + first.len() as u64..sent.end;
        Body::from_stream(blocks(Arc::new(file), first, rest))
    };
    let mut response = Response::new(body);
    describe(&object, response.headers_mut());
    if !quoted_etag {
        set(response.headers_mut(), header::ETAG, &object.etag);
    }
    // A signer may choose how the download shows itself.
    set(response.headers_mut(), header::CONTENT_TYPE, &query.text("response-content-type"));
    set(response.headers_mut(), header::CONTENT_DISPOSITION, &query.text("response-content-disposition"));
    if unpack {
        // How long it is will be known at its end.
        response.headers_mut().remove(header::CONTENT_ENCODING);
        response.headers_mut().remove(header::ACCEPT_RANGES);
        set(response.headers_mut(), header::WARNING, "214 UploadServer gunzipped");
        return Ok(response);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, (sent.end - sent.start).into());
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{size}", sent.start, sent.end - 1);
        set(response.headers_mut(), header::CONTENT_RANGE, &text);
    }
    Ok(response)
}

/// Whether a reader who cannot unpack gzip gets the object unpacked ("decompressive transcoding"). Bytes that only
/// claim to be packed are sent as they are.
fn is_unpacked(object: &gcs::Object, file: &File) -> io::Result<bool> {
    if object.content_encoding != "gzip" || object.cache_control.contains("no-transform") || object.size < 2 {
        return Ok(false);
    }
    let mut magic = [0; 2];
    file.read_exact_at(&mut magic, 0)?;
    Ok(magic == [0x1f, 0x8b])
}

/// The unpacked bytes of a file, block by block.
fn unpacked(file: File) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let decoder = MultiGzDecoder::new(BufReader::with_capacity(limits::BLOCK_BYTES, file));
    futures::stream::try_unfold(decoder, |mut decoder| async move {
        let read = move || {
            let mut block = Vec::with_capacity(limits::BLOCK_BYTES);
            decoder.by_ref().take(limits::BLOCK_BYTES as u64).read_to_end(&mut block)?;
            Ok::<_, io::Error>((block, decoder))
        };
        let (block, decoder) = tokio::task::spawn_blocking(read).await??;
        Ok((!block.is_empty()).then(|| (Bytes::from(block), decoder)))
    })
}

/// The first block, then the rest, each read on a blocking thread when the one before is on its way.
fn blocks(file: Arc<File>, first: Bytes, rest: Range<u64>) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::try_unfold((Some(first), rest), move |(first, rest)| {
        let file = Arc::clone(&file);
        async move {
            if let Some(first) = first {
                return Ok(Some((first, (None, rest))));
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let range = rest.clone();
            let block = tokio::task::spawn_blocking(move || read_block(&file, &range)).await??;
            let rest = rest.start + block.len() as u64..rest.end;
            Ok(Some((block, (None, rest))))
        }
    })
}

/// Reads the first block of a range.
fn read_block(file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(limits::BLOCK_BYTES);
    let mut block = vec![0; length];
    file.read_exact_at(&mut block, range.start)?;
    Ok(block.into())
}

/// The headers without which the official Rust client fails a read, and those that other clients look at.
pub(super) fn describe(object: &gcs::Object, headers: &mut HeaderMap) {
    let checksums = object.checksums.clone().unwrap_or_default();
    let md5 = crate::json::encode_base64(&checksums.md5_hash);
    let hash = format!("crc32c={},md5={md5}", json::crc32c_text(checksums.crc32c.unwrap_or(0)));
    let fixed = |name: &'static str| HeaderName::from_static(name);
    set(headers, fixed("x-goog-generation"), &object.generation.to_string());
    set(headers, fixed("x-goog-metageneration"), &object.metageneration.to_string());
    set(headers, fixed("x-goog-stored-content-length"), &object.size.to_string());
    set(headers, fixed("x-goog-stored-content-encoding"), or_identity(&object.content_encoding));
    set(headers, fixed("x-goog-storage-class"), &object.storage_class);
    set(headers, fixed("x-goog-hash"), &hash);
    set(headers, header::ETAG, &format!("\"{}\"", object.etag));
    set(headers, header::ACCEPT_RANGES, "bytes");
    set(headers, header::CONTENT_TYPE, &object.content_type);
    set(headers, header::CONTENT_ENCODING, &object.content_encoding);
    set(headers, header::CONTENT_DISPOSITION, &object.content_disposition);
    set(headers, header::CONTENT_LANGUAGE, &object.content_language);
    set(headers, header::CACHE_CONTROL, &object.cache_control);
    for (name, value) in &object.metadata {
        if let Ok(name) = HeaderName::try_from(format!("x-goog-meta-{name}")) {
            set(headers, name, value);
        }
    }
}

fn or_identity(encoding: &str) -> &str {
    if encoding.is_empty() { "identity" } else { encoding }
}

/// Sets a header, unless its value is empty or cannot be one.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if !value.is_empty()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(name, value);
    }
}

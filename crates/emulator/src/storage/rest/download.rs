//! Reads bytes, whole or a range: small objects with one blocking call, large ones block by block.

use super::{ApiError, Query, Storage};
use crate::{
    limits,
    storage::{
        conditions::{Conditions, Etags},
        download_tokens, gcs, json, range,
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

/// A request for an object's bytes.
pub(super) struct MediaRequest {
    conditions: Conditions,
    range: Option<String>,
    /// The range applies only to an object with one of these entity tags; otherwise the whole object is sent.
    if_range: Option<Etags>,
    head: bool,
    /// The caller accepts gzip.
    gzip: bool,
    /// The entity tag of the response is in quotes, as HTTP requires.
    quoted_etag: bool,
    /// The object is sent only if this is one of its download tokens.
    token: Option<String>,
}

impl MediaRequest {
    /// From the request's headers.
    pub(super) fn new(request: &Request, conditions: Conditions) -> Self {
        let headers = request.headers();
        let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        Self {
            conditions,
            range: range.map(str::to_owned),
            if_range: Etags::from_headers(headers, header::IF_RANGE),
            head: request.method() == Method::HEAD,
            gzip: accepts_gzip(headers),
            quoted_etag: true,
            token: None,
        }
    }

    /// The same request with an entity tag without quotes, as in the resource.
    pub(super) fn with_unquoted_etag(self) -> Self {
        Self { quoted_etag: false, ..self }
    }

    /// The same request by a link with a download token.
    pub(super) fn with_token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
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

/// The result of one blocking call.
struct Opened {
    object: gcs::Object,
    file: File,
    /// The object is gzip-compressed and must be decompressed for this reader.
    decompress: bool,
    /// The part to send; `None` for the whole object.
    range: Option<Range<u64>>,
    /// The first block of that part.
    first: Bytes,
}

/// Responds with the bytes of an object.
pub(super) async fn media(
    service: Arc<Storage>,
    bucket: String,
    name: String,
    query: &Query,
    request: MediaRequest,
) -> Result<Response, ApiError> {
    let generation = query.number("generation")?;
    let MediaRequest { conditions, range: range_header, if_range, head, gzip, quoted_etag, token } = request;
    let by_token = token.is_some();
    let open = move || {
        let (object, file) = service.open_object(&bucket, &name, generation, |object| {
            // The token comes first: without it, a caller must not learn whether a condition holds.
            token.as_ref().map_or(Ok(()), |token| download_tokens::check(object, token))?;
            conditions.check_read(object)
        })?;
        if !gzip && needs_decompression(&object, &file)? {
            // Ranges apply to the compressed bytes; the real service ignores them here, too.
            return Ok(Opened { object, file, decompress: true, range: None, first: Bytes::new() });
        }
        let range_header = range_header.filter(|_| if_range.is_none_or(|etags| etags.contains(&object.etag)));
        let size = u64::try_from(object.size).unwrap_or(0);
        let range = range::resolve(range_header.as_deref(), size)?;
        let full_range = range.clone().unwrap_or(0..size);
        let first = if head { Bytes::new() } else { read_block(&file, &full_range)? };
        Ok::<_, ApiError>(Opened { object, file, decompress: false, range, first })
    };
    let Opened { object, file, decompress, range, first } = tokio::task::spawn_blocking(open).await??;
    let size = u64::try_from(object.size).unwrap_or(0);
    let sent = range.clone().unwrap_or(0..size);
    let body = if decompress {
        if head { Body::empty() } else { Body::from_stream(decompressed(file)) }
    } else if first.len() as u64 == sent.end - sent.start || head {
        Body::from(first)
    } else {
        let rest = sent.start + first.len() as u64..sent.end;
        Body::from_stream(blocks(Arc::new(file), first, rest))
    };
    let mut response = Response::new(body);
    set_object_headers(&object, response.headers_mut());
    if !quoted_etag {
        set(response.headers_mut(), header::ETAG, &object.etag);
    }
    if by_token {
        // The holder of one link must not learn the tokens of the others.
        let label = format!("x-goog-meta-{}", download_tokens::LABEL.to_ascii_lowercase());
        response.headers_mut().remove(label.as_str());
    }
    // A signed URL may set these headers of the download.
    set(response.headers_mut(), header::CONTENT_TYPE, &query.text("response-content-type"));
    set(response.headers_mut(), header::CONTENT_DISPOSITION, &query.text("response-content-disposition"));
    if decompress {
        // The length is known only at the end.
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

/// Whether a reader that does not accept gzip gets the object decompressed ("decompressive transcoding"). Bytes that
/// are not actually compressed are sent as they are.
fn needs_decompression(object: &gcs::Object, file: &File) -> io::Result<bool> {
    if object.content_encoding != "gzip" || object.cache_control.contains("no-transform") || object.size < 2 {
        return Ok(false);
    }
    let mut magic = [0; 2];
    file.read_exact_at(&mut magic, 0)?;
    Ok(magic == [0x1f, 0x8b])
}

/// The decompressed bytes of a file, block by block.
fn decompressed(file: File) -> impl futures::Stream<Item = io::Result<Bytes>> {
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

/// The first block, then the rest. Each block is read on a blocking thread after the previous one was sent.
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

/// Sets the headers that the official Rust client requires for a read, and those that other clients use.
pub(super) fn set_object_headers(object: &gcs::Object, headers: &mut HeaderMap) {
    let checksums = object.checksums.clone().unwrap_or_default();
    let fixed = |name: &'static str| HeaderName::from_static(name);
    set(headers, fixed("x-goog-generation"), &object.generation.to_string());
    set(headers, fixed("x-goog-metageneration"), &object.metageneration.to_string());
    set(headers, fixed("x-goog-stored-content-length"), &object.size.to_string());
    set(headers, fixed("x-goog-stored-content-encoding"), or_identity(&object.content_encoding));
    set(headers, fixed("x-goog-storage-class"), &object.storage_class);
    // An adopted file has none: its bytes were never read.
    if let Some(crc32c) = checksums.crc32c {
        let md5 = crate::json::encode_base64(&checksums.md5_hash);
        set(headers, fixed("x-goog-hash"), &format!("crc32c={},md5={md5}", json::crc32c_text(crc32c)));
    }
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

/// Sets a header, unless the value is empty or not a valid header value.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if !value.is_empty()
        && let Ok(value) = HeaderValue::from_str(value)
    {
        headers.insert(name, value);
    }
}

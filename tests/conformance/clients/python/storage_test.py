"""Cloud Storage, through google-cloud-storage, and with plain requests where a client hides the protocol.

"Reference" is the JSON API reference (storage v1); other pointers name pages of the Cloud Storage documentation.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import time

import google_crc32c
import pytest
import requests
from conftest import PROJECT, unique
from google.api_core import exceptions as errors
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account
from google.resumable_media.requests import ResumableUpload

HOST = os.environ["STORAGE_EMULATOR_HOST"]
QUARTER_MEBIBYTE = 256 * 1024


def crc32c(content):
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def md5(content):
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def names(blobs):
    return [blob.name for blob in blobs]


@pytest.fixture
def own_bucket(gcs):
    """An empty bucket for one check."""
    return gcs.create_bucket(unique("clipfleet-own"))


# Buckets


def test_a_bucket_reads_back(gcs):
    """Reference, Buckets: insert and get."""
    name = unique("bucket")
    made = gcs.create_bucket(name, location="EU")
    found = gcs.get_bucket(name)
    assert (found.name, found.location, found.storage_class) == (name, "EU", "STANDARD")
    assert found.time_created == made.time_created
    assert found.exists()


def test_a_bucket_that_exists_is_a_conflict(gcs, own_bucket):
    """Reference, Buckets: insert: 409 conflict."""
    with pytest.raises(errors.Conflict):
        gcs.create_bucket(own_bucket.name)


def test_a_missing_bucket_is_not_found(gcs):
    """Reference: 404 for the bucket, and for objects in it."""
    missing = gcs.bucket(unique("missing"))
    assert gcs.lookup_bucket(missing.name) is None
    for call in (
        lambda: gcs.get_bucket(missing.name),
        lambda: missing.delete(),
        lambda: list(gcs.list_blobs(missing.name)),
        lambda: missing.blob("x").upload_from_string("x"),
        lambda: missing.blob("x").download_as_bytes(),
    ):
        with pytest.raises(errors.NotFound):
            call()


def test_a_bucket_that_is_not_empty_is_not_deleted(own_bucket):
    """Reference, Buckets: delete: 409 unless empty."""
    own_bucket.blob("x").upload_from_string("x")
    with pytest.raises(errors.Conflict):
        own_bucket.delete()
    own_bucket.blob("x").delete()
    own_bucket.delete()
    assert not own_bucket.exists()


def test_buckets_are_listed(gcs):
    """Reference, Buckets: list: by name, with prefix and pages."""
    prefix = unique("listed")
    for n in range(3):
        gcs.create_bucket(f"{prefix}-{n}")
    assert names(gcs.list_buckets(prefix=prefix)) == [f"{prefix}-{n}" for n in range(3)]
    pages = [names(page) for page in gcs.list_buckets(prefix=prefix, page_size=2).pages]
    assert [len(page) for page in pages] == [2, 1]


@pytest.mark.parametrize("name", ["Upper", "ab", "-edge", "sp ace", "x" * 64])
def test_a_bucket_name_that_breaks_the_rules_is_invalid(name):
    """Buckets, Bucket names: 3 to 63 of lower case, digits, `-_.`, starting and ending with a letter or digit; 400."""
    answer = requests.post(f"{HOST}/storage/v1/b?project={PROJECT}", json={"name": name})
    assert answer.status_code == 400


# Uploading


def test_an_object_reads_back_with_its_checksums(blob):
    """Reference, Objects: size, generation, md5Hash, crc32c (base64, big-endian) of the bytes."""
    content = b"\x00\xff" * 1000
    blob.upload_from_string(content, content_type="video/mp4")
    blob.reload()
    assert (blob.size, blob.content_type, blob.metageneration) == (2000, "video/mp4", 1)
    assert (blob.crc32c, blob.md5_hash) == (crc32c(content), md5(content))
    assert blob.generation > 10**15 and blob.etag and blob.id.endswith(f"/{blob.generation}")
    assert blob.download_as_bytes() == content


def test_an_empty_object_is_valid(blob):
    """Reference, Objects: size 0, with the checksums of nothing."""
    blob.upload_from_string(b"")
    blob.reload()
    assert (blob.size, blob.crc32c, blob.md5_hash) == (0, "AAAAAA==", "1B2M2Y8AsgTpgAmY7PhCfg==")
    assert blob.download_as_bytes() == b""


def test_an_upload_carries_metadata(bucket):
    """Reference, Objects: the object has the metadata of its upload."""
    blob = bucket.blob(unique("object"))
    blob.metadata = {"clip": "c1", "Owner": "Ü"}
    blob.cache_control = "public, max-age=3600"
    blob.content_disposition = 'attachment; filename="clip.mp4"'
    blob.content_language = "de"
    blob.upload_from_string(b"x", content_type="video/mp4")
    found = bucket.get_blob(blob.name)
    assert found.metadata == {"clip": "c1", "Owner": "Ü"}
    assert (found.cache_control, found.content_language) == ("public, max-age=3600", "de")
    assert (found.content_disposition, found.content_type) == ('attachment; filename="clip.mp4"', "video/mp4")


def test_a_media_upload_is_only_the_body(bucket):
    """Reference, Objects: insert, uploadType=media: the body is the object, the header is its type."""
    name = unique("object")
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name={name}"
    answer = requests.post(url, data=b"content", headers={"Content-Type": "text/x-note"})
    assert (answer.status_code, answer.json()["size"], answer.json()["contentType"]) == (200, "7", "text/x-note")
    assert bucket.blob(name).download_as_bytes() == b"content"


def test_a_resumable_upload_in_chunks(bucket):
    """Resumable uploads, multiple chunks: 308 until the last one; the client's own chunked upload."""
    content = os.urandom(2 * QUARTER_MEBIBYTE + 17)
    blob = bucket.blob(unique("object"), chunk_size=QUARTER_MEBIBYTE)
    blob.upload_from_file(io.BytesIO(content), content_type="video/mp4")
    found = bucket.get_blob(blob.name)
    assert (found.size, found.crc32c, found.content_type) == (len(content), crc32c(content), "video/mp4")
    assert blob.download_as_bytes() == content


def test_a_resumable_upload_of_unknown_size(bucket):
    """Resumable uploads, unknown size: `bytes a-b/*` until the last chunk states the total."""
    content = os.urandom(QUARTER_MEBIBYTE + 1)
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable"
    upload = ResumableUpload(url, QUARTER_MEBIBYTE)
    session = AuthorizedSession(AnonymousCredentials())
    name = unique("object")
    upload.initiate(session, io.BytesIO(content), {"name": name}, "video/mp4", stream_final=False)
    while not upload.finished:
        upload.transmit_next_chunk(session)
    assert bucket.blob(name).download_as_bytes() == content


def begin(bucket, name, **query):
    """Starts a resumable upload with plain requests; returns its location."""
    parameters = {"uploadType": "resumable", "name": name, **query}
    answer = requests.post(f"{HOST}/upload/storage/v1/b/{bucket.name}/o", params=parameters, json={})
    assert answer.status_code == 200, answer.text
    return answer.headers["Location"]


def send(location, content, content_range):
    headers = {"Content-Range": content_range}
    return requests.put(location, data=content, headers=headers, allow_redirects=False)


def test_an_interrupted_upload_reports_its_progress_and_continues(bucket):
    """Resumable uploads, Check the status: `bytes */N` is answered 308 with the Range that is stored."""
    content = os.urandom(QUARTER_MEBIBYTE + 1000)
    name = unique("object")
    location = begin(bucket, name)
    nothing = send(location, b"", f"bytes */{len(content)}")
    assert (nothing.status_code, nothing.headers.get("Range")) == (308, None)
    first = send(location, content[:QUARTER_MEBIBYTE], f"bytes 0-{QUARTER_MEBIBYTE - 1}/{len(content)}")
    assert (first.status_code, first.headers["Range"]) == (308, f"bytes=0-{QUARTER_MEBIBYTE - 1}")
    status = send(location, b"", f"bytes */{len(content)}")
    assert (status.status_code, status.headers["Range"]) == (308, f"bytes=0-{QUARTER_MEBIBYTE - 1}")
    assert not bucket.blob(name).exists()
    last = send(location, content[QUARTER_MEBIBYTE:], f"bytes {QUARTER_MEBIBYTE}-{len(content) - 1}/{len(content)}")
    assert (last.status_code, last.json()["crc32c"]) == (200, crc32c(content))
    # A client that lost that answer asks again and gets the same answer.
    again = send(location, b"", f"bytes */{len(content)}")
    assert (again.status_code, again.json()["generation"]) == (200, last.json()["generation"])


def test_bytes_sent_again_are_not_stored_twice(bucket):
    """Resumable uploads: bytes that the server already has are ignored."""
    content = os.urandom(QUARTER_MEBIBYTE + 10)
    name = unique("object")
    location = begin(bucket, name)
    send(location, content[:QUARTER_MEBIBYTE], f"bytes 0-{QUARTER_MEBIBYTE - 1}/{len(content)}")
    answer = send(location, content, f"bytes 0-{len(content) - 1}/{len(content)}")
    assert (answer.status_code, answer.json()["crc32c"]) == (200, crc32c(content))


def test_a_cancelled_upload_is_gone(bucket):
    """Resumable uploads, Cancel: DELETE is answered 499; later requests are refused."""
    location = begin(bucket, unique("object"))
    cancelled = requests.delete(location, headers={"Content-Length": "0"})
    assert cancelled.status_code == 499
    assert send(location, b"x", "bytes 0-0/1").status_code in (404, 410, 499)


def test_an_unknown_upload_is_refused(bucket):
    """Resumable uploads: 404 or 410, after which the upload starts again."""
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&upload_id=unknown"
    assert send(url, b"x", "bytes 0-0/1").status_code in (404, 410)


def test_an_upload_with_wrong_checksums_is_refused(bucket):
    """Data validation: an upload whose crc32c or md5Hash does not match is rejected with 400 and creates no object."""
    name = unique("object")
    for promised in ({"crc32c": crc32c(b"other")}, {"md5Hash": md5(b"other")}):
        parts = [
            ("application/json; charset=UTF-8", json.dumps({"name": name, **promised}).encode()),
            ("text/plain", b"content"),
        ]
        body = b"".join(b"--edge\r\nContent-Type: %s\r\n\r\n%s\r\n" % (kind.encode(), part) for kind, part in parts)
        answer = requests.post(
            f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart",
            data=body + b"--edge--",
            headers={"Content-Type": "multipart/related; boundary=edge"},
        )
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert not bucket.blob(name).exists()


@pytest.mark.parametrize("checksum", ["md5", "crc32c"])
def test_the_client_can_verify_its_uploads(blob, checksum):
    """Data validation: the client sends the checksum and accepts the answer."""
    blob.upload_from_string(b"content", checksum=checksum)
    assert blob.download_as_bytes(checksum=checksum) == b"content"


@pytest.mark.parametrize("checksum", ["md5", "crc32c"])
def test_the_client_can_verify_chunked_uploads(bucket, checksum):
    """Data validation: as above, in chunks."""
    content = os.urandom(QUARTER_MEBIBYTE + 5)
    blob = bucket.blob(unique("object"), chunk_size=QUARTER_MEBIBYTE)
    blob.upload_from_file(io.BytesIO(content), checksum=checksum)
    assert blob.download_as_bytes(checksum=checksum) == content


def test_a_declared_size_must_match_the_upload(bucket):
    """Resumable uploads, X-Upload-Content-Length: 400 and no object if another number of bytes is sent."""
    name = unique("object")
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name={name}"
    begun = requests.post(url, json={}, headers={"X-Upload-Content-Length": "10"})
    location = begun.headers["Location"]
    assert send(location, b"01234", "bytes 0-4/5").status_code == 400
    assert requests.put(location, data=b"01234").status_code == 400
    assert not bucket.blob(name).exists()


def test_oversized_metadata_is_refused_in_google_words(bucket):
    """Google's own system test of the client for Node expects this message."""
    metadata = {"metadata": {"x": "y" * 200_000}}
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name={unique('object')}"
    answer = requests.post(url, json=metadata)
    assert (answer.status_code, "Metadata part is too large" in answer.text) == (400, True)


def test_a_media_upload_may_carry_its_checksum_and_encoding(bucket):
    """Reference, Objects: insert: contentEncoding; Data validation: x-goog-hash."""
    name = unique("object")
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&contentEncoding=gzip&name={name}"
    wrong = requests.post(url, data=b"content", headers={"x-goog-hash": f"crc32c={crc32c(b'other')}"})
    right = requests.post(url, data=b"content", headers={"x-goog-hash": f"crc32c={crc32c(b'content')}"})
    assert (wrong.status_code, right.status_code) == (400, 200)
    assert bucket.get_blob(name).content_encoding == "gzip"


# Generations and preconditions


def test_an_object_is_created_only_if_absent(blob):
    """Request preconditions, ifGenerationMatch=0: 412 when there is a live object."""
    blob.upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(errors.PreconditionFailed):
        blob.upload_from_string(b"second", if_generation_match=0)
    assert blob.download_as_bytes() == b"first"


def test_a_resumable_upload_is_created_only_if_absent(bucket):
    """Request preconditions: a resumable upload checks too, at its start or its end."""
    name = unique("object")
    location = begin(bucket, name, ifGenerationMatch=0)
    bucket.blob(name).upload_from_string(b"meanwhile")
    last = send(location, b"x", "bytes 0-0/1")
    assert last.status_code == 412
    blob = bucket.blob(name, chunk_size=QUARTER_MEBIBYTE)
    with pytest.raises(errors.PreconditionFailed):
        blob.upload_from_file(io.BytesIO(b"y"), if_generation_match=0)
    assert bucket.blob(name).download_as_bytes() == b"meanwhile"


def test_an_overwrite_may_require_a_generation(blob):
    """Request preconditions, ifGenerationMatch=g: the generation increases, a stale one is 412."""
    blob.upload_from_string(b"first")
    first = blob.generation
    blob.upload_from_string(b"second", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(errors.PreconditionFailed):
        blob.upload_from_string(b"third", if_generation_match=first)
    assert blob.download_as_bytes() == b"second"


def test_reads_may_require_a_generation(bucket, blob):
    """Request preconditions on reads: 412 on get and download when the generation differs."""
    blob.upload_from_string(b"x")
    blob.reload(if_generation_match=blob.generation)
    with pytest.raises(errors.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=blob.generation + 1)
    with pytest.raises(errors.PreconditionFailed):
        bucket.blob(blob.name).reload(if_metageneration_match=2)


def test_a_conditional_read_of_the_same_generation_is_not_modified(bucket, blob):
    """Request preconditions, ifGenerationNotMatch: 304 without a body on reads."""
    blob.upload_from_string(b"x")
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{blob.name}?ifGenerationNotMatch={blob.generation}"
    for form in ("", "&alt=media"):
        answer = requests.get(url + form)
        assert (answer.status_code, answer.content) == (304, b"")


def test_an_overwritten_generation_is_gone(bucket, blob):
    """Object versioning, off: only the live generation can be read; another is 404."""
    blob.upload_from_string(b"first")
    first = blob.generation
    blob.upload_from_string(b"second")
    old = bucket.blob(blob.name, generation=first)
    assert not old.exists()
    with pytest.raises(errors.NotFound):
        old.download_as_bytes()
    assert bucket.blob(blob.name, generation=blob.generation).download_as_bytes() == b"second"


def test_a_delete_may_require_a_generation(bucket, blob):
    """Reference, Objects: delete: 412 on a stale generation, 404 on a missing object."""
    blob.upload_from_string(b"x")
    with pytest.raises(errors.PreconditionFailed):
        blob.delete(if_generation_match=blob.generation + 1)
    blob.delete(if_generation_match=blob.generation)
    assert not bucket.blob(blob.name).exists()
    with pytest.raises(errors.NotFound):
        bucket.blob(blob.name).delete()


def test_exactly_one_of_many_creators_succeeds(bucket):
    """Request preconditions: with ifGenerationMatch=0 exactly one concurrent upload succeeds."""
    from concurrent.futures import ThreadPoolExecutor

    name = unique("object")

    def create(n):
        try:
            bucket.blob(name).upload_from_string(str(n), if_generation_match=0)
            return n
        except errors.PreconditionFailed:
            return None

    with ThreadPoolExecutor(6) as pool:
        winners = [n for n in pool.map(create, range(6)) if n is not None]
    assert len(winners) == 1
    assert bucket.blob(name).download_as_bytes() == str(winners[0]).encode()


@pytest.mark.parametrize("kind", ["temporary_hold", "event_based_hold"])
def test_a_held_object_is_neither_deleted_nor_replaced(blob, kind):
    """Object holds: 403 until the hold is released."""
    blob.upload_from_string(b"x")
    setattr(blob, kind, True)
    blob.patch()
    assert getattr(blob, kind) is True
    for change in (blob.delete, lambda: blob.upload_from_string(b"y")):
        with pytest.raises(errors.Forbidden, match="under active .* hold"):
            change()
    setattr(blob, kind, False)
    blob.patch()
    assert blob.download_as_bytes() == b"x"
    blob.delete()


def test_an_upload_can_set_a_hold(bucket):
    """Reference, Objects: insert, temporaryHold; HTTP status codes, 403 objectUnderActiveHold."""
    name = unique("object")
    url = f"{HOST}/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable"
    location = requests.post(url, json={"name": name, "temporaryHold": True}).headers["Location"]
    assert requests.put(location, data=b"x").json()["temporaryHold"] is True
    refused = requests.delete(f"{HOST}/storage/v1/b/{bucket.name}/o/{name}")
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (403, "objectUnderActiveHold")


def test_an_upload_has_the_storage_class_of_its_bucket_or_its_own(gcs):
    """Storage classes: an object without one has the default of its bucket."""
    bucket = gcs.bucket(unique("bucket"))
    bucket.storage_class = "NEARLINE"
    bucket = gcs.create_bucket(bucket)
    bucket.blob("default").upload_from_string(b"x")
    own = bucket.blob("own")
    own.storage_class = "COLDLINE"
    own.upload_from_string(b"x")
    assert [blob.storage_class for blob in bucket.list_blobs()] == ["NEARLINE", "COLDLINE"]


def test_reads_may_require_an_entity_tag(bucket, blob):
    """Request preconditions, If-Match and If-None-Match: 412 and 304, on metadata and on bytes."""
    blob.upload_from_string(b"x")
    fresh, etag = bucket.blob(blob.name), blob.etag
    for read in (fresh.reload, fresh.download_as_bytes, fresh.exists):
        with pytest.raises(errors.PreconditionFailed):
            read(if_etag_match="kittens")
        read(if_etag_match=[etag, "kittens"])
        with pytest.raises(errors.NotModified):
            read(if_etag_not_match=etag)
        read(if_etag_not_match="kittens")
    with pytest.raises(errors.PreconditionFailed):
        bucket.reload(if_etag_match="kittens")
    bucket.reload(if_etag_match=bucket.etag)


def test_changes_may_require_an_entity_tag(bucket, blob):
    """JSON API, If-Match: 412 on patch and delete when the entity tag differs."""
    blob.upload_from_string(b"x")
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{blob.name}"
    assert requests.patch(url, json={"contentType": "a/b"}, headers={"If-Match": "kittens"}).status_code == 412
    assert requests.delete(url, headers={"If-Match": "kittens"}).status_code == 412
    assert requests.delete(url, headers={"If-Match": blob.etag}).status_code == 204


def test_bucket_requests_may_require_a_metageneration(own_bucket):
    """Reference, Buckets: get and delete, ifMetagenerationMatch."""
    own_bucket.reload(if_metageneration_match=1)
    with pytest.raises(errors.PreconditionFailed):
        own_bucket.reload(if_metageneration_match=2)
    url = f"{HOST}/storage/v1/b/{own_bucket.name}?ifMetagenerationMatch"
    assert (requests.delete(f"{url}=2").status_code, requests.delete(f"{url}=1").status_code) == (412, 204)


# Downloading


def test_a_download_has_the_entity_tag_of_the_object(blob):
    """Google's own system test of this client: the entity tag is the same text after an upload and after a download."""
    blob.upload_from_string(b"x")
    uploaded = blob.etag
    blob.download_as_text()
    assert blob.etag == uploaded


@pytest.fixture
def packed(bucket):
    blob = bucket.blob(unique("object"))
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"0123456789" * 200_000), content_type="text/plain")
    return blob


def test_a_gzipped_object_is_decompressed_for_clients_without_gzip(bucket, packed):
    """Transcoding of gzip-compressed files: without `Accept-Encoding: gzip` decompressed, without Content-Encoding,
    ranges ignored; with it, or with `Cache-Control: no-transform`, as stored."""
    content = b"0123456789" * 200_000
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{packed.name}?alt=media"
    plain = requests.get(url, headers={"Accept-Encoding": "identity", "Range": "bytes=0-4"})
    assert (plain.status_code, plain.content) == (200, content)
    assert "Content-Encoding" not in plain.headers and plain.headers["x-goog-stored-content-encoding"] == "gzip"
    stored = requests.get(url, headers={"Accept-Encoding": "gzip"}, stream=True)
    assert stored.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(stored.raw.read(decode_content=False)) == content
    packed.cache_control = "no-transform"
    packed.patch()
    kept = requests.get(url, headers={"Accept-Encoding": "identity"}, stream=True)
    assert gzip.decompress(kept.raw.read(decode_content=False)) == content


def test_the_client_reads_gzipped_objects(packed):
    """The client requests gzip and decompresses it, or reads the bytes as stored."""
    assert packed.download_as_bytes() == b"0123456789" * 200_000
    assert gzip.decompress(packed.download_as_bytes(raw_download=True)) == b"0123456789" * 200_000


def test_bytes_with_a_wrong_gzip_encoding_are_sent_unchanged(bucket):
    """Ours: an object with a wrong gzip encoding cannot be decompressed."""
    blob = bucket.blob(unique("object"))
    blob.content_encoding = "gzip"
    blob.upload_from_string(b"plain")
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{blob.name}?alt=media"
    answer = requests.get(url, headers={"Accept-Encoding": "identity"}, stream=True)
    assert answer.raw.read(decode_content=False) == b"plain"


def test_a_range_of_another_version_is_the_whole_object(bucket, blob):
    """RFC 9110, If-Range: the range applies only while the entity tag is the same."""
    blob.upload_from_string(b"0123456789")
    url = f"{HOST}/{bucket.name}/{blob.name}"
    etag = requests.get(url).headers["ETag"]
    ranged = lambda tag: requests.get(url, headers={"Range": "bytes=0-3", "If-Range": tag}).content
    assert (ranged(etag), ranged('"other"')) == (b"0123", b"0123456789")


@pytest.fixture
def digits(blob):
    blob.upload_from_string(b"0123456789", content_type="text/plain")
    return blob


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 0, b"0"), (2, 4, b"234"), (7, None, b"789"), (8, 99, b"89"), (-3, None, b"789")],
)
def test_a_range_is_read(digits, start, end, expected):
    """Reference, Objects: get, Range: both ends included, limited to the end of the object, negative from its end."""
    assert digits.download_as_bytes(start=start, end=end) == expected


def test_a_range_past_the_end_is_not_satisfiable(digits):
    """HTTP status codes, 416 requestedRangeNotSatisfiable."""
    with pytest.raises(errors.RequestRangeNotSatisfiable):
        digits.download_as_bytes(start=10)


def test_a_range_response_identifies_its_object(bucket, digits):
    """XML and JSON API, headers: Content-Range, x-goog-generation, x-goog-hash, x-goog-stored-content-length."""
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{digits.name}?alt=media"
    answer = requests.get(url, headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")
    assert answer.headers["Content-Range"] == "bytes 2-4/10"
    assert answer.headers["x-goog-generation"] == str(digits.generation)
    assert answer.headers["x-goog-stored-content-length"] == "10"
    assert f"crc32c={crc32c(b'0123456789')}" in answer.headers["x-goog-hash"]
    beyond = requests.get(url, headers={"Range": "bytes=10-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")
    whole = requests.get(url)
    assert (whole.status_code, whole.headers["Content-Type"]) == (200, "text/plain")
    assert whole.headers["Content-Length"] == "10"


def test_a_pinned_generation_is_read_or_not_found(bucket, digits):
    """Reference, Objects: get, generation: that generation of the object, otherwise 404."""
    pinned = bucket.blob(digits.name, generation=digits.generation)
    assert pinned.download_as_bytes(start=1, end=2) == b"12"
    digits.upload_from_string(b"other")
    with pytest.raises(errors.NotFound):
        pinned.download_as_bytes(start=1, end=2)


def test_a_missing_object_is_not_found(bucket):
    """Reference, standard errors: {"error": {"code", "message", "errors": [{"reason": "notFound", ...}]}}."""
    name = unique("missing")
    assert bucket.get_blob(name) is None
    with pytest.raises(errors.NotFound):
        bucket.blob(name).download_as_bytes()
    answer = requests.get(f"{HOST}/storage/v1/b/{bucket.name}/o/{name}")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, 404)
    assert error["message"] and error["errors"][0]["reason"] == "notFound"
    assert error["errors"][0]["domain"] == "global"


def test_a_large_object_is_downloaded_in_chunks(bucket):
    """Range requests one after the other, assembled and verified by the client."""
    content = os.urandom(3 * QUARTER_MEBIBYTE + 1)
    bucket.blob(name := unique("object")).upload_from_string(content)
    into = io.BytesIO()
    bucket.blob(name, chunk_size=QUARTER_MEBIBYTE).download_to_file(into)
    assert into.getvalue() == content


def test_objects_are_written_and_read_as_streams(bucket):
    """The client's file interface: writes are resumable chunks, reads are ranges, including seeks."""
    content = os.urandom(QUARTER_MEBIBYTE + 100)
    blob = bucket.blob(unique("object"))
    with blob.open("wb", chunk_size=QUARTER_MEBIBYTE) as out:
        out.write(content[:1000])
        out.write(content[1000:])
    with blob.open("rb", chunk_size=QUARTER_MEBIBYTE) as source:
        source.seek(QUARTER_MEBIBYTE)
        assert source.read() == content[QUARTER_MEBIBYTE:]
        source.seek(10)
        assert source.read(5) == content[10:15]


def test_files_are_uploaded_and_downloaded(bucket, tmp_path):
    """upload_from_filename guesses the type from the name; download_to_filename restores the bytes."""
    source, target = tmp_path / "clip.mp4", tmp_path / "copy.mp4"
    source.write_bytes(os.urandom(5000))
    blob = bucket.blob(unique("object"))
    blob.upload_from_filename(source)
    assert blob.content_type == "video/mp4"
    blob.download_to_filename(target)
    assert target.read_bytes() == source.read_bytes()


def test_a_download_is_not_affected_by_an_overwrite(bucket, blob):
    """Consistency: a download in progress continues with its generation."""
    content = os.urandom(20 * QUARTER_MEBIBYTE)
    blob.upload_from_string(content)
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{blob.name}?alt=media"
    with requests.get(url, stream=True) as answer:
        first = answer.raw.read(1000)
        blob.upload_from_string(b"other")
        assert first + answer.raw.read() == content


def test_the_media_link_of_an_object_works(blob):
    """Reference, Objects, mediaLink: downloads that generation."""
    blob.upload_from_string(b"content")
    blob.reload()
    assert requests.get(blob.media_link).content == b"content"


# Names and lists


@pytest.mark.parametrize(
    "name",
    [
        "größe 日本語 \U0001f3ac",
        "with space",
        "a/b//c/",
        "/leading",
        "../up/../x",
        "what?#&=+",
        "100%",
        "%2F%20",
        "quote'\"`<>\\",
        "o/o/b/o",
        "x" * 1024,
    ],
)
def test_object_names_can_be_any_text(own_bucket, name):
    """Objects, Object name requirements: UTF-8 up to 1024 bytes, percent-encoded in paths."""
    blob = own_bucket.blob(name)
    blob.upload_from_string(name.encode(), if_generation_match=0)
    assert names(own_bucket.list_blobs()) == [name]
    assert own_bucket.get_blob(name).name == name
    assert blob.download_as_bytes() == name.encode()
    blob.delete()
    assert names(own_bucket.list_blobs()) == []


@pytest.mark.parametrize("name", [".", "..", "line\nfeed", "carriage\rreturn", "x" * 1025])
def test_an_object_name_that_breaks_the_rules_is_invalid(bucket, name):
    """Objects, Object name requirements: not `.` or `..`, no line breaks, at most 1024 bytes."""
    with pytest.raises(errors.BadRequest):
        bucket.blob(name).upload_from_string(b"x")


def test_lists_are_in_order_of_names_and_in_pages(own_bucket):
    """Reference, Objects: list: UTF-8 order; maxResults and nextPageToken."""
    for name in ("b", "a", "c", "ä", "B"):
        own_bucket.blob(name).upload_from_string(name)
    assert names(own_bucket.list_blobs()) == ["B", "a", "b", "c", "ä"]
    pages = [names(page) for page in own_bucket.list_blobs(page_size=2).pages]
    assert pages == [["B", "a"], ["b", "c"], ["ä"]]
    assert names(own_bucket.list_blobs(max_results=3)) == ["B", "a", "b"]


def test_lists_have_prefixes_and_delimiters(own_bucket):
    """Reference, Objects: list: prefix, delimiter, startOffset and endOffset."""
    for name in ("a/1", "a/2", "a/b/3", "c", "d/4"):
        own_bucket.blob(name).upload_from_string(name)
    assert names(own_bucket.list_blobs(prefix="a/")) == ["a/1", "a/2", "a/b/3"]
    top = own_bucket.list_blobs(delimiter="/")
    assert (names(top), top.prefixes) == (["c"], {"a/", "d/"})
    below = own_bucket.list_blobs(prefix="a/", delimiter="/")
    assert (names(below), below.prefixes) == (["a/1", "a/2"], {"a/b/"})
    assert names(own_bucket.list_blobs(start_offset="a/2", end_offset="d")) == ["a/2", "a/b/3", "c"]


def test_pages_count_prefixes_too(own_bucket):
    """Reference, Objects: list: maxResults limits items plus prefixes; a prefix occurs once over all pages."""
    for name in ("a/1", "a/2", "b", "c/1", "d"):
        own_bucket.blob(name).upload_from_string(name)
    listing = own_bucket.list_blobs(delimiter="/", page_size=2)
    items = [names(page) for page in listing.pages]
    assert (sum(items, []), listing.prefixes) == (["b", "d"], {"a/", "c/"})
    assert len(items) == 2


def test_metadata_can_be_changed_and_counts_as_a_metageneration(blob):
    """Reference, Objects: patch: new metadata, the same generation, and the next metageneration."""
    blob.upload_from_string(b"x")
    generation = blob.generation
    blob.metadata = {"clip": "c2"}
    blob.cache_control = "no-store"
    blob.patch(retry=DEFAULT_RETRY.with_timeout(2))
    blob.reload()
    assert (blob.generation, blob.metageneration) == (generation, 2)
    assert (blob.metadata, blob.cache_control) == ({"clip": "c2"}, "no-store")


def test_a_listing_shows_what_was_just_written_or_deleted(own_bucket):
    """Consistency: listing is strongly consistent after writes and deletes."""
    for n in range(10):
        blob = own_bucket.blob(f"{n}")
        blob.upload_from_string(b"x")
        assert f"{n}" in names(own_bucket.list_blobs())
        blob.delete()
        assert f"{n}" not in names(own_bucket.list_blobs())


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("foo*bar", ["foobar"]),
        ("foo**bar", ["foo/bar", "foo/foobar", "foobar"]),
        ("**/foobar", ["foo/foobar", "foobar"]),
        ("*/ba[rz]", ["foo/bar", "foo/baz"]),
        ("*/ba[!a-y]", ["foo/baz"]),
        ("**/{foobar,baz}", ["foo/baz", "foo/foobar", "foobar"]),
        ("foo/{foo*,*baz}", ["foo/baz", "foo/foobar"]),
    ],
)
def test_lists_match_a_glob(own_bucket, pattern, expected):
    """Reference, Objects: list, matchGlob; the patterns of Google's own system test of this client."""
    for name in ("foo/bar", "foo/baz", "foo/foobar", "foobar"):
        own_bucket.blob(name).upload_from_string(name)
    assert names(own_bucket.list_blobs(match_glob=pattern)) == expected


def test_a_prefix_that_is_an_object_is_listed_on_request(own_bucket):
    """Reference, Objects: list, includeTrailingDelimiter; Python's client writes `True`."""
    for name in ("parent/", "parent/file"):
        own_bucket.blob(name).upload_from_string(name)
    without, including = (
        names(own_bucket.list_blobs(delimiter="/", include_trailing_delimiter=flag)) for flag in (False, True)
    )
    assert (without, including) == ([], ["parent/"])


def test_a_list_has_the_requested_fields(own_bucket):
    """JSON API, Partial response: `fields` selects members."""
    own_bucket.blob("a").upload_from_string("x", content_type="video/mp4")
    (found,) = own_bucket.list_blobs(fields="items(name,size),nextPageToken")
    assert (found.name, found.size, found.content_type, found.etag) == ("a", 1, None, None)
    answer = requests.get(f"{HOST}/storage/v1/b/{own_bucket.name}/o?fields=items/name")
    assert answer.json() == {"items": [{"name": "a"}]}


def test_a_bucket_of_any_size_can_be_deleted_with_its_objects(own_bucket):
    """The client lists with `versions=True` before it deletes; the emulator has only live versions."""
    own_bucket.blob("a").upload_from_string("x")
    own_bucket.delete(force=True)
    assert not own_bucket.exists()


# Unsupported features are refused by name, never silently ignored. The rule is ours, the code is HTTP's.


def assert_unsupported(call, name):
    """Fails unless the call is refused with 501 and the name of the feature."""
    with pytest.raises(errors.MethodNotImplemented) as refused:
        call()
    assert name in str(refused.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("versioning", {"enabled": True}),
        ("lifecycle", {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}),
        ("retentionPolicy", {"retentionPeriod": "10"}),
        ("softDeletePolicy", {"retentionDurationSeconds": "604800"}),
        ("cors", [{"origin": ["*"], "method": ["GET"]}]),
        ("defaultEventBasedHold", True),
        ("autoclass", {"enabled": True}),
        ("hierarchicalNamespace", {"enabled": True}),
        ("encryption", {"defaultKmsKeyName": "projects/p/locations/eu/keyRings/r/cryptoKeys/k"}),
        ("customPlacementConfig", {"dataLocations": ["us-east1", "us-west1"]}),
        ("iamConfiguration", {"publicAccessPrevention": "enforced"}),
        ("website", {"mainPageSuffix": "index.html"}),
        ("logging", {"logBucket": "logs"}),
        ("billing", {"requesterPays": True}),
        ("somethingNew", "x"),
    ],
)
def test_an_unsupported_setting_of_a_bucket_is_refused_by_name(gcs, setting, value):
    """Ours: the bucket is not created."""
    name = unique("bucket")
    answer = requests.post(f"{HOST}/storage/v1/b?project={PROJECT}", json={"name": name, setting: value})
    assert (answer.status_code, setting in answer.json()["error"]["message"]) == (501, True)
    assert gcs.lookup_bucket(name) is None


def test_customer_supplied_keys_are_refused(bucket, blob):
    """Ours: bytes with a key are never stored unencrypted, and never read as if they were encrypted."""
    key = os.urandom(32)
    encrypted = bucket.blob(unique("object"), encryption_key=key)
    assert_unsupported(lambda: encrypted.upload_from_string(b"secret"), "x-goog-encryption")
    assert not blob.exists()
    resumable = bucket.blob(unique("object"), encryption_key=key, chunk_size=QUARTER_MEBIBYTE)
    assert_unsupported(lambda: resumable.upload_from_file(io.BytesIO(b"secret")), "x-goog-encryption")
    blob.upload_from_string(b"x")
    assert_unsupported(lambda: bucket.blob(blob.name, encryption_key=key).download_as_bytes(), "x-goog-encryption")
    managed = bucket.blob(unique("object"), kms_key_name="projects/p/locations/eu/keyRings/r/cryptoKeys/k")
    assert_unsupported(lambda: managed.upload_from_string(b"secret"), "kmsKeyName")


def test_unsupported_changes_of_an_object_are_refused_by_name(bucket, blob):
    """Ours: a patch is applied completely or not at all."""
    blob.upload_from_string(b"x")
    url = f"{HOST}/storage/v1/b/{bucket.name}/o/{blob.name}"
    for field, value in {
        "storageClass": "COLDLINE",
        "retention": {"mode": "Locked", "retainUntilTime": "2099-01-01T00:00:00Z"},
        "acl": [{"entity": "allUsers", "role": "READER"}],
        "contexts": {"custom": {"a": {"value": "b"}}},
    }.items():
        answer = requests.patch(url, json={"contentType": "video/mp4", field: value})
        assert (answer.status_code, field in answer.json()["error"]["message"]) == (501, True)
    blob.reload()
    assert (blob.metageneration, blob.storage_class) == (1, "STANDARD")


@pytest.mark.parametrize(
    "call",
    [
        "GET /b/{bucket}/o?softDeleted=true",
        "GET /b/{bucket}/o?filter=contexts.x",
        "GET /b/{bucket}/o?somethingNew=1",
        "GET /b/{bucket}?generation=7",
        "GET /b/{bucket}/o/{object}?softDeleted=true",
        "GET /b/{bucket}/o/{object}?restoreToken=x",
        "GET /b?softDeleted=true",
        "PATCH /b/{bucket}/o/{object}?overrideUnlockedRetention=true",
        "PATCH /b/{bucket}/o/{object}?predefinedAcl=publicRead",
        "DELETE /b/{bucket}/o/{object}?somethingNew=1",
        "POST /b?enableObjectRetention=true",
        "POST /b?predefinedAcl=private",
    ],
)
def test_an_unsupported_parameter_is_refused_by_name(bucket, blob, call):
    """Ours: no part of a request is silently ignored."""
    blob.upload_from_string(b"x")
    method, path = call.format(bucket=bucket.name, object=blob.name).split(" ")
    answer = requests.request(method, f"{HOST}/storage/v1{path}", json={} if method in ("POST", "PATCH") else None)
    parameter = path.split("?")[1].split("=")[0]
    assert (answer.status_code, parameter in answer.json()["error"]["message"]) == (501, True)
    assert blob.exists()


@pytest.mark.parametrize(
    "path",
    [
        "projects/{project}/serviceAccount",
        "projects/{project}/hmacKeys",
        "nonsense",
        "b/{bucket}/iam",
        "b/{bucket}/notificationConfigs",
        "b/{bucket}/o/{object}/acl",
    ],
)
def test_an_unsupported_path_is_not_taken_for_an_object(bucket, blob, path):
    """Reference: unsupported resources; 501, not the 404 of a missing bucket or object."""
    blob.upload_from_string(b"x")
    path = path.format(project=PROJECT, bucket=bucket.name, object=blob.name)
    answer = requests.get(f"{HOST}/storage/v1/{path}")
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (501, "notImplemented")


def test_a_post_policy_is_refused(bucket):
    """Policy documents: clients post forms to the bucket or to the host; nothing is stored, so 501."""
    for path in ("", "/", f"/{bucket.name}", f"/{bucket.name}/"):
        form = {"key": (None, "x"), "policy": (None, "x"), "file": b"content"}
        assert requests.post(f"{HOST}{path}", files=form).status_code == 501, path
    assert requests.get(f"{HOST}/").status_code == 200


# Signed URLs. The key file is that of the emulator's only account; the client itself signs.


@pytest.fixture(scope="session")
def signer():
    key = requests.get(f"{HOST}/_clipfleet/service-account", timeout=30).json()
    return service_account.Credentials.from_service_account_info(key)


def sign(blob, signer, **options):
    options = {"method": "GET", "expiration": 60, **options}
    return blob.generate_signed_url(version="v4", credentials=signer, api_access_endpoint=HOST, **options)


def test_a_signed_url_reads_what_was_signed(own_bucket, signer):
    """Signed URLs: the object, with the signed method, without other credentials."""
    blob = own_bucket.blob("ü b/c?d.mp4")
    blob.upload_from_string("content")
    url = sign(blob, signer, response_disposition='attachment; filename="c.mp4"')
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, answer.content) == (200, b"content")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="c.mp4"'
    assert requests.put(url, data=b"other", timeout=30).status_code == 403
    assert blob.download_as_bytes() == b"content"


def test_a_changed_signed_url_is_refused(own_bucket, signer):
    """Signed URLs, error SignatureDoesNotMatch: no signed part can be changed."""
    blob = own_bucket.blob("a")
    blob.upload_from_string("content")
    url = sign(blob, signer)
    for changed in (url.replace("X-Goog-Expires=60", "X-Goog-Expires=61"), url + "&generation=1", url[:-1] + "g"):
        answer = requests.get(changed, timeout=30)
        assert answer.status_code in (400, 403), changed
        assert answer.headers["Content-Type"].startswith("application/xml")
    answer = requests.get(url.replace("X-Goog-Expires=60", "X-Goog-Expires=61"), timeout=30)
    assert "<Code>SignatureDoesNotMatch</Code>" in answer.text


def test_a_signed_url_uploads_with_the_headers_signed(own_bucket, signer):
    """Signed URLs: a PUT with its content type and conditions."""
    blob = own_bucket.blob("source.mp4")
    headers = {"x-goog-if-generation-match": "0", "x-goog-meta-clip": "42"}
    url = sign(blob, signer, method="PUT", content_type="video/mp4", headers=headers)
    put = lambda content_type: requests.put(
        url, b"bytes", headers={**headers, "content-type": content_type}, timeout=30
    )
    assert put("text/plain").status_code == 403
    assert put("video/mp4").status_code == 200
    assert put("video/mp4").status_code == 412
    blob.reload()
    assert (blob.content_type, blob.metadata, blob.size) == ("video/mp4", {"clip": "42"}, 5)


def test_a_signed_url_expires(own_bucket, signer):
    """Signed URLs, error ExpiredToken: after its lifetime, which is at most seven days."""
    blob = own_bucket.blob("a")
    blob.upload_from_string("content")
    url = sign(blob, signer, expiration=1)
    time.sleep(2)
    answer = requests.get(url, timeout=30)
    assert (answer.status_code, "<Code>ExpiredToken</Code>" in answer.text) == (400, True)

"""Firestore, through google-cloud-firestore and with plain requests to its REST API.

"Reference" is the Firestore RPC reference (google.firestore.v1); other pointers name pages of the Firestore
documentation. Listening is in firestore_listen_test.py.
"""

import datetime
import json
import math
import os
import threading
import urllib.error
import urllib.request

import pytest
from conftest import PROJECT, unique
from google.api_core import exceptions as errors
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter, Or, And, transforms
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.types import firestore as messages

UTC = datetime.timezone.utc


def ids(snapshots):
    return [snapshot.id for snapshot in snapshots]


def micros(time):
    """A server's time in whole microseconds; fails if it is more precise."""
    assert time.nanosecond % 1000 == 0
    return int(time.timestamp()) * 1_000_000 + time.microsecond


# Single documents


def test_a_document_reads_back(collection):
    """Reference, Write.update without a mask: exactly the fields given."""
    reference = collection.document("one")
    reference.set({"status": "queued", "progress": 0})
    found = reference.get()
    assert found.exists and found.to_dict() == {"status": "queued", "progress": 0}


def test_a_missing_document_does_not_exist(collection):
    """Reference, BatchGetDocumentsResponse.missing, with a read time."""
    found = collection.document("missing").get()
    assert not found.exists and found.to_dict() is None and found.read_time is not None


def test_set_replaces_all_fields(collection):
    """Add data, Set a document: the contents are overwritten unless merged."""
    reference = collection.document("one")
    reference.set({"a": 1, "b": {"c": 2}})
    reference.set({"b": {"d": 3}})
    assert reference.get().to_dict() == {"b": {"d": 3}}


def test_create_on_an_existing_document_already_exists(collection):
    """Reference, Precondition.exists = false: ALREADY_EXISTS, nothing written."""
    reference = collection.document("one")
    reference.create({"n": 1})
    with pytest.raises(errors.AlreadyExists):
        reference.create({"n": 2})
    assert reference.get().to_dict() == {"n": 1}


def test_update_on_a_missing_document_is_not_found(collection):
    """Reference, Precondition.exists = true: NOT_FOUND."""
    with pytest.raises(errors.NotFound):
        collection.document("missing").update({"n": 1})


def test_add_creates_an_id(collection):
    """Add data: the client creates the id, and the document exists."""
    _, reference = collection.add({"n": 1})
    assert len(reference.id) == 20 and reference.get().to_dict() == {"n": 1}


def test_a_delete_can_be_repeated(collection):
    """Reference, Write.delete without precondition: no error if the document does not exist."""
    reference = collection.document("one")
    reference.set({"n": 1})
    reference.delete()
    assert not reference.get().exists
    reference.delete()


def test_delete_under_a_precondition_checks_it(collection, db):
    """Reference, Precondition on a delete: NOT_FOUND when it must exist, FAILED_PRECONDITION when it changed."""
    with pytest.raises(errors.NotFound):
        collection.document("missing").delete(option=db.write_option(exists=True))
    reference = collection.document("one")
    first = reference.set({"n": 1})
    reference.set({"n": 2})
    with pytest.raises(errors.FailedPrecondition):
        reference.delete(option=db.write_option(last_update_time=first.update_time))
    assert reference.get().exists


def test_a_stale_update_time_is_a_failed_precondition(collection, db):
    """Reference, Precondition.update_time: must be exactly the document's, else FAILED_PRECONDITION."""
    reference = collection.document("one")
    first = reference.set({"n": 1})
    second = reference.update({"n": 2}, option=db.write_option(last_update_time=first.update_time))
    assert micros(second.update_time) > micros(first.update_time)
    with pytest.raises(errors.FailedPrecondition):
        reference.update({"n": 3}, option=db.write_option(last_update_time=first.update_time))
    assert reference.get().to_dict() == {"n": 2}


def test_update_times_are_microseconds_and_strictly_increase(collection):
    """Reference, Document.update_time: microsecond precision; changes with every change of the document."""
    reference = collection.document("one")
    times = [micros(reference.set({"n": n}).update_time) for n in range(20)]
    assert times == sorted(set(times))
    found = reference.get()
    assert micros(found.update_time) == times[-1]
    assert micros(found.create_time) == times[0]


def test_a_recreated_document_has_a_new_create_time(collection):
    """Reference, Document.create_time: restarts when the document is deleted and recreated."""
    reference = collection.document("one")
    first = reference.set({"n": 1})
    reference.delete()
    reference.set({"n": 1})
    assert micros(reference.get().create_time) > micros(first.update_time)


def test_a_write_that_changes_nothing_keeps_the_update_time(collection):
    """Reference, WriteResult.update_time: if the write did not change the document, the previous update time."""
    reference = collection.document("one")
    first = reference.set({"n": 1})
    second = reference.set({"n": 1})
    assert micros(second.update_time) == micros(first.update_time)
    assert micros(reference.get().update_time) == micros(first.update_time)


def test_an_empty_document_exists(collection):
    """Reference, Document.fields may be empty; the document exists."""
    reference = collection.document("empty")
    reference.set({})
    assert reference.get().exists and reference.get().to_dict() == {}


@pytest.mark.parametrize("name", ["ü", "with space", "a.b", "a:b", "%2F", "#?&", "__a", "日本語"])
def test_document_ids_can_be_any_text_without_slashes(collection, name):
    """Quotas, constraints on document ids: valid UTF-8 without slash, not `.`, `..` or `__.*__`."""
    collection.document(name).set({"n": name})
    assert collection.document(name).get().to_dict() == {"n": name}
    assert ids(collection.stream()) == [name]


@pytest.mark.parametrize("name", ["__reserved__", ".", "..", "x" * 1501])
def test_a_document_id_that_breaks_the_rules_is_invalid(collection, name):
    """Quotas, constraints on document ids: INVALID_ARGUMENT for `.`, `..`, `__.*__` and more than 1500 bytes."""
    with pytest.raises(errors.InvalidArgument):
        collection.document(name).set({"n": 1})


def test_a_document_larger_than_a_mebibyte_is_invalid(collection):
    """Quotas: a document has at most 1 MiB (1,048,576 bytes)."""
    with pytest.raises(errors.InvalidArgument):
        collection.document("large").set({"text": "x" * 1_048_577})
    collection.document("fits").set({"text": "x" * 1_000_000})


# Values


def test_every_type_of_value_reads_back(collection, db):
    """Supported data types: each value reads back unchanged."""
    other = collection.document("other")
    values = {
        "null": None,
        "true": True,
        "false": False,
        "zero": 0,
        "largest": 2**63 - 1,
        "smallest": -(2**63),
        "double": 0.1,
        "whole_double": 3.0,
        "infinity": math.inf,
        "negative_infinity": -math.inf,
        "text": "größe 日本語 \U0001f3ac",
        "empty": "",
        "bytes": b"\x00\xff",
        "time": datetime.datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC),
        "before_1970": datetime.datetime(1901, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        "reference": other,
        "place": firestore.GeoPoint(-37.5, 179.25),
        "array": [1, "two", None, {"three": [3.0]}],
        "empty_array": [],
        "map": {"inner": {"deep": True}, "empty": {}},
    }
    collection.document("one").set(values)
    found = collection.document("one").get().to_dict()
    assert found == values
    assert [type(found[name]) for name in values if name != "time" and name != "before_1970"] == [
        type(value) for name, value in values.items() if name != "time" and name != "before_1970"
    ]


def test_nan_reads_back_as_nan(collection):
    """Supported data types, floating-point: NaN is a value."""
    collection.document("one").set({"nan": math.nan})
    assert math.isnan(collection.document("one").get().get("nan"))


def test_timestamps_are_truncated_to_microseconds(collection):
    """Supported data types, date and time: microsecond precision, additional precision is rounded down."""
    # Plain requests, since the client's own type has no more digits.
    fields = {"at": {"timestampValue": "2026-01-01T00:00:00.123456999Z"}}
    status, written = rest("PATCH", f"/{collection.id}/one", {"fields": fields})
    assert (status, written["fields"]["at"]["timestampValue"]) == (200, "2026-01-01T00:00:00.123456Z")
    assert collection.document("one").get().get("at") == datetime.datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)


# Masks and paths


def test_a_merge_changes_the_named_fields_and_keeps_the_rest(collection):
    """Add data, merge: new fields are merged into existing maps, leaf by leaf."""
    reference = collection.document("one")
    reference.set({"a": 1, "m": {"x": 1, "y": 2}})
    reference.set({"b": 2, "m": {"y": 3}}, merge=True)
    assert reference.get().to_dict() == {"a": 1, "b": 2, "m": {"x": 1, "y": 3}}


def test_a_merge_creates_a_missing_document(collection):
    """Add data, merge: a merge on a missing document creates it."""
    collection.document("new").set({"m": {"y": 3}}, merge=True)
    assert collection.document("new").get().to_dict() == {"m": {"y": 3}}


def test_a_merge_of_named_fields_keeps_the_others(collection):
    """Reference, Write.update_mask: only the paths of the mask."""
    reference = collection.document("one")
    reference.set({"a": 1, "m": {"x": 1, "y": 2}})
    reference.set({"a": 9, "m": {"x": 9}}, merge=["m"])
    assert reference.get().to_dict() == {"a": 1, "m": {"x": 9}}


def test_an_update_by_path_changes_nested_fields(collection):
    """Add data, Update fields in nested objects: dot notation changes one nested field."""
    reference = collection.document("one")
    reference.set({"m": {"x": {"deep": 1}, "y": 2}})
    reference.update({"m.x.deep": 5, "m.z": 6})
    assert reference.get().to_dict() == {"m": {"x": {"deep": 5}, "y": 2, "z": 6}}


def test_a_path_in_the_mask_without_value_removes_the_field(collection):
    """Reference, Write.update_mask: paths of the mask that are absent in the document are deleted."""
    reference = collection.document("one")
    reference.set({"a": 1, "m": {"x": 1, "y": 2}})
    reference.update({"a": firestore.DELETE_FIELD, "m.x": firestore.DELETE_FIELD})
    assert reference.get().to_dict() == {"m": {"y": 2}}


def test_field_names_may_need_quotes(collection, db):
    """Reference, Field paths: names outside [a-zA-Z_0-9] are quoted with backticks, with backslash escapes."""
    names = ["a.b", "with space", "tick`", "back\\slash", "ä", "1st", "*"]
    reference = collection.document("one")
    reference.set({name: {"in": 0} for name in names})
    reference.update({FieldPath(name, "in").to_api_repr(): n for n, name in enumerate(names)})
    assert reference.get().to_dict() == {name: {"in": n} for n, name in enumerate(names)}
    only = reference.get([FieldPath("a.b").to_api_repr()])
    assert only.to_dict() == {"a.b": {"in": 0}}


def test_a_read_with_a_mask_gives_only_its_fields(collection):
    """Reference, DocumentMask: fields that are not in the mask are not returned."""
    reference = collection.document("one")
    reference.set({"a": 1, "m": {"x": 1, "y": 2}, "z": 3})
    assert reference.get(["a", "m.y", "absent"]).to_dict() == {"a": 1, "m": {"y": 2}}


# Transforms


def test_the_server_sets_its_own_time(collection):
    """Reference, FieldTransform.REQUEST_TIME: the time of the commit; all uses in one commit are equal."""
    reference = collection.document("one")
    result = reference.set({"at": firestore.SERVER_TIMESTAMP, "m": {"also": firestore.SERVER_TIMESTAMP}})
    found = reference.get().to_dict()
    assert found["at"] == found["m"]["also"]
    assert abs((found["at"] - result.update_time).total_seconds()) < 5


@pytest.mark.parametrize(
    ("stored", "by", "sum"),
    [(1, 2, 3), (1, 0.5, 1.5), (0.5, 1, 1.5), (None, 4, 4), ("text", 4, 4), (2**63 - 1, 1, 2**63 - 1)],
    ids=["integers", "integer-double", "double-integer", "absent", "not-a-number", "overflow"],
)
def test_increment_adds(collection, stored, by, sum):
    """Reference, FieldTransform.increment: a non-number is replaced by the value; integers saturate."""
    reference = collection.document("one")
    reference.set({} if stored is None else {"n": stored})
    result = reference.update({"n": firestore.Increment(by)})
    value = reference.get().get("n")
    assert (value, type(value)) == (sum, type(sum))
    assert len(result.transform_results) == 1


@pytest.mark.parametrize(
    ("transform", "stored", "operand", "expected"),
    [
        (transforms.Maximum, 5, 7, 7),
        (transforms.Maximum, 7, 5, 7),
        (transforms.Maximum, 5, 5.5, 5.5),
        (transforms.Maximum, None, 3, 3),
        (transforms.Minimum, 5, 7, 5),
        (transforms.Minimum, 7, 5, 5),
        (transforms.Minimum, "text", 3, 3),
        (transforms.Maximum, 3, 3.0, 3),
    ],
)
def test_maximum_and_minimum_keep_the_extreme(collection, transform, stored, operand, expected):
    """Reference, FieldTransform.maximum and minimum: a non-number is replaced; of equal values the stored one stays."""
    reference = collection.document("one")
    reference.set({} if stored is None else {"n": stored})
    reference.update({"n": transform(operand)})
    value = reference.get().get("n")
    assert (value, type(value)) == (expected, type(expected))


def test_array_union_and_remove_treat_arrays_as_sets(collection):
    """Reference, append_missing_elements and remove_all_from_array: no duplicates added, all equal ones removed."""
    reference = collection.document("one")
    reference.set({"tags": ["a", "b", "a"], "text": "x"})
    reference.update({"tags": firestore.ArrayUnion(["b", "c", "c"]), "text": firestore.ArrayUnion(["only"])})
    assert reference.get().to_dict() == {"tags": ["a", "b", "a", "c"], "text": ["only"]}
    reference.update({"tags": firestore.ArrayRemove(["a", "absent"])})
    assert reference.get().get("tags") == ["b", "c"]


def test_every_transform_has_its_result_in_order(collection, db):
    """Reference, WriteResult.transform_results: one for each transform, in order; null for arrays."""
    reference = collection.document("one")
    reference.set({"n": 1})
    write = {
        "update": {"name": reference._document_path, "fields": {}},
        "update_mask": {"field_paths": []},
        "update_transforms": [
            {"field_path": "n", "increment": {"integer_value": 5}},
            {"field_path": "most", "maximum": {"double_value": 1.5}},
            {"field_path": "tags", "append_missing_elements": {"values": [{"string_value": "a"}]}},
            {"field_path": "at", "set_to_server_value": "REQUEST_TIME"},
        ],
    }
    api = db._firestore_api
    answer = api.commit(request={"database": db._database_string, "writes": [write]}, metadata=db._rpc_metadata)
    n, most, tags, at = answer.write_results[0].transform_results
    assert (n.integer_value, most.double_value, tags.null_value) == (6, 1.5, 0)
    assert at.timestamp_value == reference.get().get("at")


def test_one_write_sets_fields_and_transforms_under_a_precondition(collection, db):
    """Reference, Write: mask, transforms and precondition together, which is how status documents are written."""
    reference = collection.document("one")
    first = reference.set({"progress": 40, "status": "processing"})
    update = {"status": "processing", "progress": transforms.Maximum(25), "updatedAt": firestore.SERVER_TIMESTAMP}
    reference.update(update, option=db.write_option(last_update_time=first.update_time))
    found = reference.get().to_dict()
    assert (found["progress"], found["status"]) == (40, "processing") and found["updatedAt"]


# Several documents at once


def test_a_batch_is_all_or_nothing(collection, db):
    """Transactions and batched writes: if one write fails none is applied."""
    collection.document("there").set({"n": 1})
    batch = db.batch()
    batch.set(collection.document("new"), {"n": 1})
    batch.update(collection.document("there"), {"n": 2})
    batch.update(collection.document("missing"), {"n": 2})
    with pytest.raises(errors.NotFound):
        batch.commit()
    assert {found.id: found.to_dict() for found in collection.stream()} == {"there": {"n": 1}}


def test_a_batch_commits_at_one_time(collection, db):
    """Reference, CommitResponse: one result per write in order; all documents have the commit's time."""
    batch = db.batch()
    for n in range(5):
        batch.set(collection.document(str(n)), {"n": n})
    results = batch.commit()
    assert len({micros(result.update_time) for result in results}) == 1
    assert {micros(found.update_time) for found in collection.stream()} == {micros(results[0].update_time)}
    assert micros(batch.commit_time) == micros(results[0].update_time)


def test_writes_of_a_batch_see_those_before_them(collection, db):
    """Reference, CommitRequest.writes are executed in order: create, then update of the same document."""
    batch = db.batch()
    batch.create(collection.document("one"), {"n": 1})
    batch.update(collection.document("one"), {"n": firestore.Increment(1)})
    batch.commit()
    assert collection.document("one").get().to_dict() == {"n": 2}


def test_a_batch_write_does_each_write_independently(collection, db):
    """Reference, BatchWrite: not atomic, one status for each write in its order."""
    name = lambda id: collection.document(id)._document_path  # noqa: E731
    writes = [
        {"update": {"name": name("one"), "fields": {"n": {"integer_value": 1}}}},
        {"update": {"name": name("missing")}, "update_mask": {}, "current_document": {"exists": True}},
        {"delete": name("three")},
    ]
    request = {"database": db._database_string, "writes": writes}
    answer = db._firestore_api.batch_write(request=request, metadata=db._rpc_metadata)
    assert [status.code for status in answer.status] == [0, 5, 0]
    assert len(answer.write_results) == 3
    assert ids(collection.stream()) == ["one"]


def test_the_bulk_writer_writes_everything(collection, db):
    """Bulk writes: BulkWriter sends BatchWrite requests and reports each write."""
    writer = db.bulk_writer()
    done = []
    writer.on_write_result(lambda reference, result, _: done.append(reference.id))
    for n in range(50):
        writer.create(collection.document(f"{n:02}"), {"n": n})
    writer.close()
    assert ids(collection.stream()) == [f"{n:02}" for n in range(50)]
    assert len(done) == 50


def test_get_all_includes_missing_documents(collection, db):
    """Reference, BatchGetDocuments: found or missing for every requested name."""
    for id in ("a", "c"):
        collection.document(id).set({"id": id})
    requested = [collection.document(id) for id in ("c", "b", "a")]
    found = {snapshot.id: snapshot.exists for snapshot in db.get_all(requested)}
    assert found == {"a": True, "b": False, "c": True}


def test_collections_and_documents_can_be_listed(collection, db):
    """Reference, ListDocuments and ListCollectionIds; `show_missing` lists documents that only have children."""
    collection.document("b").set({})
    collection.document("a").set({})
    collection.document("parent").collection("clips").document("c").set({})
    collection.document("b").collection("logs").document("l").set({})
    assert ids(collection.list_documents()) == ["a", "b", "parent"]
    assert [child.id for child in collection.document("b").collections()] == ["logs"]
    assert [child.id for child in collection.document("parent").collections()] == ["clips"]
    assert collection.id in {found.id for found in db.collections()}


def test_documents_are_listed_page_by_page(collection, db):
    """Reference, ListDocuments: page_size and next_page_token."""
    for n in range(5):
        collection.document(str(n)).set({})
    request = {"parent": f"{db._database_string}/documents", "collection_id": collection.id, "page_size": 2}
    pager = db._firestore_api.list_documents(request=request, metadata=db._rpc_metadata)
    pages = [[found.name.rsplit("/", 1)[1] for found in page.documents] for page in pager.pages]
    assert pages == [["0", "1"], ["2", "3"], ["4"]]


def test_deleting_a_document_keeps_its_subcollections(collection):
    """Delete data: deleting a document does not delete its subcollections."""
    parent = collection.document("parent")
    parent.set({})
    parent.collection("clips").document("c").set({"n": 1})
    parent.delete()
    assert parent.collection("clips").document("c").get().to_dict() == {"n": 1}


# Transactions


def test_concurrent_increments_in_transactions_are_not_lost(collection, db):
    """Transactions: a transaction whose reads changed is aborted, and the client retries it."""
    reference = collection.document("counter")
    reference.set({"n": 0})

    @firestore.transactional
    def add_one(transaction):
        n = reference.get(transaction=transaction).get("n")
        transaction.update(reference, {"n": n + 1})

    failures = []

    def work():
        try:
            for _ in range(5):
                add_one(db.transaction(max_attempts=50))
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures and reference.get().get("n") == 15


def test_a_transaction_whose_reads_changed_is_retried(collection, db):
    """Transactions: ABORTED at commit, retried by the client with fresh reads (optimistic or pessimistic alike)."""
    reference = collection.document("one")
    reference.set({"n": 0})
    runs = []

    @firestore.transactional
    def contended(transaction):
        n = reference.get(transaction=transaction).get("n")
        runs.append(n)
        if len(runs) == 1:
            # The real service may block this until the transaction's lock is released, hence another thread and a time
            # limit.
            outside.start()
            outside.join(3)
        transaction.update(reference, {"n": n + 1})

    outside = threading.Thread(target=reference.update, args=({"n": 10},))
    contended(db.transaction())
    outside.join()
    # Either the other write was first and the transaction's second run saw it, or it waited and came last.
    assert (runs, reference.get().get("n")) in (([0, 10], 11), ([0], 10))


def test_a_transaction_may_read_a_missing_document_and_create_it(collection, db):
    """Transactions: a document that is absent at commit, as it was when read, can be created."""

    @firestore.transactional
    def create(transaction):
        assert not collection.document("new").get(transaction=transaction).exists
        transaction.create(collection.document("new"), {"n": 1})

    create(db.transaction())
    assert collection.document("new").get().exists


def test_a_failed_transaction_writes_nothing(collection, db):
    """Transactions: an exception in the function rolls back."""

    @firestore.transactional
    def fail(transaction):
        transaction.set(collection.document("never"), {"n": 1})
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        fail(db.transaction())
    assert not collection.document("never").get().exists


def test_a_transaction_notices_a_query_with_new_results(collection, db):
    """Transactions: queries are part of the reads; a new match aborts, and the function runs again."""
    runs = []

    @firestore.transactional
    def count(transaction):
        found = len(list(collection.where(filter=FieldFilter("kind", "==", "clip")).stream(transaction=transaction)))
        runs.append(found)
        if len(runs) == 1:
            outside.start()
            outside.join(3)
        transaction.set(collection.document("total"), {"n": found})

    outside = threading.Thread(target=collection.document("new").set, args=({"kind": "clip"},))
    count(db.transaction())
    outside.join()
    total = collection.document("total").get().get("n")
    assert (runs, total) in (([0, 1], 1), ([0], 0))


def test_a_read_only_transaction_cannot_write(collection, db):
    """Reference, TransactionOptions.ReadOnly: reads work, writes are refused (by the client already)."""
    reference = collection.document("one")
    reference.set({"n": 1})

    @firestore.transactional
    def read(transaction):
        return reference.get(transaction=transaction).get("n")

    assert read(db.transaction(read_only=True)) == 1
    api = db._firestore_api
    begun = api.begin_transaction(
        request={"database": db._database_string, "options": {"read_only": {}}}, metadata=db._rpc_metadata
    )
    write = {"update": {"name": reference._document_path, "fields": {}}}
    request = {"database": db._database_string, "writes": [write], "transaction": begun.transaction}
    with pytest.raises(errors.InvalidArgument):
        api.commit(request=request, metadata=db._rpc_metadata)


def test_an_unknown_transaction_is_invalid(collection, db):
    """Reference, Commit and Rollback: a transaction that was never begun is INVALID_ARGUMENT."""
    request = {"database": db._database_string, "transaction": b"never begun"}
    with pytest.raises(errors.InvalidArgument):
        db._firestore_api.commit(request=request, metadata=db._rpc_metadata)


# Queries


@pytest.fixture
def clips(collection):
    """Six documents for queries."""
    for id, fields in {
        "a": {"n": 1, "kind": "clip", "tags": ["x", "y"], "at": {"s": 5}},
        "b": {"n": 2, "kind": "clip", "tags": ["y"], "at": {"s": 4}},
        "c": {"n": 3, "kind": "batch", "tags": [], "at": {"s": 3}},
        "d": {"n": 3.5, "kind": "batch", "tags": ["z"]},
        "e": {"n": "text", "kind": None},
        "f": {"kind": "clip", "n": math.nan},
    }.items():
        collection.document(id).set(fields)
    return collection


@pytest.mark.parametrize(
    ("field", "operator", "value", "expected"),
    [
        ("kind", "==", "clip", "abf"),
        ("kind", "!=", "clip", "cd"),
        ("kind", "==", None, "e"),
        ("kind", "!=", None, "cdabf"),
        ("n", "==", math.nan, "f"),
        ("n", "==", 3.0, "c"),
        ("n", ">", 1, "bcd"),
        ("n", ">=", 2, "bcd"),
        ("at.s", "<", 5, "cb"),
        ("at.s", "<=", 5, "cba"),
        ("n", ">", "t", "e"),
        ("n", "in", [1, 3], "ac"),
        ("n", "not-in", [1, 3], "fbde"),
        ("tags", "array_contains", "y", "ab"),
        ("tags", "array_contains_any", ["x", "z"], "ad"),
        ("tags", "==", [], "c"),
        ("at", "==", {"s": 4}, "b"),
        ("at.s", ">=", 4, "ba"),
    ],
)
def test_a_filter_matches_its_documents(clips, field, operator, value, expected):
    """Query operators: comparisons within a type only, `!=` and not-in exclude null, order by the compared field."""
    assert "".join(ids(clips.where(filter=FieldFilter(field, operator, value)).stream())) == expected


def test_composite_filters_nest(clips):
    """Perform compound queries, AND and OR."""
    either = Or([FieldFilter("n", "==", 1), And([FieldFilter("kind", "==", "batch"), FieldFilter("n", ">", 3)])])
    assert sorted(ids(clips.where(filter=either).stream())) == ["a", "d"]
    both = clips.where(filter=FieldFilter("kind", "==", "clip"))
    both = both.where(filter=FieldFilter("tags", "array_contains", "y"))
    assert ids(both.stream()) == ["a", "b"]


def test_several_range_filters_combine(clips):
    """Perform compound queries: ranges on several fields; sorted by the fields in the order of the inequalities."""
    query = clips.where(filter=FieldFilter("n", ">", 1)).where(filter=FieldFilter("at.s", "<", 5))
    assert sorted(ids(query.stream())) == ["b", "c"]


def test_order_by_leaves_out_documents_without_the_field(clips):
    """Order and limit data: order_by also filters for existence; types have a fixed order."""
    assert "".join(ids(clips.order_by("n").stream())) == "fabcde"
    assert "".join(ids(clips.order_by("n", direction=firestore.Query.DESCENDING).stream())) == "edcbaf"
    assert "".join(ids(clips.order_by("at.s").stream())) == "cba"


def test_equal_values_are_ordered_by_name_in_the_same_direction(clips):
    """Reference, StructuredQuery.order_by: `__name__` is appended with the last direction."""
    assert "".join(ids(clips.order_by("kind").stream())) == "ecdabf"
    assert "".join(ids(clips.order_by("kind", direction="DESCENDING").stream())) == "fbadce"


def test_limits_and_offsets(clips):
    """Order and limit data; Reference, StructuredQuery.offset."""
    assert "".join(ids(clips.limit(2).stream())) == "ab"
    assert "".join(ids(clips.order_by("n").offset(2).limit(3).stream())) == "bcd"
    assert "".join(ids(clips.order_by("n").limit_to_last(2).get())) == "de"


def test_cursors_restrict_the_result(clips):
    """Query cursors: start_at and end_at include, start_after and end_before exclude."""
    by_n = clips.where(filter=FieldFilter("n", ">=", 1)).order_by("n")
    assert "".join(ids(by_n.start_at({"n": 2}).stream())) == "bcd"
    assert "".join(ids(by_n.start_after({"n": 2}).stream())) == "cd"
    assert "".join(ids(by_n.end_at({"n": 3}).stream())) == "abc"
    assert "".join(ids(by_n.end_before({"n": 3}).stream())) == "ab"
    assert "".join(ids(by_n.start_after(clips.document("b").get()).end_at({"n": 3.2}).stream())) == "c"


def test_a_query_can_be_paged_by_its_last_document(clips):
    """Query cursors, Paginate a query: start after the last snapshot until a page is empty; no duplicates."""
    query = clips.order_by("kind").limit(2)
    pages = []
    page = list(query.stream())
    while page:
        pages.append("".join(ids(page)))
        page = list(query.start_after(page[-1]).stream())
    assert pages == ["ec", "da", "bf"]


def test_a_projection_gives_only_its_fields(clips):
    """Reference, StructuredQuery.select: only those fields; an empty list returns only names."""
    (found,) = clips.where(filter=FieldFilter("n", "==", 1)).select(["kind", "at.s"]).stream()
    assert found.to_dict() == {"kind": "clip", "at": {"s": 5}}
    assert [found.to_dict() for found in clips.select([]).limit(1).stream()] == [{}]


def test_documents_can_be_queried_by_name(clips):
    """Execute queries, Query by document id with FieldPath.document_id()."""
    name = FieldPath.document_id()
    assert "".join(ids(clips.where(filter=FieldFilter(name, ">", clips.document("d"))).stream())) == "ef"
    wanted = [clips.document("a"), clips.document("e")]
    assert "".join(ids(clips.where(filter=FieldFilter(name, "in", wanted)).stream())) == "ae"


def test_a_collection_group_spans_parents(collection, db):
    """Collection group query: every collection of that id, in order of full names, and no other."""
    group = unique("clips")
    for batch in ("b2", "b1"):
        for clip in ("y", "x"):
            collection.document(batch).collection(group).document(clip).set({"batch": batch})
    collection.document("b3").collection(group + "x").document("z").set({"batch": "b3"})
    found = [snapshot.reference.path.split("/", 1)[1] for snapshot in db.collection_group(group).stream()]
    assert found == [f"b1/{group}/x", f"b1/{group}/y", f"b2/{group}/x", f"b2/{group}/y"]
    filtered = db.collection_group(group).where(filter=FieldFilter("batch", "==", "b2"))
    assert ids(filtered.stream()) == ["x", "y"]


def test_a_query_sees_only_its_own_level(collection):
    """Data model: a query on a collection does not return documents of subcollections."""
    collection.document("a").collection(collection.id).document("inner").set({})
    collection.document("b").set({})
    assert ids(collection.stream()) == ["b"]


@pytest.mark.parametrize("many", [31, 0])
def test_a_list_operand_has_1_to_30_values(clips, many, db):
    """Query limits: `in` takes up to 30 values; an empty list is invalid."""
    with pytest.raises(errors.InvalidArgument):
        list(clips.where(filter=FieldFilter("n", "in", list(range(many)))).stream())


def test_counts_sums_and_averages(clips):
    """Aggregation queries: count of matches, sum and average of numbers only, 0 and null over none."""
    numbers = clips.where(filter=FieldFilter("n", ">", 0))
    answer = numbers.count(alias="count").sum("n", alias="sum").avg("n", alias="avg").get()
    assert {found.alias: found.value for found in answer[0]} == {"count": 4, "sum": 9.5, "avg": 2.375}
    # Over no documents, with plain requests: the client turns the null into a number.
    nothing = {
        "structuredQuery": {"from": [{"collectionId": unique("none")}]},
        "aggregations": [
            {"alias": "count", "count": {}},
            {"alias": "sum", "sum": {"field": {"fieldPath": "n"}}},
            {"alias": "avg", "avg": {"field": {"fieldPath": "n"}}},
        ],
    }
    status, answer = rest("POST", ":runAggregationQuery", {"structuredAggregationQuery": nothing})
    assert (status, answer[0]["result"]["aggregateFields"]) == (
        200,
        {"count": {"integerValue": "0"}, "sum": {"integerValue": "0"}, "avg": {"nullValue": None}},
    )


def test_a_sum_of_integers_is_an_integer(clips):
    """Aggregation queries, sum: integer when all values are; non-numbers are skipped."""
    integers = clips.where(filter=FieldFilter("n", "in", [1, 2, 3]))
    total = integers.sum("n").get()[0][0].value
    assert (total, type(total)) == (6, int)
    assert clips.where(filter=FieldFilter("kind", "==", None)).sum("n").get()[0][0].value == 0


def test_a_count_can_have_a_limit(clips):
    """Reference, Aggregation.Count.up_to: counts at most this many (limits use it)."""
    assert clips.limit(3).count().get()[0][0].value == 3


def test_an_explicit_read_time_comes_with_every_answer(clips):
    """Reference, RunQueryResponse.read_time: not before the data it returns."""
    found = list(clips.stream())
    assert all(snapshot.read_time >= snapshot.update_time for snapshot in found)


# The REST API, for any HTTP client


def rest(method, path, body=None):
    """Calls the REST API; returns status and JSON."""
    url = f"http://{os.environ['FIRESTORE_EMULATOR_HOST']}/v1/projects/{PROJECT}/databases/(default)/documents{path}"
    request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_rest_gets_a_document(collection):
    """REST reference, documents.get: name, typed fields (integers as text), times with a `Z`."""
    collection.document("one").set({"n": 7, "f": 1.5, "t": "x", "l": [True, None], "m": {"k": b"\x00"}})
    status, found = rest("GET", f"/{collection.id}/one")
    assert status == 200
    assert found["name"].endswith(f"/documents/{collection.id}/one")
    assert found["fields"] == {
        "n": {"integerValue": "7"},
        "f": {"doubleValue": 1.5},
        "t": {"stringValue": "x"},
        "l": {"arrayValue": {"values": [{"booleanValue": True}, {"nullValue": None}]}},
        "m": {"mapValue": {"fields": {"k": {"bytesValue": "AA=="}}}},
    }
    assert found["createTime"].endswith("Z") and found["updateTime"].endswith("Z")


def test_rest_errors_are_google_json(collection):
    """AIP-193: {"error": {"code", "message", "status"}} with the HTTP code of the status."""
    for method, path, body, code, name in (
        ("GET", f"/{collection.id}/missing", None, 404, "NOT_FOUND"),
        ("GET", f"/{collection.id}/a/b/__bad__", None, 400, "INVALID_ARGUMENT"),
        ("POST", ":runQuery", {"structuredQuery": {"from": 7}}, 400, "INVALID_ARGUMENT"),
    ):
        status, answer = rest(method, path, body)
        assert (status, answer["error"]["code"], answer["error"]["status"]) == (code, code, name)
        assert answer["error"]["message"]
    collection.document("one").set({})
    status, answer = rest("POST", f"/{collection.id}?documentId=one", {"fields": {}})
    assert (status, answer["error"]["status"]) == (409, "ALREADY_EXISTS")


def test_rest_creates_updates_and_deletes(collection):
    """REST reference, createDocument, patch with updateMask and currentDocument, delete."""
    status, made = rest("POST", f"/{collection.id}?documentId=one", {"fields": {"n": {"integerValue": 1}}})
    assert (status, made["fields"]) == (200, {"n": {"integerValue": "1"}})
    path = f"/{collection.id}/one?updateMask.fieldPaths=s&currentDocument.exists=true"
    status, changed = rest("PATCH", path, {"fields": {"s": {"stringValue": "x"}, "n": {"integerValue": "9"}}})
    assert (status, changed["fields"]) == (200, {"n": {"integerValue": "1"}, "s": {"stringValue": "x"}})
    assert rest("DELETE", f"/{collection.id}/one") == (200, {})
    assert not collection.document("one").get().exists


def test_rest_lists_in_pages(collection):
    """REST reference, documents.list: documents and nextPageToken; an empty collection is an empty object."""
    for n in range(3):
        collection.document(str(n)).set({})
    status, first = rest("GET", f"/{collection.id}?pageSize=2")
    assert (status, len(first["documents"])) == (200, 2)
    _, second = rest("GET", f"/{collection.id}?pageSize=2&pageToken={urllib.request.quote(first['nextPageToken'])}")
    assert len(second["documents"]) == 1 and "nextPageToken" not in second
    assert rest("GET", f"/{unique('none')}") == (200, {})


def test_rest_commits_with_transforms(collection):
    """REST reference, documents.commit: writeResults with updateTime and transformResults, commitTime."""
    name = f"projects/{PROJECT}/databases/(default)/documents/{collection.id}/one"
    write = {
        "update": {"name": name, "fields": {"status": {"stringValue": "done"}}},
        "updateMask": {"fieldPaths": ["status"]},
        "updateTransforms": [{"fieldPath": "n", "increment": {"integerValue": "2"}}],
    }
    status, answer = rest("POST", ":commit", {"writes": [write]})
    assert status == 200
    assert answer["writeResults"][0]["transformResults"] == [{"integerValue": "2"}]
    assert answer["writeResults"][0]["updateTime"] == answer["commitTime"]
    assert collection.document("one").get().to_dict() == {"status": "done", "n": 2}


def test_rest_answers_reads_of_many_as_arrays(collection):
    """REST reference, documents.batchGet and runQuery: a JSON array of found, missing and results, with readTime."""
    collection.document("one").set({"n": 1})
    root = f"projects/{PROJECT}/databases/(default)/documents"
    names = [f"{root}/{collection.id}/{id}" for id in ("one", "none")]
    status, answers = rest("POST", ":batchGet", {"documents": names})
    assert status == 200 and all(answer["readTime"] for answer in answers)
    assert [answer.get("found", {}).get("name") for answer in answers] == [names[0], None]
    assert [answer.get("missing") for answer in answers] == [None, names[1]]
    query = {"from": [{"collectionId": collection.id}], "limit": 5}
    status, answers = rest("POST", ":runQuery", {"structuredQuery": query})
    assert (status, [answer["document"]["name"] for answer in answers]) == (200, names[:1])
    status, answers = rest("POST", ":runQuery", {"structuredQuery": {"from": [{"collectionId": unique("none")}]}})
    assert status == 200 and [set(answer) for answer in answers] == [{"readTime"}]


def test_unsupported_methods_are_refused_by_name(db):
    """gRPC status codes: UNIMPLEMENTED for unsupported methods; our error names the method."""
    request = messages.PartitionQueryRequest(parent=f"{db._database_string}/documents", partition_count=2)
    request.structured_query = {"from_": [{"collection_id": "x", "all_descendants": True}]}
    with pytest.raises(errors.MethodNotImplemented, match="PartitionQuery"):
        list(db._firestore_api.partition_query(request=request, metadata=db._rpc_metadata))

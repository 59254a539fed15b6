"""Tests the rules of `infra/global/firestore.rules` on Google's emulator.

Our emulator has no rules, so these are not comparisons: each request has its expected status.
"""

import base64
import http.client
import json
import pathlib

import emulators
from firestore_peer import Peer, encoded

RULES = pathlib.Path(__file__).resolve().parent.parent.parent / "infra/global/firestore.rules"
PROJECT = "rules"
GRANTED, REFUSED = http.client.OK, http.client.FORBIDDEN
OWNER, STRANGER, ANONYMOUS = "owner", "stranger", None
OWNED = {"ownerUid": OWNER, "status": "processing"}
DOCUMENTS = {
    "exportBatches/b": OWNED,
    "exportBatches/b/clips/c": OWNED,
    "exportBatches/unowned": {"status": "processing"},
    "exportRequests/b": OWNED,
    "fleetControl/fleet": {"paused": False},
    "other/o": OWNED,
}


def check():
    """Makes every request; returns the numbers of correct and wrong answers."""
    if not emulators.installed("firestore"):
        print(f"SKIPPED the rules: {emulators.missing('firestore')}")
        return 0, 0
    with emulators.emulator("firestore", f"--rules={RULES}") as running:
        # As an administrator, to whom no rules apply.
        Peer(running.address, PROJECT).put(DOCUMENTS)
        wrong = [request for request in REQUESTS if not _is_answered(running.address, *request)]
    for name, *_ in wrong:
        print(f"FAILED the rules: {name}")
    return len(REQUESTS) - len(wrong), len(wrong)


def _is_answered(address, name, user, verb, path, body, expected):
    root = f"/v1/projects/{PROJECT}/databases/(default)/documents"
    headers = {"content-type": "application/json"}
    if user is not None:
        headers["authorization"] = f"Bearer {_token(user)}"
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(verb, root + path, json.dumps(body) if body is not None else None, headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != expected:
        print(f"  {name}: expected {expected}, got {status}")
    return status == expected


def _token(user):
    """Returns a user's token, which the emulator accepts without a signature."""
    claims = {
        "sub": user,
        "user_id": user,
        "iat": 0,
        "aud": PROJECT,
        "iss": f"https://securetoken.google.com/{PROJECT}",
        "firebase": {"sign_in_provider": "custom"},
    }
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _query(collection, owner=None, group=False):
    query = {"from": [{"collectionId": collection, "allDescendants": group}]}
    if owner:
        operand = {"stringValue": owner}
        query["where"] = {"fieldFilter": {"field": {"fieldPath": "ownerUid"}, "op": "EQUAL", "value": operand}}
    return {"structuredQuery": query}


def _requests():
    """Yields a name, the user, the request, and the expected status."""
    for path in ("/exportBatches/b", "/exportBatches/b/clips/c"):
        yield f"the owner gets {path}", OWNER, "GET", path, None, GRANTED
        yield f"a stranger does not get {path}", STRANGER, "GET", path, None, REFUSED
        yield f"an anonymous user does not get {path}", ANONYMOUS, "GET", path, None, REFUSED
    # A document that does not exist yet: the answer is "not found", which is not a refusal.
    missing = http.client.NOT_FOUND
    for path in ("/exportBatches/none", "/exportBatches/b/clips/none"):
        yield f"a signed-in user learns that {path} does not exist", STRANGER, "GET", path, None, missing
        yield f"an anonymous user does not learn about {path}", ANONYMOUS, "GET", path, None, REFUSED
    yield "nobody gets a batch without an owner", OWNER, "GET", "/exportBatches/unowned", None, REFUSED
    for path in ("/exportRequests/b", "/fleetControl/fleet", "/other/o"):
        yield f"an owner does not get {path}", OWNER, "GET", path, None, REFUSED
    for parent, collection in (("", "exportBatches"), ("/exportBatches/b", "clips")):
        ask = f"{parent}:runQuery"
        yield f"the owner lists own {collection}", OWNER, "POST", ask, _query(collection, OWNER), GRANTED
        yield f"nobody lists all {collection}", OWNER, "POST", ask, _query(collection), REFUSED
        yield f"a stranger does not list {collection}", STRANGER, "POST", ask, _query(collection, OWNER), REFUSED
        anonymous = f"an anonymous user does not list {collection}"
        yield anonymous, ANONYMOUS, "POST", ask, _query(collection, OWNER), REFUSED
    # No rule matches collection groups.
    yield "no group of clips is listed", OWNER, "POST", ":runQuery", _query("clips", OWNER, True), REFUSED
    for path in ("/exportBatches/b", "/exportBatches/new", "/exportBatches/b/clips/c", "/exportRequests/b", "/other/o"):
        for user in (OWNER, STRANGER, ANONYMOUS):
            body = {"fields": encoded(OWNED)}
            yield f"{user or 'an anonymous user'} does not write {path}", user, "PATCH", path, body, REFUSED
            yield f"{user or 'an anonymous user'} does not delete {path}", user, "DELETE", path, None, REFUSED


REQUESTS = list(_requests())

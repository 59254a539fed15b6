"""Tests the rules of `infra/global/firestore.rules` in Google's emulator, whose engine evaluates them.

    python3 tests/peers/firestore_rules.py [NAME ...]

Our emulator has no rules, so nothing is compared: each request has its expected status, in the named database and in
`(default)`. The requests are JSON over HTTP, as a browser sends them, with unsigned tokens, which the emulator accepts.
Damaged rules are tested, too: each must be noticed by the requests that it is about.
"""

import base64
import http.client
import json
import pathlib
import re
import tempfile
import unittest

import emulators

RULES = (pathlib.Path(__file__).resolve().parent.parent.parent / "infra/global/firestore.rules").read_text()
PROJECT = "rules"
DATABASES = ("clipfleet", "(default)")
# Bounds a hang.
CALL_TIMEOUT = 60

GRANTED, REFUSED, MISSING = http.client.OK, http.client.FORBIDDEN, http.client.NOT_FOUND
OWNER, OTHER, ANONYMOUS = "owner", "other", None
ADMINISTRATOR = "owner"  # the token to which the emulator applies no rules; no user's
USERS = {OWNER: "the owner", OTHER: "another user", ANONYMOUS: "a user who is not signed in"}

BATCH, CLIP = "exportBatches/b", "exportBatches/b/clips/c"
DOCUMENTS = {
    BATCH: {"ownerUid": OWNER, "status": "processing"},
    CLIP: {"ownerUid": OWNER, "status": "processing"},
    "exportBatches/others": {"ownerUid": OTHER, "status": "completed"},
    "exportBatches/b/clips/others": {"ownerUid": OTHER, "status": "completed"},
    "exportBatches/unowned": {"status": "processing"},
    "exportBatches/b/below/x": {"ownerUid": OWNER},
    "exportBatches/b/clips/c/below/x": {"ownerUid": OWNER},
    "exportRequests/b": {"ownerUid": OWNER, "dispatched": True},
    "fleetControl/fleet": {"ownerUid": OWNER, "paused": False},
    "other/o": {"ownerUid": OWNER},
}
# No user reads these, even where the user's id is their ownerUid.
OURS = [path for path in DOCUMENTS if not re.fullmatch(r"exportBatches/\w+(/clips/\w+)?", path)]


def token(user):
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


def call(verb, path, body=None, bearer=None):
    """Returns the status and the answer's text."""
    headers = {"content-type": "application/json"}
    if bearer is not None:
        headers["authorization"] = f"Bearer {bearer}"
    connection = http.client.HTTPConnection(emulator.address, timeout=CALL_TIMEOUT)
    try:
        connection.request(verb, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def must(answer):
    """Fails unless a call of the test itself succeeded."""
    status, text = answer
    assert status == http.client.OK, f"{status}: {text}"


def root(database):
    return f"/v1/projects/{PROJECT}/databases/{database}/documents"


def encoded(fields):
    kinds = {str: "stringValue", bool: "booleanValue"}
    return {"fields": {name: {kinds[type(value)]: value} for name, value in fields.items()}}


def fill(database):
    """Stores the documents, as an administrator."""
    for path, fields in DOCUMENTS.items():
        must(call("PATCH", f"{root(database)}/{path}", encoded(fields), ADMINISTRATOR))


def release(database, rules):
    """Puts rules into force for a database, in place of those that the emulator was started with."""
    path = f"/emulator/v1/projects/{PROJECT}/databases/{database}:securityRules"
    must(call("PUT", path, {"rules": {"files": [{"name": "firestore.rules", "content": rules}]}}, ADMINISTRATOR))


def answered(database, user, verb, path, body):
    """Returns the status of a user's request."""
    body = json.loads(json.dumps(body).replace("<root>", root(database).removeprefix("/v1/")))
    return call(verb, root(database) + path, body, None if user is None else token(user))[0]


def query(collection, owner=None, group=False):
    asked = {"from": [{"collectionId": collection, "allDescendants": group}]}
    if owner:
        operand = {"stringValue": owner}
        asked["where"] = {"fieldFilter": {"field": {"fieldPath": "ownerUid"}, "op": "EQUAL", "value": operand}}
    return {"structuredQuery": asked}


def count(collection, owner=None):
    return {"structuredAggregationQuery": query(collection, owner) | {"aggregations": [{"count": {}}]}}


def reads():
    """Yields the user, what is asked, the request and the expected status."""
    for path in (BATCH, CLIP):
        for user in USERS:
            expected = GRANTED if user == OWNER else REFUSED
            yield user, f"gets {path}", "GET", f"/{path}", None, expected
            asked = {"documents": [f"<root>/{path}"]}
            yield user, f"gets {path} in a batch of reads", "POST", ":batchGet", asked, expected
    # A page may ask before the first event is folded: "not found" is no refusal, which would end its listener.
    for path in ("exportBatches/none", "exportBatches/b/clips/none", "exportBatches/none/clips/none"):
        for user in USERS:
            yield user, f"gets {path}", "GET", f"/{path}", None, REFUSED if user is ANONYMOUS else MISSING
    for user in USERS:
        for path in ("exportBatches/unowned", *OURS):
            yield user, f"gets {path}", "GET", f"/{path}", None, REFUSED
        yield user, "gets other/none", "GET", "/other/none", None, REFUSED


def lists():
    for parent, collection in (("", "exportBatches"), (f"/{BATCH}", "clips")):
        for user in USERS:
            expected = GRANTED if user == OWNER else REFUSED
            ask = f"{parent}:runQuery"
            yield user, f"lists the owner's {collection}", "POST", ask, query(collection, OWNER), expected
            yield user, f"lists all {collection}", "POST", ask, query(collection), REFUSED
            yield user, f"lists {collection} without a query", "GET", f"{parent}/{collection}", None, REFUSED
            ask = f"{parent}:runAggregationQuery"
            yield user, f"counts the owner's {collection}", "POST", ask, count(collection, OWNER), expected
            yield user, f"counts all {collection}", "POST", ask, count(collection), REFUSED
        yield OTHER, f"lists own {collection}", "POST", f"{parent}:runQuery", query(collection, OTHER), GRANTED
    for user in USERS:
        # No rule matches collection groups.
        yield user, "lists the group of all clips", "POST", ":runQuery", query("clips", OWNER, True), REFUSED
        for collection in ("exportRequests", "fleetControl", "other"):
            yield user, f"lists {collection}", "POST", ":runQuery", query(collection, OWNER), REFUSED
        for parent in (BATCH, CLIP):
            yield user, f"lists {parent}/below", "POST", f"/{parent}:runQuery", query("below", OWNER), REFUSED


def writes():
    new = {"exportBatches/new": OWNER, "exportBatches/b/clips/new": OWNER, "exportRequests/new": OWNER}
    new |= {"fleetControl/new": OWNER, "other/new": OWNER}
    for user in USERS:
        own = encoded({"ownerUid": user or "", "status": "completed"})
        for path in new:
            collection, name = path.rsplit("/", 1)
            yield user, f"creates {path}", "POST", f"/{collection}?documentId={name}", own, REFUSED
        for path in (BATCH, CLIP, "exportRequests/b", "fleetControl/fleet", "other/o"):
            existing = f"/{path}?currentDocument.exists=true"
            yield user, f"updates {path}", "PATCH", existing, own, REFUSED
            field = f"{existing}&updateMask.fieldPaths=status"
            yield user, f"updates one field of {path}", "PATCH", field, encoded({"status": "x"}), REFUSED
            yield user, f"deletes {path}", "DELETE", f"/{path}", None, REFUSED
        update = {"update": {"name": f"<root>/{BATCH}", **own}, "currentDocument": {"exists": True}}
        yield user, f"updates {BATCH} in a commit", "POST", ":commit", {"writes": [update]}, REFUSED
        delete = {"writes": [{"delete": f"<root>/{CLIP}"}]}
        yield user, f"deletes {CLIP} in a commit", "POST", ":commit", delete, REFUSED


# Reads first: where rules are damaged, writes change the documents.
CASES = [*reads(), *lists(), *writes()]
NAMES = [f"{USERS[user]} {asks}" for user, asks, *_ in CASES]

OPEN = re.sub(r"if [^;]+;", "if true;", RULES)
GROUP = "match /{path=**}/clips/{clip} { allow list: if isOwner(); } "
# {what is damaged: (the text, its replacement, names of the requests that must notice)}
DAMAGES = {
    "all users get": ("get: if isOwner()", "get: if request.auth != null", "another user gets exp"),
    "all users list": ("list: if isOwner()", "list: if request.auth != null", "another user lists all"),
    "ids are told to all": ("request.auth != null && resource ==", "resource ==", r"not signed in gets .*none"),
    "listeners end early": (" || isNotThereYet()", "", r"the owner gets .*none"),
    "owners get nothing": ("resource.data.ownerUid ==", "resource.data.owner ==", r"the owner gets exportBatches/b$"),
    "owners create": ("create, update, delete: if false", "create: if isNew()", r"the owner creates exportBatches"),
    "owners update": ("create, update, delete: if false", "update: if isOwner()", r"the owner updates exportBatches"),
    "owners delete": ("create, update, delete: if false", "delete: if isOwner()", r"the owner deletes exportBatches"),
    "the rest is read": ("read, write: if false", "read: if true", r"gets (exportRequests|fleetControl|other)"),
    "the rest is written": ("read, write: if false", "write: if true", r"(updates|deletes) fleetControl"),
    "the group is listed": ("match /{document=**}", f"{GROUP}match /{{document=**}}", r"the owner lists the group"),
}


class Rules(unittest.TestCase):
    """One test for each request and database; see `load_tests`."""

    def __init__(self, method="runTest", database=DATABASES[0], index=0):
        super().__init__(method)
        self.database, self.index = database, index

    def __str__(self):
        return f"{self.database}: {NAMES[self.index]}"

    def runTest(self):
        *request, expected = CASES[self.index]
        user, _, verb, path, body = request
        self.assertEqual(answered(self.database, user, verb, path, body), expected)


class DamagedRules(unittest.TestCase):
    def unexpected(self, database, only=""):
        """Returns the names of requests whose answer is not the expected one."""
        chosen = [(name, case) for name, case in zip(NAMES, CASES) if re.search(only, name)]
        self.assertTrue(chosen, only)
        found = []
        for name, (user, _, verb, path, body, expected) in chosen:
            if answered(database, user, verb, path, body) != expected:
                found.append(name)
        return found

    def test_rules_that_allow_everything_are_noticed_by_every_refusal(self):
        release("open", OPEN)
        fill("open")
        refused = {name for name, case in zip(NAMES, CASES) if case[-1] == REFUSED}
        self.assertEqual(refused - set(self.unexpected("open")), set())

    def test_every_damage_is_noticed(self):
        for index, (what, (text, replacement, noticed_by)) in enumerate(DAMAGES.items()):
            with self.subTest(what):
                damaged = RULES.replace(text, replacement)
                self.assertNotEqual(damaged, RULES, f"the rules have no {text!r}")
                owns = "return request.auth != null && request.resource.data.ownerUid == request.auth.uid;"
                damaged = damaged.replace("    match /exp", f"    function isNew() {{ {owns} }}\n    match /exp")
                release(f"damaged-{index}", damaged)
                fill(f"damaged-{index}")
                found = self.unexpected(f"damaged-{index}", noticed_by)
                self.assertTrue(found, "no request notices")


def setUpModule():
    global emulator
    folder = unittest.enterModuleContext(tempfile.TemporaryDirectory())
    rules = pathlib.Path(folder, "firestore.rules")
    rules.write_text(RULES)
    emulator = unittest.enterModuleContext(emulators.emulator("firestore", f"--rules={rules}"))
    for database in DATABASES:
        fill(database)


def load_tests(loader, tests, _pattern):
    assert len(set(NAMES)) == len(NAMES), "two requests have the same name"
    cases = [(database, index) for database in DATABASES for index in range(len(CASES))]
    suite = unittest.TestSuite(Rules(database=database, index=index) for database, index in cases)
    suite.addTests(loader.loadTestsFromTestCase(DamagedRules))
    return suite


if __name__ == "__main__":
    if emulators.installed("firestore") is None:
        print(f"skipped: the security rules; {emulators.missing('firestore')}")
    else:
        unittest.main()

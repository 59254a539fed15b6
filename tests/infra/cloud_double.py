"""A stand-in for a Google Cloud project, as deploy/ sees it: Cloud Run's Admin API v2, the logs, the image registry and
the bucket of Terraform's state.

Made from the APIs' definitions and reference (see google_fields.py), and not from what deploy/ sends: a PATCH without a
mask replaces the whole object, an etag that is not current is refused, a changed template makes a revision, LATEST
moves once that revision is ready, and an operation takes a while.
"""

import copy
import datetime
import itertools
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_fields
import log_filter

PROJECT = "example-project"
REGION = "europe-west4"
PARENT = f"projects/{PROJECT}/locations/{REGION}"
GPU, CPU = "clipfleet-worker-gpu", "clipfleet-worker-cpu"
# What infra/region makes by default, and what it makes if each role has a service of its own.
CONTROL = "clipfleet-control"
SERVICES = (CONTROL,)
SEPARATE_SERVICES = ("clipfleet-dispatcher", "clipfleet-status", "clipfleet-scaler")

LATEST = "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST"
NAMED = "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION"
TRAFFIC_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"

class HttpError(Exception):
    def __init__(self, code, status, message):
        super().__init__(message)
        self.code = code
        self.body = {"error": {"code": code, "status": status, "message": message}}


def invalid(message):
    return HttpError(400, "INVALID_ARGUMENT", message)


class Project:
    def __init__(self, now=lambda: datetime.datetime.now(datetime.timezone.utc)):
        self.now = now
        self.resources = {}  # by full name: pools and services
        self.revisions = {}  # by full name
        self.operations = {}
        self.entries = []
        self.matched = {}  # (filter, entry): whether it matches, which is slow to find out
        self.tags = {}  # (image, tag): digest
        self.buckets = {}
        self.requests = []  # (method, path, query, body), in order
        self.broken = set()  # images whose revisions fail when they are made
        self.crashing = set()  # images whose revisions fail when an instance of them is started
        self.denied = set()  # (method, what its path contains)
        self.failing = {}  # image: code of failure, or None for clips that complete
        self.clips_per_read = 10
        self.operation_reads = 2  # how often an operation is read until it is done
        self.before = lambda method, path: None  # is called before each request is handled,
        self.after = lambda method, path: None  # and before it is answered
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)

    # What a test sets up.

    def create_pool(self, name, image, instances=0):
        """A pool as Terraform creates it: no splits are given, so it follows LATEST."""
        gpu = name == GPU
        template = {
            "serviceAccount": f"clipfleet-worker@{PROJECT}.iam.gserviceaccount.com",
            "containers": [{
                "image": image, "args": ["worker"], "env": [{"name": "CLIPFLEET_SLOTS", "value": "2"}],
                "resources": {"limits": {"cpu": "4", "memory": "16Gi"}},
            }],
            **({"nodeSelector": {"accelerator": "nvidia-l4"}, "gpuZonalRedundancyDisabled": True} if gpu else {}),
        }
        scaling = {"manualInstanceCount": instances}
        self._create({"name": f"{PARENT}/workerPools/{name}", "scaling": scaling, "template": template})

    def create_service(self, name, image):
        template = {
            "serviceAccount": f"{name}@{PROJECT}.iam.gserviceaccount.com", "timeout": "60s",
            "scaling": {"minInstanceCount": 1, "maxInstanceCount": 1},
            "containers": [{"image": image, "args": ["serve" if name == CONTROL else name.rsplit("-", 1)[-1]]}],
        }
        self._create({"name": f"{PARENT}/services/{name}", "template": template})

    def _create(self, raw):
        self.resources[raw["name"]] = raw
        raw["uid"] = f"uid-{next(self.numbers)}"
        raw["generation"] = "0"
        self._written(raw, new_revision=True)

    def pool(self, name):
        return self.resources[f"{PARENT}/workerPools/{name}"]

    def service(self, name):
        return self.resources[f"{PARENT}/services/{name}"]

    def set_count(self, name, count):
        """What the scaler does: a masked change of the count, which changes the etag."""
        raw = self.pool(name)
        raw["scaling"]["manualInstanceCount"] = count
        self._written(raw, new_revision=False)

    def revision_images(self, name):
        """{revision: image} of a pool or service."""
        found = {key: it for key, it in self.revisions.items() if f"/{name}/" in key}
        return {key.rsplit("/", 1)[-1]: main_image(it) for key, it in found.items()}

    def running_images(self, name):
        """{image: percent} that a pool's instances run."""
        images = self.revision_images(name)
        running = {}
        for split in self.pool(name)["instanceSplitStatuses"]:
            image = images[split["revision"]]
            running[image] = running.get(image, 0) + split["percent"]
        return running

    def service_image(self, name):
        """The image of the revision that answers."""
        return self.revision_images(name)[self.service(name)["latestReadyRevision"].rsplit("/", 1)[-1]]

    # The requests.

    def handle(self, method, path, query, body):
        """The answer to a request, or an HttpError. `path` starts with the service: /run/v2/..."""
        with self.lock:
            self.requests.append((method, path, query, copy.deepcopy(body)))
            self.before(method, path)
            for denied, part in self.denied:
                if method == denied and part in path:
                    raise HttpError(403, "PERMISSION_DENIED", f"Permission denied on {path}")
            service, rest = path.lstrip("/").split("/", 1)
            answer = getattr(self, f"_{service}")(method, rest, query, body)
            self.after(method, path)
            return json.loads(json.dumps(answer))

    def _run(self, method, path, query, body):
        name = path.removeprefix("v2/")
        if method == "GET" and "/operations/" in name:
            return self._operation(name)
        if method == "GET" and "/revisions/" in name:
            if name not in self.revisions:
                raise HttpError(404, "NOT_FOUND", f"Resource '{name}' was not found")
            google_fields.check("Revision", self.revisions[name])
            return self.revisions[name]
        if name not in self.resources:
            raise HttpError(404, "NOT_FOUND", f"Resource '{name}' was not found")
        if method == "GET":
            google_fields.check(kind(name), self.resources[name])
            return self.resources[name]
        assert method == "PATCH", f"{method} is not simulated"
        return self._patch(name, query, body)

    def _patch(self, name, query, body):
        raw = self.resources[name]
        parameters = google_fields.PATCH_POOL if kind(name) == "WorkerPool" else google_fields.PATCH_SERVICE
        if set(query) - parameters:
            raise invalid(f"unknown parameters: {query}")
        try:
            google_fields.check(kind(name), body)
        except ValueError as error:
            raise invalid(str(error)) from error
        if body.get("etag") and body["etag"] != raw["etag"]:
            said = f"Conflict for resource '{name}': version '{body['etag']}' was specified but is not current"
            raise HttpError(409, "ABORTED", said)
        fields = set(google_fields.RUN[kind(name)]) - google_fields.OUTPUT_ONLY - {"name", "etag"}
        if query.get("updateMask"):
            mask = set(query["updateMask"].split(","))
            if mask - fields:
                raise invalid(f"the mask has fields that cannot be set: {mask - fields}")
            fields = mask
        changed = {field: copy.deepcopy(body[field]) for field in fields if field in body}
        self._check_splits(name, changed.get("instanceSplits", []))
        new_revision = query.get("forceNewRevision") == "true"
        new_revision |= changed.get("template", raw["template"]) != raw["template"]
        revision = changed.get("template", {}).get("revision")
        if new_revision and revision and f"{name}/revisions/{revision}" in self.revisions:
            raise HttpError(409, "ALREADY_EXISTS", f"Revision named '{revision}' already exists")
        for field in fields:
            raw.pop(field, None)
        raw.update(changed)
        error = self._written(raw, new_revision)
        operation = {"name": f"{PARENT}/operations/{next(self.numbers)}", "done": False}
        self.operations[operation["name"]] = {"reads": 0, "error": error}
        return operation

    def _check_splits(self, name, splits):
        if splits and sum(split.get("percent", 0) for split in splits) != 100:
            raise invalid(f"the percentages are not 100 in all: {splits}")
        named = [split["revision"] for split in splits if split["type"] == NAMED]
        if len(set(named)) != len(named):
            raise invalid(f"a revision is named twice: {splits}")
        for revision in named:
            if f"{name}/revisions/{revision}" not in self.revisions:
                raise invalid(f"Revision '{revision}' does not exist")

    def _written(self, raw, new_revision):
        """What follows from a write: etag, generation, revision, and what runs now. Returns why it failed, or None."""
        raw["generation"] = raw["observedGeneration"] = str(int(raw["generation"]) + 1)
        raw["etag"] = f'"{next(self.numbers)}"'
        name, error = raw["name"], None
        if new_revision:
            revision = f"{name}/revisions/{name.rsplit('/', 1)[-1]}-{next(self.numbers):05}-abc"
            template = {key: value for key, value in raw["template"].items() if key != "revision"}
            if main_image(template) in self.broken:
                error = f"Revision '{revision}' is not ready: the container failed its startup probe"
            condition = {"type": "Ready", "state": "CONDITION_FAILED" if error else "CONDITION_SUCCEEDED"}
            if error:
                condition["message"] = error
            # `now` may be a test's clock; the date only has to differ between revisions.
            self.revisions[revision] = {
                **copy.deepcopy(template), "name": revision, "createTime": self.now().isoformat(), "generation": "1",
                "uid": f"uid-{next(self.numbers)}", "conditions": [condition],
            }
            raw["latestCreatedRevision"] = revision
            if not error:
                raw["latestReadyRevision"] = revision
            raw["terminalCondition"] = condition
        if kind(name) == "WorkerPool":
            latest = raw.get("latestReadyRevision", "").rsplit("/", 1)[-1]
            splits = raw.get("instanceSplits") or [{"type": LATEST, "percent": 100}]
            statuses = [{**split, "revision": split.get("revision") or latest} for split in splits]
            raw["instanceSplitStatuses"] = [status for status in statuses if status["revision"]]
            for status in raw["instanceSplitStatuses"]:
                if main_image(self.revisions[f"{name}/revisions/{status['revision']}"]) in self.crashing:
                    error = f"no instance of {status['revision']} starts: the container failed its startup probe"
        else:
            raw.setdefault("traffic", [{"type": TRAFFIC_LATEST, "percent": 100}])
        return error

    def _operation(self, name):
        state = self.operations[name]
        state["reads"] += 1
        if state["reads"] < self.operation_reads:
            return {"name": name, "done": False}
        if state["error"]:
            return {"name": name, "done": True, "error": {"code": 3, "message": state["error"]}}
        return {"name": name, "done": True, "response": {}}

    def _logging(self, method, path, query, body):
        assert (method, path) == ("POST", "v2/entries:list")
        if set(body) - google_fields.LIST_ENTRIES:
            raise invalid(f"unknown fields: {body}")
        if "pageToken" not in body:
            self._work()
        since, text = body["filter"].split(" AND ", 1)
        since = datetime.datetime.fromisoformat(since.removeprefix('timestamp>="').removesuffix('Z"') + "+00:00")
        found = [it for it in self.entries if it["timestamp"] >= since and self._matches(text, it)]
        # Two pages, so that a reader which stops after the first is found out.
        half = (len(found) + 1) // 2
        page, more = (found[half:], False) if "pageToken" in body else (found[:half], len(found) > half)
        entries = [{**it, "timestamp": it["timestamp"].isoformat()} for it in page]
        return {"entries": entries, **({"nextPageToken": "second"} if more else {})}

    def _matches(self, text, entry):
        key = (text, entry["insertId"])
        if key not in self.matched:
            self.matched[key] = log_filter.matches(text, entry)
        return self.matched[key]

    def _work(self):
        """Each revision that has instances ends some clips, well or badly by its image."""
        for name, raw in self.resources.items():
            if kind(name) != "WorkerPool" or not raw["scaling"]["manualInstanceCount"]:
                continue
            pool = name.rsplit("/", 1)[-1]
            images = self.revision_images(pool)
            for split in raw["instanceSplitStatuses"]:
                code = self.failing.get(images[split["revision"]])
                for _ in range(self.clips_per_read if split["percent"] else 0):
                    self.log(pool, split["revision"], code)

    def log(self, pool, revision, code=None):
        """One clip ends on a revision."""
        number = next(self.numbers)
        message = "clip completed" if code is None else "attempt requeued: why"
        line = {"message": message, "batch": "b-1", "clip": f"c-{number}", **({"code": code} if code else {})}
        labels = {"worker_pool_name": pool, "revision_name": revision, "location": REGION, "project_id": PROJECT}
        self.entries.append({
            "insertId": f"i-{number}", "timestamp": self.now(), "jsonPayload": line,
            "resource": {"type": "cloud_run_worker_pool", "labels": labels},
        })

    def _artifactregistry(self, method, path, query, body):
        assert method == "GET"
        package, tag = path.split("/packages/")[1].split("/tags/")
        if (package, tag) not in self.tags:
            raise HttpError(404, "NOT_FOUND", f"Requested entity was not found: {path}")
        version = path.split("/tags/")[0].removeprefix("v1/") + f"/versions/{self.tags[package, tag]}"
        return {"name": path.removeprefix("v1/"), "version": version}

    def _storage(self, method, path, query, body):
        if set(body or {}) - google_fields.BUCKET:
            raise invalid(f"unknown fields: {body}")
        if method == "POST":
            if body["name"] in self.buckets:
                raise HttpError(409, "conflict", "You already own this bucket.")
            self.buckets[body["name"]] = body
            return body
        name = path.rsplit("/", 1)[-1]
        if name not in self.buckets:
            raise HttpError(404, "notFound", "The specified bucket does not exist.")
        if method == "PATCH":
            self.buckets[name].update(body)
        return self.buckets[name]


def main_image(template):
    """The image of the container with a role. A sidecar has no arguments here."""
    return next(it["image"] for it in template["containers"] if it.get("args"))


def kind(name):
    return "WorkerPool" if "/workerPools/" in name else "Service"


def serve(project):
    """Serves a project over HTTP. Returns (server, environment of deploy.sh)."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self):
            url = urllib.parse.urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if self.headers.get("Authorization") != "Bearer token":
                code, answer = 401, {"error": {"message": "no token"}}
            else:
                try:
                    query = dict(urllib.parse.parse_qsl(url.query))
                    code, answer = 200, project.handle(self.command, url.path, query, body)
                except HttpError as error:
                    code, answer = error.code, error.body
            said = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PATCH = do_POST = _any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    services = ("run", "logging", "artifactregistry", "storage")
    return server, {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{it.upper()}": f"{address}/{it}/" for it in services}

"""Reads and changes worker pools and services through the Admin API v2.

Why not gcloud: `gcloud run worker-pools update` and `update-instance-split` read the pool and write it back whole,
without an update mask (command_lib/run/v2/worker_pools_operations.py of the Cloud SDK: ReleaseWorkerPool even allows to
create a missing pool). The instance count is part of that object. Between the two calls the scaler may have set another
one, and the fleet would be set back to it: busy workers are stopped, or idle GPUs started. The SDK's types also drop
fields that are newer than the SDK. And `describe` prints the form of Knative (status.instanceSplits[].revisionName),
which is not the form that is written.

Here a change names its fields in `updateMask`, carries the etag of the pool that was read, and contains nothing but
these fields. The scaler changes the same pools in the same way (crates/cloud/src/google/worker_pool.rs).
"""

import dataclasses

from .api import Conflict, NotFound
from .failure import Failure
from .resources import Pool, Service, container, failed

# All that a release ever changes. The instance count (`scaling`) is none of it.
CHANGEABLE = {"template", "instanceSplits", "traffic", "annotations"}

# Seconds between two reads of an operation: at first short, since a change of annotations is done at once.
MIN_POLL_INTERVAL = 0.1
MAX_POLL_INTERVAL = 5
# A worker has 4 minutes to start, a few times in a row.
OPERATION_TIMEOUT = 15 * 60
# The etag changes whenever the scaler sets the count, and while the platform reconciles.
MAX_CONFLICTS = 20
CONFLICT_DELAY = 3


class ChangeFailed(Failure):
    """The platform accepted a change and could not carry it out."""


@dataclasses.dataclass(frozen=True)
class Change:
    fields: dict
    # Creates a revision even if the template is the same: the last one did not start.
    force_new_revision: bool = False


class CloudRun:
    def __init__(self, api, clock, project, region):
        self.api = api
        self.clock = clock
        self.parent = f"projects/{project}/locations/{region}"

    def pool(self, name):
        return Pool(self._get(f"{self.parent}/workerPools/{name}"))

    def service(self, name):
        return Service(self._get(f"{self.parent}/services/{name}"))

    def revision(self, pool, revision):
        return self._get(f"{self.parent}/workerPools/{pool}/revisions/{revision}")

    def revision_image(self, pool, revision):
        return container(self.revision(pool, revision), Pool.role, revision)["image"]

    def revision_complaint(self, pool, revision):
        return failed(self.revision(pool, revision).get("conditions", []))

    def change_pool(self, name, decide):
        return self._change(lambda: self.pool(name), f"{self.parent}/workerPools/{name}", decide)

    def change_service(self, name, decide):
        return self._change(lambda: self.service(name), f"{self.parent}/services/{name}", decide)

    def _get(self, name):
        return self.api.get("run", f"v2/{name}")

    def _change(self, read, name, decide):
        """The resource after a change. `decide` gets the resource as it is now and returns a `Change`, or None if
        there is nothing to do. It is called again when another writer was faster, so it decides on what is true."""
        for attempt in range(1, MAX_CONFLICTS + 1):
            resource = read()
            change = decide(resource)
            if change is None:
                return self._settled(read)
            forbidden = set(change.fields) - CHANGEABLE
            assert not forbidden, f"a release never changes {forbidden}"
            query = {"updateMask": ",".join(sorted(change.fields))}
            if change.force_new_revision:
                query["forceNewRevision"] = "true"
            body = {"name": name, "etag": resource.etag, **change.fields}
            try:
                operation = self.api.call("PATCH", "run", f"v2/{name}", query=query, body=body)
            except Conflict:
                if attempt == MAX_CONFLICTS:
                    raise
                self.clock.sleep(CONFLICT_DELAY)
                continue
            self._wait(operation, name)
            return read()

    def _wait(self, operation, name):
        deadline = self.clock.now().timestamp() + OPERATION_TIMEOUT
        interval = MIN_POLL_INTERVAL
        while not operation.get("done"):
            if self.clock.now().timestamp() > deadline:
                raise ChangeFailed(
                    f"the change of {name} is not done after {OPERATION_TIMEOUT // 60} minutes",
                    "see deploy/deploy.sh status and the console; then run it again, or deploy/deploy.sh rollback",
                )
            self.clock.sleep(interval)
            interval = min(2 * interval, MAX_POLL_INTERVAL)
            operation = self.api.get("run", f"v2/{operation['name']}")
        if "error" in operation:
            raise ChangeFailed(
                f"the change of {name} failed: {operation['error'].get('message', operation['error'])}",
                "correct what the message names and release again, or deploy/deploy.sh rollback",
            )

    def _settled(self, read):
        """The resource once the platform has finished an earlier change, which this process did not make."""
        deadline = self.clock.now().timestamp() + OPERATION_TIMEOUT
        resource = read()
        while resource.reconciling and self.clock.now().timestamp() < deadline:
            self.clock.sleep(MAX_POLL_INTERVAL)
            resource = read()
        return resource


def existing(read, name):
    """A pool or service, or None if there is none. No other error means that there is none."""
    try:
        return read(name)
    except NotFound:
        return None

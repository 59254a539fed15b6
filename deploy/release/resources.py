"""What a worker pool or a service says, in the form of the Admin API v2.

Field names are those of google.cloud.run.v2; tests/infra checks each of them against the Cloud SDK's definitions.
"""

import copy

from . import record
from .failure import Failure

LATEST = "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST"
REVISION = "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION"
TRAFFIC_LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"

FAILED = "CONDITION_FAILED"


class Resource:
    """What pools and services have in common."""

    # The first argument of the container that a release replaces. Other containers are sidecars.
    role = ""

    def __init__(self, raw):
        self.raw = raw
        self.name = short(raw["name"])

    @property
    def etag(self):
        return self.raw["etag"]

    @property
    def annotations(self):
        return self.raw.get("annotations", {})

    @property
    def record(self):
        return record.read(self.annotations, self.name)

    @property
    def image(self):
        return container(self.raw["template"], self.role, self.name)["image"]

    @property
    def reconciling(self):
        return self.raw.get("reconciling", False)

    @property
    def latest_created(self):
        return short(self.raw.get("latestCreatedRevision", ""))

    @property
    def latest_ready(self):
        return short(self.raw.get("latestReadyRevision", ""))

    @property
    def complaint(self):
        """Why the resource does not reach its desired state; empty if it does, or has not failed yet."""
        return failed([self.raw.get("terminalCondition", {})])

    def template_with(self, image):
        """The template as it was read, with another image.

        Fields that this program does not know stay, since the whole template is replaced under its mask. A revision's
        name does not: a second revision of the same name is refused.
        """
        template = copy.deepcopy(self.raw["template"])
        template.pop("revision", None)
        container(template, self.role, self.name)["image"] = image
        return template

    def with_record(self, new):
        return record.write(self.annotations, new)


class Pool(Resource):
    role = "worker"

    @property
    def instances(self):
        """The instance count. It is only ever read here: the scaler or an operator sets it."""
        return self.raw.get("scaling", {}).get("manualInstanceCount", 0)

    def shares(self):
        """{revision: percent of the instances}, as observed; as desired before anything was observed."""
        # Without splits, the platform assigns all instances to the latest ready revision.
        default = [{"type": LATEST, "percent": 100}]
        shares = {}
        for split in self.raw.get("instanceSplitStatuses") or self.raw.get("instanceSplits") or default:
            revision = short(split.get("revision", ""))
            if not revision and split.get("type") == LATEST:
                revision = self.latest_ready
            if revision:
                shares[revision] = shares.get(revision, 0) + split.get("percent", 0)
        return {revision: percent for revision, percent in shares.items() if percent > 0}

    def running(self):
        """The revision that most instances run. An existing pool without one is an error, and not a new pool: what is
        unknown can neither be kept during a canary nor be gone back to."""
        shares = self.shares()
        if not shares:
            complaint = self.complaint or "it has no ready revision"
            raise Failure(
                f"{self.name} exists, and no revision can be read from it: {complaint}",
                f"gcloud run worker-pools describe {self.name}; if the pool never ran, delete it and release again",
            )
        largest = max(shares.values())
        found = sorted(revision for revision, percent in shares.items() if percent == largest)
        if len(found) > 1:
            raise Failure(
                f"{self.name} runs {' and '.join(found)} on equal shares, so it is unknown which one is stable",
                f"gcloud run worker-pools update-instance-split {self.name} --to-revisions=REVISION=100",
            )
        return found[0]


class Service(Resource):
    def __init__(self, raw):
        super().__init__(raw)
        # clipfleet-dispatcher runs `clipfleet dispatcher`, and clipfleet-control all roles but the workers.
        role = self.name.rsplit("-", 1)[-1]
        self.role = "serve" if role == "control" else role


def splits(shares):
    """Instance splits of {revision: percent}, without those of 0 %. Never by LATEST: then a new revision, whoever made
    it, would get instances by itself."""
    return [{"type": REVISION, "revision": name, "percent": percent} for name, percent in shares.items() if percent]


def short(name):
    """The last part of a full name. Splits name revisions so; the other fields use full names."""
    return name.rsplit("/", 1)[-1]


def container(template, role, owner):
    """The container that runs a role."""
    found = [it for it in template.get("containers", []) if (it.get("args") or [""])[0] == role]
    if len(found) != 1:
        raise Failure(
            f"{owner} has {len(found)} containers that run `{role}`, and not one",
            "correct the containers in infra/region, and apply",
        )
    return found[0]


def failed(conditions):
    """The message of the first condition that failed; empty if none did."""
    for condition in conditions:
        if condition.get("state") == FAILED:
            reason = condition.get("revisionReason") or condition.get("reason") or "no reason given"
            return condition.get("message") or reason
    return ""


def same_shape(one, other):
    """Whether two revisions differ in their names and dates only."""
    return shape(one) == shape(other)


# What the platform assigns to a revision, or says about it. Everything else is its shape, also fields that are newer
# than this program: a difference that does not matter costs a restart, one that is overlooked costs a fix.
NOT_SHAPE = {
    "annotations", "conditions", "createTime", "creator", "deleteTime", "etag", "expireTime", "generation", "labels",
    "logUri", "name", "observedGeneration", "reconciling", "satisfiesPzs", "scalingStatus", "service", "uid",
    "updateTime",
}


def shape(revision):
    return {name: value for name, value in revision.items() if name not in NOT_SHAPE}

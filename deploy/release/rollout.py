"""Release, promote, roll back: what changes in which order.

Workers first, services after them, the dispatcher last. A dispatcher publishes jobs of its own version. A worker that
does not know a setting of a job hands it back, and the clip waits; jobs of an earlier version are known to every later
worker. So whenever a dispatcher publishes a setting, all workers must know it already. Status and scaler go before the
dispatcher for the same reason: they read what new workers and dispatchers write. One service that runs all three is
rolled in the dispatcher's place. A rollback goes the other way, so that no new settings are published when the first
worker goes back.

Each step reads what is there and does what is missing. A release that was killed is run again, or rolled back.
"""

import dataclasses
import math

from . import resources
from .clock import timestamp
from .cloud_run import Change, ChangeFailed, existing
from .failure import Failure
from .record import CANARY, PREPARED, RELEASED, ROLLED_BACK, UNKNOWN_VERSION, Previous, Record

# In the order of a release. A region has the last one, or some of the others, or none. All that exist are rolled: while
# it moves from one layout to the other, both may run.
SERVICES = ("clipfleet-status", "clipfleet-scaler", "clipfleet-dispatcher", "clipfleet-control")

# A pool must have more instances than splits, by a translation of Google's page on instance splits
# (run/docs/managing/workerpool-instance-splits-rollbacks; the English page was not found to say it). A canary has two.
MIN_CANARY_INSTANCES = 3


@dataclasses.dataclass(frozen=True)
class Release:
    version: str
    worker_image: str
    services_image: str


class Superseded(Failure):
    """Somebody else decided meanwhile."""


class Rollout:
    def __init__(self, cloud, clock, pools, operator, log):
        self.cloud = cloud
        self.clock = clock
        self.pools = pools
        self.operator = operator
        self.log = log

    # What is there.

    def read_pools(self):
        """{name: pool} of those that exist."""
        found = {name: existing(self.cloud.pool, name) for name in self.pools}
        return {name: pool for name, pool in found.items() if pool}

    def missing(self, services):
        """Names of pools and services that Terraform has not created yet."""
        return [name for name in self.pools if not existing(self.cloud.pool, name)] + [
            name for name in services if not existing(self.cloud.service, name)
        ]

    def current(self):
        """The newest record of the pools: workers roll first, so theirs are never older than those of services."""
        records = [pool.record for pool in self.read_pools().values() if pool.record]
        return max(records, key=lambda record: record.since, default=None)

    def canary(self):
        """The record of the canary that runs, or None."""
        records = [pool.record for pool in self.read_pools().values()]
        return next((record for record in records if record and record.phase == CANARY), None)

    def refuse_during_canary(self, doing, version=None):
        canary = self.canary()
        if canary and canary.version != version:
            raise Failure(
                f"a canary of {canary.version} runs since {canary.since}, started by {canary.by}: {doing} would end it",
                "deploy/deploy.sh promote or deploy/deploy.sh rollback first",
            )

    # Release.

    def prepare(self, release):
        """Creates the revision of each pool, and leaves all instances where they are."""
        for name in self.pools:
            self._prepare_pool(name, release)

    def _prepare_pool(self, name, release):
        def decide(pool):
            record = pool.record
            if record and record.phase == CANARY and record.version != release.version:
                raise superseded(name, release.version, record)
            if pool.image == release.worker_image:
                if record is None:
                    return self._created(pool, release)
                repeated = record.version == release.version and record.phase != ROLLED_BACK
                if repeated and not self._does_not_start(pool, record):
                    return None
            return self._prepared(pool, release)

        pool = self.cloud.change_pool(name, decide)
        if pool.record.phase != PREPARED:
            return
        revision = self._new_revision(pool, release)
        complaint = self.cloud.revision_complaint(name, revision)
        if complaint:
            remedy = "correct what the message names, then release again"
            raise ChangeFailed(f"{revision} does not start: {complaint}", remedy)
        self.log(f"{name}: {revision} of {release.version} is prepared, {pool.running()} runs")

    def _new_revision(self, pool, release):
        """The revision that was prepared: the newest one, unless somebody else has made another."""
        image = self.cloud.revision_image(pool.name, pool.latest_created)
        if image != release.worker_image:
            raise Failure(
                f"{pool.latest_created}, the newest revision of {pool.name}, has the image {image} and not "
                f"{release.worker_image}: somebody else changes the pool",
                "agree on who releases, then run it again",
            )
        return pool.latest_created

    def _does_not_start(self, pool, record):
        """Whether the revision that an earlier run prepared has failed."""
        return record.phase == PREPARED and bool(self.cloud.revision_complaint(pool.name, pool.latest_created))

    def _created(self, pool, release):
        """The first record of a pool that Terraform has just created with this image."""
        running = pool.running()
        new = self._record(RELEASED, release, revision=running)
        return Change({"instanceSplits": resources.splits({running: 100}), "annotations": pool.with_record(new)})

    def _prepared(self, pool, release):
        stable = pool.running()
        new = self._record(PREPARED, release, previous=self._previous(pool, stable))
        fields = {
            "template": pool.template_with(release.worker_image),
            # A pool that follows LATEST would run the new revision at once.
            "instanceSplits": resources.splits({stable: 100}),
            "annotations": pool.with_record(new),
        }
        # The same template makes no new revision by itself.
        return Change(fields, force_new_revision=pool.image == release.worker_image)

    def _previous(self, pool, stable):
        record, version = pool.record, UNKNOWN_VERSION
        if record and record.revision == stable:
            version = record.version
        elif record and record.previous and record.previous.revision == stable:
            version = record.previous.version
        return Previous(version=version, image=self.cloud.revision_image(pool.name, stable), revision=stable)

    def canary_shares(self, percent):
        """{pool: percent} of the pools that are large enough for a canary, with at least one instance of it."""
        shares = {}
        for name, pool in self.read_pools().items():
            if pool.instances >= MIN_CANARY_INSTANCES:
                shares[name] = share = max(percent, math.ceil(100 / pool.instances))
                if share != percent:
                    self.log(f"{name}: {percent} % of {pool.instances} instances are less than one, {share} % are used")
            else:
                self.log(f"{name}: {pool.instances} instances are too few for a canary; it follows at the promotion")
        if not shares:
            raise Failure(
                f"no pool has {MIN_CANARY_INSTANCES} instances, so no share of them can be a canary",
                f"wait until enough clips are exported, set the scaler's minimum to {MIN_CANARY_INSTANCES}, "
                "or release without --canary",
            )
        return shares

    def start_canary(self, release, shares):
        for name, percent in shares.items():
            self._split(name, release, CANARY, percent)
            self.log(f"{name}: {percent} % of the instances run {release.version}")

    def _split(self, name, release, phase, percent):
        """Gives the new revision a share of the instances."""

        def decide(pool):
            record = pool.record
            if not record or record.version != release.version or record.phase == ROLLED_BACK:
                raise superseded(name, release.version, record)
            if record.phase == RELEASED or (record.phase, record.percent) == (phase, percent):
                return None
            revision = record.revision or self._new_revision(pool, release)
            new = record.replace(
                phase=phase, revision=revision, percent=percent if phase == CANARY else 0,
                since=self._now(), by=self.operator,
            )
            shares = {revision: percent, record.previous.revision: 100 - percent}
            return Change({"instanceSplits": resources.splits(shares), "annotations": pool.with_record(new)})

        return self.cloud.change_pool(name, decide)

    def finish(self, release):
        """All workers run the new revision, then the services follow."""
        self.finish_pools(release)
        self.finish_services(release)

    def finish_pools(self, release):
        for name in self.read_pools():
            self._split(name, release, RELEASED, 100)
            self.log(f"{name}: all instances run {release.version}")

    def finish_services(self, release):
        for name in SERVICES:
            self._roll_service(name, release)

    def _roll_service(self, name, release):
        def decide(service):
            record, image = service.record, release.services_image
            if service.image == image and record is None:
                # Terraform has just created the service, with this image.
                return Change({"annotations": service.with_record(self._record(RELEASED, release))})
            repeated = record is not None and record.version == release.version and record.phase == RELEASED
            if service.image == image and repeated:
                return None
            if repeated:
                previous = record.previous
            else:
                previous = Previous(record.version if record else UNKNOWN_VERSION, service.image)
            new = self._record(RELEASED, release, previous=previous)
            return Change(self._service_fields(service, image, new))

        if existing(self.cloud.service, name) is None:
            return
        self._check_service(self.cloud.change_service(name, decide), release.version)

    def _service_fields(self, service, image, new):
        """A revision gets the requests once it is ready. One that does not become ready replaces nothing."""
        return {
            "template": service.template_with(image),
            "traffic": [{"type": resources.TRAFFIC_LATEST, "percent": 100}],
            "annotations": service.with_record(new),
        }

    def _check_service(self, service, version):
        if service.complaint or service.latest_ready != service.latest_created:
            raise ChangeFailed(
                f"{service.name}: {service.latest_created} of {version} is not ready, {service.latest_ready} runs on: "
                f"{service.complaint or 'no reason given'}",
                "deploy/deploy.sh rollback, correct the cause, then release again",
            )
        self.log(f"{service.name}: {service.latest_ready} of {version} runs")

    # Promote.

    def promotion(self):
        """The release that `promote` finishes: the newest, if something of it is left to do."""
        record = self.current()
        if not record or record.phase == ROLLED_BACK or not record.services_image:
            remedy = "deploy/deploy.sh release; deploy/deploy.sh status shows what runs"
            raise Failure("there is no release to promote", remedy)
        pool = next(pool for pool in self.read_pools().values() if pool.record == record)
        image = self.cloud.revision_image(pool.name, record.revision or pool.latest_created)
        return Release(record.version, image, record.services_image)

    # Roll back.

    def rollback_canary(self, version):
        """Rolls back a canary, but no release that a person has promoted meanwhile."""
        return self.rollback(version, phases=(PREPARED, CANARY))

    def rollback(self, version=None, phases=(PREPARED, CANARY, RELEASED)):
        """Brings back what ran before the newest release, or before `version`: services first, then workers.

        Returns the version that was left.
        """
        records = [pool.record for pool in self.read_pools().values()]
        left = [it for it in records if it and it.previous and it.phase in phases and version in (None, it.version)]
        if not left:
            what = f"canary of {version}" if version else "release"
            raise Failure(
                f"there is no {what} to roll back: none was made, or somebody has decided already",
                "release the commit that you want to run; deploy/deploy.sh status shows what runs",
            )
        target = max(left, key=lambda record: record.since).version
        for name in reversed(SERVICES):
            self._roll_back_service(name, target)
        went_back = [name for name in self.read_pools() if self._roll_back_pool(name, target, phases)]
        if not went_back:
            raise superseded(", ".join(self.pools), target, self.current())
        return target

    def _roll_back_service(self, name, version):
        def decide(service):
            record = service.record
            if not record or record.version != version or record.phase == ROLLED_BACK or not record.previous:
                return None
            new = self._rolled_back(record)
            return Change(self._service_fields(service, record.previous.image, new))

        before = existing(self.cloud.service, name)
        if before is None:
            return
        if decide(before) is None:
            record = before.record
            if record and (record.version, record.phase) == (version, RELEASED):
                self.log(f"{name}: nothing ran there before {version}, so it keeps its image")
            return
        service = self.cloud.change_service(name, decide)
        self._check_service(service, service.record.version)

    def _roll_back_pool(self, name, version, phases):
        """Whether the pool went back: somebody else may be faster."""

        def decide(pool):
            record = pool.record
            if not record or record.version != version or record.phase not in phases or not record.previous:
                return None
            new = self._rolled_back(record)
            splits = resources.splits({new.revision: 100})
            return Change({"instanceSplits": splits, "annotations": pool.with_record(new)})

        if decide(self.cloud.pool(name)) is None:
            return False
        pool = self.cloud.change_pool(name, decide)
        if pool.record.phase != ROLLED_BACK:
            return False
        self.log(f"{name}: all instances run {pool.running()} of {pool.record.version}")
        self.restore_template(name)
        return True

    def _rolled_back(self, record):
        before = record.previous
        return Record(ROLLED_BACK, before.version, since=self._now(), by=self.operator, revision=before.revision)

    def restore_template(self, name):
        """Makes the template name the image that runs, so that Terraform's next change of the shape keeps it.

        After the split and apart from it: the instances go back even if no new revision can be made.
        """
        def decide(pool):
            if not pool.record or pool.record.phase != ROLLED_BACK:
                return None
            image = self.cloud.revision_image(name, pool.record.revision)
            return None if pool.image == image else Change({"template": pool.template_with(image)})

        self.cloud.change_pool(name, decide)

    # Shape.

    def adopt(self):
        """Moves each pool to its newest revision, if that differs from the running one in shape and not in image."""
        for name, pool in self.read_pools().items():
            running, newest = pool.running(), pool.latest_created
            if newest in ("", running):
                continue
            old, new = self.cloud.revision(name, running), self.cloud.revision(name, newest)
            if resources.same_shape(old, new):
                continue
            self._adopt_pool(name, running, newest)

    def _adopt_pool(self, name, running, newest):
        if self.cloud.revision_image(name, newest) != self.cloud.revision_image(name, running):
            raise Failure(
                f"{newest}, the newest revision of {name}, runs another image than {running}",
                "deploy/deploy.sh release, which changes images",
            )

        def decide(pool):
            if pool.running() == newest:
                return None
            fields = {"instanceSplits": resources.splits({newest: 100})}
            if pool.record:
                fields["annotations"] = pool.with_record(pool.record.replace(revision=newest))
            return Change(fields)

        self.cloud.change_pool(name, decide)
        self.log(f"{name}: all instances run {newest}, the new shape")

    def _record(self, phase, release, **fields):
        return Record(
            phase, release.version, since=self._now(), by=self.operator, services_image=release.services_image, **fields
        )

    def _now(self):
        return timestamp(self.clock.now())


def superseded(name, version, record):
    now = f"{record.version} is {record.phase}, by {record.by}" if record else "it has no record of a release"
    text = f"{name}: somebody else has decided about {version}: {now}"
    return Superseded(text, "deploy/deploy.sh status shows what runs")

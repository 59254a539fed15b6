"""What runs where."""

from .cloud_run import existing
from .record import CANARY, PREPARED, ROLLED_BACK
from .rollout import SERVICES


def lines(cloud, pools, services):
    """Of all pools, and of the services that exist or that `services` names."""
    versions = set()
    for name in pools:
        pool = existing(cloud.pool, name)
        if pool is None:
            yield f"{name}: does not exist"
            continue
        shares = ", ".join(f"{percent} % {revision}" for revision, percent in sorted(pool.shares().items()))
        yield f"{name}: {pool.instances} instances: {shares or 'no revision can be read'}"
        yield from describe(pool)
        versions.add(version(pool))
    for name in SERVICES:
        service = existing(cloud.service, name)
        if service is None:
            if name in services:
                yield f"{name}: does not exist"
            continue
        yield f"{name}: {service.latest_ready or 'no revision is ready'}"
        yield from describe(service)
        if service.latest_ready != service.latest_created:
            yield f"  {service.latest_created} is not ready: {service.complaint or 'no reason given'}"
        versions.add(version(service))
    if len(versions) > 1:
        yield f"several versions: {', '.join(sorted(versions))}"


def version(resource):
    return resource.record.version if resource.record else "unknown"


def describe(resource):
    record = resource.record
    if record is None:
        yield "  no release is recorded"
        return
    phase = {PREPARED: "is prepared, no instance runs it", CANARY: f"is a canary of {record.percent} %"}
    phase[ROLLED_BACK] = "runs after a rollback"
    yield f"  {record.version} {phase.get(record.phase, 'is released')}, since {record.since}, by {record.by}"
    if record.previous:
        yield f"  before: {record.previous.version} {record.previous.revision}".rstrip()

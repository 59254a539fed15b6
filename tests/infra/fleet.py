"""The plans of infra/ that the tests look at, and what they share in looking."""

import atexit
import tempfile
from functools import cache

from terraform import IMAGES, ROOT, Workspace, merged

PROJECT = "example-project"  # of example.tfvars


@cache
def roots():
    """A workspace for each root module."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return {root: Workspace(folder.name, root) for root in ("global", "region")}


REPOSITORY = f"projects/{PROJECT}/locations/europe-west1/connections/github/repositories/clipfleet"


@cache
def planned():
    """Both root modules, by their examples, and the weekly rebuild, which needs a repository."""
    return merged(must(roots()["global"].plan(rebuild={"repository": REPOSITORY})), must(roots()["region"].plan(**IMAGES)))


THREE = ["dispatcher", "status", "scaler"]  # instead of the one service that is the default


@cache
def separate():
    """A service of its own for each role of the control plane."""
    return merged(must(roots()["global"].plan()), must(roots()["region"].plan(**IMAGES, services=THREE)))


@cache
def unscaled():
    """Without the scaler, with a service for each role, and with everything that is off by default. Its documents are
    those of the product's database."""
    whole = must(roots()["global"].plan(
        scaler_enabled=False, database="(default)", release_firestore_rules=True, results_retention_days=90, output_links="none",
    ))
    services = ["dispatcher", "status"]
    traces = {"endpoint": "http://collector:4317"}
    regional = must(roots()["region"].plan(**IMAGES, services=services, database="(default)", output_links="none", legacy_mirror=True, traces=traces))
    return merged(whole, regional)


def must(outcome):
    plan, complaint = outcome
    if plan is None:
        raise AssertionError(complaint)
    return plan


def sources(*crates):
    """The Rust text of crates, without their tests."""
    paths = [path for crate in crates for path in (ROOT / "crates" / crate / "src").rglob("*.rs")]
    return "\n".join(path.read_text().split("#[cfg(test)]")[0] for path in paths if "tests" not in path.name)


def named(plan, address):
    """Planned values of every instance of TYPE.NAME."""
    found = plan["planned_values"]["root_module"]["resources"]
    return [it["values"] for it in found if f"{it['type']}.{it['name']}" == address]


def rights(plan):
    """Every grant of a plan."""
    found = plan["planned_values"]["root_module"]["resources"]
    return [dict(it["values"], kind=it["type"]) for it in found if it["type"].endswith("_iam_member")]

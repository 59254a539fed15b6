"""A project's first steps, in an order that works, each of which may be repeated.

Terraform reads the project while it plans, so two APIs must be enabled before it runs at all, and its state needs a
bucket. It enables all other APIs itself.
"""

from .api import Conflict, Denied, NotFound
from .failure import Failure
from .images import run
from .terraform import GLOBAL, REGION

FIRST_APIS = (
    "serviceusage.googleapis.com",  # enables the others
    "cloudresourcemanager.googleapis.com",  # Terraform reads the project's number
    "iam.googleapis.com",
    "storage.googleapis.com",  # Terraform's state
)


def prepare(api, settings, terraform, log):
    if not settings.state_bucket:
        remedy = "choose a globally unique name: STATE_BUCKET=... deploy/deploy.sh init"
        raise Failure("STATE_BUCKET is not set", remedy)
    # Both files, before anything is made.
    for root in (GLOBAL, REGION):
        settings.variables_file(root)
    run("gcloud", "services", "enable", *FIRST_APIS, f"--project={settings.project}")
    state_bucket(api, settings, log)
    terraform.init(GLOBAL)
    terraform.init(REGION)
    terraform.apply(GLOBAL)
    log("ready: deploy/deploy.sh release")


def state_bucket(api, settings, log):
    """Creates the bucket of Terraform's state, or sets what it must have."""
    name = settings.state_bucket
    wanted = {
        # A state that was damaged or deleted can be restored.
        "versioning": {"enabled": True},
        "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"},
    }
    try:
        api.get("storage", f"storage/v1/b/{name}")
    except NotFound:
        log(f"creating gs://{name} for Terraform's state")
        body = {"name": name, "location": settings.region, **wanted}
        try:
            api.call("POST", "storage", "storage/v1/b", query={"project": settings.project}, body=body)
            return
        except Conflict:
            pass  # an answer was lost, and the repeated call found the bucket
    except Denied as error:
        raise Failure(
            f"gs://{name} exists and this account may not read it: {error.message}",
            "bucket names are global: choose another one, or get roles/storage.admin on this one",
        ) from error
    api.call("PATCH", "storage", f"storage/v1/b/{name}", body=wanted)

"""The images of a commit: builds and pushes those that the registry does not have yet."""

import dataclasses
import os
import subprocess

from .api import NotFound
from .failure import Failure
from .settings import ROOT, Settings

IMAGES = ("worker", "services")


def commit():
    """(version, revision) of this checkout."""
    version = git("describe", "--always", "--dirty")
    if version.endswith("-dirty"):
        raise Failure("some changes are not committed", "commit them: an image is named after its commit")
    return version, git("rev-parse", "HEAD")


@dataclasses.dataclass(frozen=True)
class Build:
    settings: Settings
    repository: str
    version: str
    revision: str
    # The account of Cloud Build; empty: build here.
    cloud_account: str = ""


def push(api, build, log):
    """{image: its name by digest}, after pushing what is missing.

    Tags cannot be moved, and a second build has another digest: what a killed release has pushed is used, not replaced.
    """
    missing = [image for image in IMAGES if not digest(api, build.repository, image, build.version)]
    if missing:
        log(f"building {' and '.join(missing)} of {build.version}")
        (push_from_cloud if build.cloud_account else push_from_here)(build, " ".join(missing))
    names = {}
    for image in IMAGES:
        found = digest(api, build.repository, image, build.version)
        if not found:
            tag = f"{build.repository}/{image}:{build.version}"
            raise Failure(f"{tag} is not in the registry", "see the output of the build above")
        names[image] = f"{build.repository}/{image}@{found}"
    return names


def published(api, repository, version):
    """{image: its name by digest} of a version that the registry has; builds nothing."""
    names = {}
    for image in IMAGES:
        found = digest(api, repository, image, version)
        if not found:
            raise Failure(
                f"{repository}/{image}:{version} is not in the registry",
                f"gcloud artifacts docker tags list {repository}/{image}",
            )
        names[image] = f"{repository}/{image}@{found}"
    return names


def push_from_here(build, images):
    run("gcloud", "auth", "configure-docker", "--quiet", build.repository.split("/")[0])
    environment = {
        "REPOSITORY": build.repository, "VERSION": build.version, "REVISION": build.revision, "IMAGES": images,
    }
    run("deploy/images.sh", "push", environment=environment)


def push_from_cloud(build, images):
    run("deploy/images.sh", "check")
    substitutions = {
        "_REPOSITORY": build.repository, "_VERSION": build.version, "_REVISION": build.revision, "_IMAGES": images,
    }
    run(
        "gcloud", "builds", "submit", f"--project={build.settings.project}", f"--region={build.settings.region}",
        f"--service-account={build.cloud_account}", "--config=deploy/cloudbuild.yaml",
        "--substitutions=" + ",".join(f"{name}={value}" for name, value in substitutions.items()), ".",
    )


def digest(api, repository, image, version):
    """The digest of a tag; None if the registry has no such tag."""
    # LOCATION-docker.pkg.dev/PROJECT/NAME
    host, project, name = repository.split("/")
    location = host.removesuffix("-docker.pkg.dev")
    tag = f"v1/projects/{project}/locations/{location}/repositories/{name}/packages/{image}/tags/{version}"
    try:
        return api.get("artifactregistry", tag)["version"].rsplit("/", 1)[-1]
    except NotFound:
        return None


def git(*arguments):
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        raise Failure(f"git {arguments[0]} failed: {result.stderr.strip()}", "release from a git checkout")
    return result.stdout.strip()


def run(*command, environment=None):
    # Output of builds is for the operator, and stdout is for results.
    result = subprocess.run(command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdout=2)
    if result.returncode:
        raise Failure(f"{' '.join(command[:3])} failed", "see its output above")

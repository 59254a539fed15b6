"""What docker/ and deploy/ say, against the validators that need neither engine nor account, and their scripts against stand-ins of gcloud,
terraform and docker that write down how they are called."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from terraform import INFRA, ROOT, TOOLS

BIN = TOOLS / "requirements" / "bin"
DIGEST = "sha256:" + "ab" * 32

# A stand-in notes its name and arguments, and answers what the case wants.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
{answers}
esac
"""


def run(*command, **settings):
    return subprocess.run([str(it) for it in command], cwd=ROOT, capture_output=True, text=True, **settings)


class Files(unittest.TestCase):
    def accepted(self, *command):
        told = run(*command)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)

    def test_hadolint_finds_nothing(self):
        self.accepted(BIN / "hadolint", "docker/Dockerfile")

    def test_compose_files_follow_the_specification(self):
        self.accepted(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *(ROOT / "docker").glob("compose*.yaml"))

    def test_cloud_build_knows_every_key(self):
        self.accepted(BIN / "check-jsonschema", "--builtin-schema", "vendor.cloudbuild", "deploy/cloudbuild.yaml")

    def test_shellcheck_finds_nothing(self):
        folders = ["deploy", "deploy/functions/test", "docker", "tests/browser", "tests/firebase", "tests/images", "tests/infra", "tests/support"]
        scripts = [next((ROOT / folder).glob("*.sh")) for folder in folders]
        scripts += (ROOT / "deploy").glob("*.sh")
        self.accepted(BIN / "shellcheck", "--external-sources", *scripts)

    def test_validators_can_fail(self):
        with tempfile.TemporaryDirectory() as folder:
            wrong = Path(folder) / "cloudbuild.yaml"
            wrong.write_text((ROOT / "deploy/cloudbuild.yaml").read_text().replace("steps:", "stages:"))
            told = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.cloudbuild", wrong)
            self.assertNotEqual(told.returncode, 0, told.stdout)
            dockerfile = Path(folder) / "Dockerfile"
            dockerfile.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
            self.assertNotEqual(run(BIN / "hadolint", dockerfile).returncode, 0)


class Scripts(unittest.TestCase):
    """Each in a copy of the tree's scripts that is a git checkout of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name) / "tree"
        self.calls = Path(folder.name) / "calls"
        self.bin = Path(folder.name) / "bin"
        self.bin.mkdir()
        for part in ("deploy", "docker"):
            shutil.copytree(ROOT / part, self.tree / part, ignore=shutil.ignore_patterns("node_modules"))
        shutil.copytree(INFRA, self.tree / "infra", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "my.tfvars", "images.auto.tfvars", ".*before"))
        shutil.copy(ROOT / ".gitignore", self.tree)
        shutil.copy(INFRA / "example.tfvars", self.tree / "infra" / "my.tfvars")
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        told = subprocess.run(["git", *identity, *arguments], cwd=self.tree, capture_output=True, text=True)
        self.assertEqual(told.returncode, 0, told.stderr)
        return told.stdout.strip()

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")

    def stand_in(self, program, **answers):
        lines = "\n".join(f'"{program} "{pattern}) {answer} ;;' for pattern, answer in answers.values())
        path = self.bin / program
        path.write_text(STAND_IN.format(answers=lines))
        path.chmod(0o755)

    def cloud(self):
        """A project in which the GPU pool runs revision r7, and no CPU pool is."""
        self.stand_in(
            "gcloud",
            pool=('*"describe clipfleet-worker-gpu"*', "echo 'r7;r6'"),
            none=('*"describe clipfleet-worker-cpu"*', "exit 1"),
            image=('*"images describe"*', f"echo {DIGEST}"),
        )
        self.stand_in("terraform", output=('*"output -raw image_repository"*', "echo europe-west4-docker.pkg.dev/example-project/clipfleet"))
        self.stand_in("docker", digest=('*"imagetools inspect"*', f"echo {DIGEST}"))

    def call(self, script, *arguments, **environment):
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "CALLS": str(self.calls), **environment}
        told = subprocess.run([f"deploy/{script}.sh", *arguments], cwd=self.tree, env=environment, capture_output=True, text=True)
        called = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return told, called

    def place(self, called, pattern):
        found = [index for index, call in enumerate(called) if re.search(pattern, call)]
        self.assertTrue(found, f"{pattern} is not among\n" + "\n".join(called))
        return found[0]

    def released(self, *arguments):
        self.cloud()
        (self.tree / "infra" / ".terraform").mkdir(exist_ok=True)
        self.call("images", "pin")
        self.commit()
        told, called = self.call("deploy", "release", *arguments)
        self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
        return told, called

    def test_bases_are_pinned_and_nothing_is_pushed_before(self):
        self.cloud()
        repository = {"REPOSITORY": "example/clipfleet", "VERSION": "1"}
        told, called = self.call("images", "push", **repository)
        self.assertIn("deploy/images.sh pin", told.stderr)
        self.assertEqual((told.returncode, called), (1, []))
        told, _ = self.call("images", "pin")
        self.assertEqual(told.returncode, 0, told.stderr)
        bases = re.findall(r"^ARG (\w+_BASE)=(.*)$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
        locked = (self.tree / "docker/bases.lock").read_text()
        self.assertEqual(re.findall(r"^(\w+)=(.*)$", locked, re.MULTILINE), [(name, f"{image}@{DIGEST}") for name, image in bases])
        told, called = self.call("images", "push", **repository)
        self.assertEqual(told.returncode, 0, told.stderr)
        for image in ("worker", "services"):
            call = called[self.place(called, f"--target {image} ")]
            self.assertIn("--push --sbom=true", call)
            self.assertIn(f"--build-arg MEDIA_BASE={dict(bases)['MEDIA_BASE']}@{DIGEST}", call)
            self.assertIn(f"--tag example/clipfleet/{image}:1", call)

    def test_a_base_of_another_tag_is_not_pinned(self):
        self.cloud()
        self.call("images", "pin")
        dockerfile = self.tree / "docker/Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("ubuntu:26.04", "ubuntu:26.10"))
        told, _ = self.call("images", "check")
        self.assertEqual(told.returncode, 1)
        self.assertIn("MEDIA_BASE", told.stderr)

    def test_a_release_goes_to_all_workers(self):
        _, called = self.released()
        applied = self.place(called, "^terraform .*apply")
        self.assertLess(self.place(called, "--push .*--target services"), applied)
        self.assertGreater(self.place(called, "update-instance-split clipfleet-worker-gpu --to-latest"), applied)
        images = (self.tree / "infra/images.auto.tfvars").read_text()
        self.assertIn(f'worker_image = "europe-west4-docker.pkg.dev/example-project/clipfleet/worker@{DIGEST}"', images)
        self.assertIn("services_image", images)

    def test_a_canary_is_held_back_before_the_change_and_shared_after_it(self):
        told, called = self.released("--canary", "10")
        applied = self.place(called, "^terraform .*apply")
        split = "^gcloud run worker-pools update-instance-split clipfleet-worker-gpu --to-revisions="
        self.assertLess(self.place(called, split + "r7=100"), applied)
        self.assertGreater(self.place(called, split + "LATEST=10,r7=90"), applied)
        self.assertFalse([call for call in called if "split clipfleet-worker-cpu" in call], "a pool that is not there yet")
        self.assertIn("promote", told.stderr)
        _, called = self.call("deploy", "promote", POOLS="clipfleet-worker-gpu")
        self.place(called, "update-instance-split clipfleet-worker-gpu --to-latest")

    def test_a_rollback_brings_back_revision_and_images(self):
        self.cloud()
        told, _ = self.call("deploy", "rollback")
        self.assertEqual(told.returncode, 1, "there is nothing to go back to")
        self.released()
        before = (self.tree / "infra/images.auto.tfvars").read_text()
        self.stand_in("gcloud", pool=('*"describe clipfleet-worker-gpu"*', "echo r8"), image=('*"images describe"*', f"echo {DIGEST.replace('ab', 'cd')}"))
        told, _ = self.call("deploy", "release")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertNotEqual((self.tree / "infra/images.auto.tfvars").read_text(), before)
        told, called = self.call("deploy", "rollback")
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertLess(self.place(called, "to-revisions=r8=100"), self.place(called, "^terraform .*apply"))
        self.assertEqual((self.tree / "infra/images.auto.tfvars").read_text(), before)

    def test_what_is_not_committed_is_not_released(self):
        self.cloud()
        (self.tree / "infra" / ".terraform").mkdir()
        (self.tree / "deploy" / "new.txt").write_text("x")
        self.git("add", "--all")
        told, called = self.call("deploy", "release")
        self.assertEqual(told.returncode, 1)
        self.assertIn("not committed", told.stderr)
        self.assertFalse([call for call in called if "apply" in call or "push" in call], called)

    def test_wrong_use_is_named(self):
        self.cloud()
        (self.tree / "infra" / ".terraform").mkdir()
        for arguments, named in ((["--canary", "100"], "--canary 100"), (["--builder", "x"], "--builder x"), (["--fast"], "--fast")):
            told, called = self.call("deploy", "release", *arguments)
            self.assertEqual(told.returncode, 1, arguments)
            self.assertIn(named, told.stderr)
            self.assertEqual([], called)
        (self.tree / "infra" / "my.tfvars").write_text('region = "europe-west4"\n')
        told, _ = self.call("deploy", "release")
        self.assertIn("names no project", told.stderr)

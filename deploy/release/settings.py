"""Project, region and files: from the variables files of Terraform and the environment."""

import os
import re
from pathlib import Path

from .failure import Failure

ROOT = Path(__file__).resolve().parents[2]
GPU_POOL, CPU_POOL = "clipfleet-worker-gpu", "clipfleet-worker-cpu"

# The default of `services` in infra/region.
DEFAULT_SERVICES = ("control",)


class Settings:
    def __init__(self, environment=os.environ):
        self.environment = environment
        self.state_bucket = environment.get("STATE_BUCKET", "")
        self.approved_in_advance = environment.get("APPROVE", "yes") == "no"

    def root(self, name):
        """The folder of a root module of Terraform, `global` or `region`."""
        return ROOT / "infra" / name

    def variables_file(self, name):
        path = Path(self.environment.get(f"{name.upper()}_VARS") or self.root(name) / "my.tfvars").absolute()
        if not path.is_file():
            raise Failure(
                f"{path} does not exist",
                f"cp infra/{name}/example.tfvars infra/{name}/my.tfvars, then adapt it; or set {name.upper()}_VARS",
            )
        return path

    @property
    def project(self):
        return self.environment.get("GOOGLE_CLOUD_PROJECT") or self._variable("project")

    @property
    def region(self):
        return self.environment.get("GOOGLE_CLOUD_REGION") or self._variable("region")

    @property
    def pools(self):
        """Pools of this region. Without an L4 quota, infra/region has no GPU pool."""
        if "POOLS" in self.environment:
            return self.environment["POOLS"].split()
        return [CPU_POOL] if self._find(r"l4_quota *= *0\b") else [GPU_POOL, CPU_POOL]

    @property
    def services(self):
        """Services of this region: one for all roles, one for each, or none in a second region."""
        listed = self._find(r"services *= *\[([^\]]*)\]")
        roles = re.findall(r'"([^"]+)"', listed[1]) if listed else DEFAULT_SERVICES
        return [f"clipfleet-{role}" for role in roles]

    def _variable(self, name):
        """The value of a string variable of infra/region."""
        path = self.variables_file("region")
        found = self._find(rf'{name} *= *"([^"]+)"')
        if not found:
            raise Failure(f"{path} names no {name}", f'add: {name} = "...", as in infra/region/example.tfvars')
        return found[1]

    def _find(self, pattern):
        """Where a variable of infra/region is set; None if it is not, or if there is no variables file."""
        try:
            text = self.variables_file("region").read_text()
        except Failure:
            return None
        return re.search(rf"^ *{pattern}", text, re.MULTILINE)

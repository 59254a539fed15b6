"""Resource schemas of Terraform's Google provider, read from the bindings that CDK Terrain generates from them.

The provider itself can only be fetched from Terraform's registry. Its bindings are in Python's package index, and keep
what the provider declares: the names of attributes and blocks as Terraform spells them, what is required, optional or
computed, lists apart from sets, single blocks apart from repeated ones, and the values of enums, which the generator
copies from the descriptions.

They do not keep which attributes exclude or need one another, so RULES has those of the resources that infra/ uses.
google-beta and time are packages of their own, so OTHERS has the one resource of each.
"""

import io
import re
import tarfile
import zipfile

# Attributes of which exactly one, or at least one, must be set where their block is. From the provider's source, 7.45.
RULES = {
    "google_billing_budget": [
        ("all_updates_rule", "at least one", ["pubsub_topic", "monitoring_notification_channels"]),
        ("budget_filter", "at least one", ["calendar_period", "custom_period", "labels", "projects", "services", "subaccounts"]),
    ],
    "google_logging_metric": [
        ("bucket_options", "at least one", ["explicit_buckets", "exponential_buckets", "linear_buckets"]),
    ],
    "google_monitoring_alert_policy": [
        ("documentation", "at least one", ["content", "links", "mime_type", "subject"]),
    ],
    "google_monitoring_slo": [
        ("", "exactly one", ["calendar_period", "rolling_period_days"]),
        ("", "exactly one", ["basic_sli", "request_based_sli", "windows_based_sli"]),
        ("request_based_sli", "exactly one", ["distribution_cut", "good_total_ratio"]),
        ("request_based_sli.distribution_cut.range", "at least one", ["max", "min"]),
        ("request_based_sli.good_total_ratio", "at least one", ["bad_service_filter", "good_service_filter", "total_service_filter"]),
        (
            "windows_based_sli",
            "exactly one",
            ["good_bad_metric_filter", "good_total_ratio_threshold", "metric_mean_in_range", "metric_sum_in_range"],
        ),
        ("windows_based_sli.metric_mean_in_range.range", "at least one", ["max", "min"]),
        ("windows_based_sli.metric_sum_in_range.range", "at least one", ["max", "min"]),
    ],
    "google_pubsub_subscription": [
        ("", "at most one", ["bigquery_config", "cloud_storage_config", "push_config"]),
    ],
}


def attribute(kind, required=False, optional=False, computed=False):
    return {"type": kind, "required": required, "optional": optional, "computed": computed, "values": None}


OTHERS = {
    "google-beta": {
        "google_project_service_identity": {
            "service": attribute("string", required=True),
            "project": attribute("string", optional=True, computed=True),
            "email": attribute("string", computed=True),
            "member": attribute("string", computed=True),
            "id": attribute("string", computed=True),
        },
    },
    "time": {
        "time_sleep": {
            "create_duration": attribute("string", optional=True),
            "destroy_duration": attribute("string", optional=True),
            "triggers": attribute(["map", "string"], optional=True),
            "id": attribute("string", computed=True),
        },
    },
}

SIMPLE = {"string": "string", "number": "number", "boolean": "bool"}


def folder_of(kind):
    """Where the bindings keep a resource, a data source (data_...) or the provider."""
    return re.sub("^(data_)?google_", lambda found: "data-google-" if found[1] else "", kind).replace("_", "-")


def read(wheel, kinds):
    """{kind: (JavaScript, typings)} of the bindings in a wheel."""
    wanted = {f"package/lib/{folder_of(kind)}/index.{end}": (kind, end) for kind in kinds for end in ("js", "d.ts")}
    found = {}
    with zipfile.ZipFile(wheel) as packed:
        name = next(name for name in packed.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(packed.read(name))) as archive:
            for member in archive:
                if member.name in wanted:
                    found[wanted[member.name]] = archive.extractfile(member).read().decode()
    return {kind: (found[kind, "js"], found[kind, "d.ts"]) for kind in kinds}


class Bindings:
    """What the bindings say of a resource, a data source or the provider."""

    def __init__(self, script, typings):
        script = script.split("//# sourceMappingURL")[0]
        # {type: its attributes}. A function for a nested type, a method for the outermost one, which ends a class.
        self.attributes = {
            name[0].upper() + name[1:]: body
            for name, body in re.findall(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", script, re.S | re.M)
        }
        self.classes = {}
        for name, body in re.findall(r"^class (\w+) extends cdktn\.\w+ \{\n(.*?)^\}", script, re.S | re.M):
            self.classes[name.removesuffix("OutputReference")] = body
            outermost = re.search(r"^    synthesizeHclAttributes\(\) \{\n(.*?)^    \}", body, re.S | re.M)
            if outermost:
                self.outermost = name
                self.attributes[name] = outermost[1]
        self.interfaces = {
            name.removesuffix("Config"): body
            for name, body in re.findall(r"^export interface (\w+)(?: extends [\w.]+)? \{\n(.*?)^\}", typings, re.S | re.M)
        }

    def flags(self, kind):
        """{attribute: whether it is required, optional, computed}."""
        # The provider's own blocks have no class, and no computed attributes.
        settable = re.findall(r"#(\w+) \w+#\w+\}\s+\*/\s+readonly \w+(\??):", self.interfaces.get(kind, ""))
        found = {name: {"computed": False, "optional": bool(mark), "required": not mark} for name, mark in settable}
        comment = r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)"
        for name, *values in re.findall(comment, self.classes.get(kind, "")):
            found[name] = {flag: value == "true" for flag, value in zip(("computed", "optional", "required"), values)}
        return found

    def values(self, kind):
        """{attribute: values that are allowed} of a type's enums."""
        found = {}
        for text, name in re.findall(r"/\*\*(.*?)#(\w+) \w+#\w+\}", self.interfaces.get(kind, ""), re.S):
            listed = re.search(r"Possible values: \[([^\]]*)\]", text)
            if listed:
                found[name] = re.findall(r'"([^"]*)"', listed[1])
        return found

    def block(self, kind):
        """A schema: attributes {name: {type, required, optional, computed, values}} and blocks {name: {...}}."""
        flags = self.flags(kind)
        values = self.values(kind)
        attributes, blocks = {}, {}
        entry = r"(\w+): \{\s+value: (.*?),\s+isBlock: (\w+),\s+type: \"(\w+)\",\s+storageClassType: \"(\w+)\","
        for name, value, is_block, nesting, storage in re.findall(entry, self.attributes.get(kind, ""), re.S):
            if is_block == "true":
                nested = re.search(r"(\w+)ToHclTerraform", value)[1]
                blocks[name] = {
                    "schema": self.block(nested[0].upper() + nested[1:]),
                    "nesting": {"list": "LIST", "set": "SET", "struct": "SINGLE"}[nesting],
                    "single": "listMapper" not in value,
                    "required": flags[name]["required"],
                }
                continue
            element = SIMPLE[re.sub(r"(List|Map)$", "", storage)]
            attributes[name] = flags[name] | {"type": element if nesting == "simple" else [nesting, element], "values": values.get(name)}
        # What can only be read has a getter and nothing else. Lists of objects are left out: infra/ reads none.
        for getter, name in re.findall(r"return this\.get(String|Number|Boolean)Attribute\('(\w+)'\)", self.classes.get(kind, "")):
            if name in flags and name not in attributes and not flags[name]["optional"]:
                attributes[name] = flags[name] | {"type": SIMPLE[getter.lower()], "values": None}
        return {"attributes": attributes, "blocks": blocks}


def schemas(wheel, resources, sources):
    """Of each provider: itself, and its resources and data sources among these types."""
    kept = sorted(set(resources) - {kind for others in OTHERS.values() for kind in others})
    sources = [f"data_{kind}" for kind in sorted(sources)]
    found = {}
    for kind, text in read(wheel, ["provider", *kept, *sources]).items():
        bindings = Bindings(*text)
        found[kind] = bindings.block(bindings.outermost) | {"rules": RULES.get(kind, [])}
    google = {
        "provider": found["provider"],
        "resources": {kind: found[kind] for kind in kept},
        "sources": {kind.removeprefix("data_"): found[kind] for kind in sources},
    }
    others = {
        name: {
            "provider": found["provider"] if name == "google-beta" else {"attributes": {}, "blocks": {}},
            "resources": {kind: {"attributes": attributes, "blocks": {}, "rules": []} for kind, attributes in kinds.items()},
            "sources": {},
        }
        for name, kinds in OTHERS.items()
    }
    return {"google": google, **others}

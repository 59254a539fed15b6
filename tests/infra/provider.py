"""A stand-in for the providers that infra/ uses: it has their schemas, checks and plans with them, and reaches nothing.

With it `terraform validate` and `terraform plan` run in full: types, references, conditions of variables, for_each. What
Google's servers would fill in is unknown in a plan, as with the real provider, so that a configuration whose plan
depends on it fails here, too. It cannot apply, and knows nothing of what Google's servers refuse.
"""

import json
import os
import sys

import tf.provider
import tf.runner
from tf.gen import tfplugin_pb2 as pb
from tf.types import Unknown
from tf.utils import read_dynamic_value, to_dynamic_value


def to_block(schema):
    attributes = [
        pb.Schema.Attribute(
            name=name,
            type=json.dumps(it["type"]).encode(),
            required=it["required"],
            optional=it["optional"],
            computed=it["computed"],
        )
        for name, it in schema["attributes"].items()
    ]
    blocks = [
        pb.Schema.NestedBlock(
            type_name=name,
            block=to_block(it["schema"]),
            nesting=getattr(pb.Schema.NestedBlock, it["nesting"]),
            min_items=1 if it["required"] else 0,
            max_items=1 if it["single"] and it["nesting"] != "SINGLE" else 0,
        )
        for name, it in schema["blocks"].items()
    ]
    return pb.Schema.Block(attributes=attributes, block_types=blocks)


def bodies(value):
    """The bodies of a nested block, which is one body, or a list or set of them; none where they are unknown."""
    return [body for body in (value if isinstance(value, list) else [value]) if isinstance(body, dict)]


def complaints(schema, value, place):
    """What the provider's own validation has against a body."""
    for name, it in schema["attributes"].items():
        given = value.get(name)
        if given is None or given is Unknown:
            continue
        if not it["optional"] and not it["required"]:
            yield f"{place}{name} can only be read"
        elif it["values"] and isinstance(given, str) and given not in it["values"]:
            yield f"{place}{name} is {given}: it must be one of {', '.join(it['values'])}"
    for name, it in schema["blocks"].items():
        for body in bodies(value.get(name)):
            yield from complaints(it["schema"], body, f"{place}{name}.")


def broken(rules, value):
    """Rules on which attributes go together that a body breaks."""
    for path, rule, names in rules:
        inside = [value]
        for step in path.split(".") if path else []:
            inside = [body for outer in inside for body in bodies(outer.get(step))]
        for body in inside:
            given = [body[name] for name in names if body.get(name) is not None and body[name] != []]
            count = len(given)
            wrong = {"exactly one": count != 1, "at least one": count == 0, "at most one": count > 1}[rule]
            if wrong and Unknown not in given:
                yield f"{path or 'the resource'} needs {rule} of {', '.join(names)}"


def plan(schema, value):
    """Makes unknown what a configuration leaves to the server."""
    for name, it in schema["attributes"].items():
        if it["computed"] and value.get(name) is None:
            value[name] = Unknown
    for name, it in schema["blocks"].items():
        for body in bodies(value.get(name)):
            plan(it["schema"], body)


def complete(schema, body):
    """A body with all its attributes and blocks."""
    whole = {name: body.get(name) for name in schema["attributes"]}
    for name, it in schema["blocks"].items():
        inner = [complete(it["schema"], one) for one in bodies(body.get(name))]
        whole[name] = next(iter(inner), None) if it["nesting"] == "SINGLE" else inner
    return whole


class Servicer:
    def __init__(self, schemas):
        self.schemas = schemas
        self.project = None

    def GetMetadata(self, request, context):
        return pb.GetMetadata.Response(
            resources=[pb.GetMetadata.ResourceMetadata(type_name=name) for name in self.schemas["resources"]],
            data_sources=[pb.GetMetadata.DataSourceMetadata(type_name=name) for name in self.schemas["sources"]],
        )

    def GetProviderSchema(self, request, context):
        return pb.GetProviderSchema.Response(
            provider=pb.Schema(block=to_block(self.schemas["provider"])),
            resource_schemas={name: pb.Schema(block=to_block(it)) for name, it in self.schemas["resources"].items()},
            data_source_schemas={name: pb.Schema(block=to_block(it)) for name, it in self.schemas["sources"].items()},
        )

    def ValidateProviderConfig(self, request, context):
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        config = read_dynamic_value(request.config)
        schema = self.schemas["resources"][request.type_name]
        wrong = [*complaints(schema, config, ""), *broken(schema["rules"], config)]
        found = [pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=f"{request.type_name}: {it}") for it in wrong]
        return pb.ValidateResourceConfig.Response(diagnostics=found)

    def ValidateDataResourceConfig(self, request, context):
        return pb.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request, context):
        self.project = read_dynamic_value(request.config).get("project")
        return pb.ConfigureProvider.Response()

    def PlanResourceChange(self, request, context):
        planned = read_dynamic_value(request.proposed_new_state)
        schema = self.schemas["resources"][request.type_name]
        # What the provider plans by itself: the default project, and an account's names, which follow from its id.
        if "project" in schema["attributes"] and planned["project"] is None:
            planned["project"] = self.project
        if request.type_name == "google_service_account":
            planned["email"] = f"{planned['account_id']}@{planned['project']}.iam.gserviceaccount.com"
            planned["member"] = f"serviceAccount:{planned['email']}"
        if read_dynamic_value(request.prior_state) is None:
            plan(schema, planned)
        return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(planned), legacy_type_system=True)

    def UpgradeResourceState(self, request, context):
        # Tests write states from plans, without what a plan does not know.
        state = complete(self.schemas["resources"][request.type_name], json.loads(request.raw_state.json))
        return pb.UpgradeResourceState.Response(upgraded_state=to_dynamic_value(state))

    def StopProvider(self, request, context):
        return pb.StopProvider.Response()

    def __getattr__(self, name):
        # Applying, importing and reading: nothing here may ask for them.
        if name.startswith("_"):
            raise AttributeError(name)

        def refuse(request, context):
            raise NotImplementedError(f"this stand-in cannot {name}")

        return refuse


if __name__ == "__main__":
    which, *arguments = sys.argv[1:]
    with open(os.environ["INFRA_SCHEMAS"], encoding="utf-8") as file:
        schemas = json.load(file)[which]
    tf.provider.ProviderServicer = lambda provider: provider
    tf.runner.run_provider(Servicer(schemas), [sys.argv[0], *arguments])

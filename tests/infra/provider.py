"""A stand-in for Terraform's Google provider: it knows the schemas and plans what it is told, and reaches nothing.

With it `terraform validate` and `terraform plan` run in full (types, references, conditions of variables, for_each), without registry, account or
network. It knows nothing of what Google's servers refuse.
"""

import json
import os
import sys

import tf.provider
import tf.runner
from tf.gen import tfplugin_pb2 as pb
from tf.types import Unknown
from tf.utils import read_dynamic_value, to_dynamic_value

PROJECT_NUMBER = "123456789012"


def to_block(schema, described=pb.Schema.Attribute):
    attributes = [
        described(
            name=name,
            type=json.dumps(it["type"]).encode(),
            required=it["required"],
            optional=not it["required"] and not it.get("read_only", False),
            computed=it["computed"] and not it["required"],
        )
        for name, it in schema["attributes"].items()
    ]
    blocks = [
        pb.Schema.NestedBlock(
            type_name=name,
            block=to_block(it["schema"]),
            nesting=pb.Schema.NestedBlock.LIST,
            min_items=1 if it["required"] else 0,
            max_items=1 if it["single"] else 0,
        )
        for name, it in schema["blocks"].items()
    ]
    return pb.Schema.Block(attributes=attributes, block_types=blocks)


def known(kind, planned, project):
    """What the real provider fills in from the name alone, so that plans show who may do what to which."""
    if kind == "google_service_account":
        email = f"{planned['account_id']}@{project}.iam.gserviceaccount.com"
        name = f"projects/{project}/serviceAccounts/{email}"
        return {"email": email, "member": f"serviceAccount:{email}", "name": name, "id": name}
    if kind in ("google_pubsub_topic", "google_pubsub_subscription"):
        return {"id": f"projects/{project}/{kind.removeprefix('google_pubsub_')}s/{planned['name']}"}
    return {}


class Servicer:
    def __init__(self, schemas):
        self.schemas = schemas
        self.project = None

    def GetMetadata(self, request, context):
        return pb.GetMetadata.Response(
            resources=[pb.GetMetadata.ResourceMetadata(type_name=name) for name in self.schemas["resources"]],
            data_sources=[pb.GetMetadata.DataSourceMetadata(type_name="google_project")],
        )

    def GetProviderSchema(self, request, context):
        project = {
            "attributes": {
                "project_id": {"type": "string", "required": False, "computed": True},
                "number": {"type": "string", "required": False, "computed": True, "read_only": True},
                "id": {"type": "string", "required": False, "computed": True, "read_only": True},
            },
            "blocks": {},
        }
        return pb.GetProviderSchema.Response(
            provider=pb.Schema(block=to_block(self.schemas["provider"])),
            resource_schemas={name: pb.Schema(block=to_block(it)) for name, it in self.schemas["resources"].items()},
            data_source_schemas={"google_project": pb.Schema(block=to_block(project))},
        )

    def ValidateProviderConfig(self, request, context):
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request, context):
        config = read_dynamic_value(request.config)
        attributes = self.schemas["resources"][request.type_name]["attributes"]
        set_though = [name for name, it in attributes.items() if it.get("read_only") and config.get(name) is not None]
        wrong = [
            pb.Diagnostic(severity=pb.Diagnostic.ERROR, summary=f"{request.type_name}: {name} can only be read") for name in set_though
        ]
        return pb.ValidateResourceConfig.Response(diagnostics=wrong)

    def ValidateDataResourceConfig(self, request, context):
        return pb.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request, context):
        self.project = read_dynamic_value(request.config)["project"]
        return pb.ConfigureProvider.Response()

    def PlanResourceChange(self, request, context):
        planned = read_dynamic_value(request.proposed_new_state)
        attributes = self.schemas["resources"][request.type_name]["attributes"]
        for name, value in known(request.type_name, planned, self.project).items():
            planned[name] = value
        for name, it in attributes.items():
            if it["computed"] and planned.get(name) is None:
                planned[name] = Unknown
        return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(planned), legacy_type_system=True)

    def ReadDataSource(self, request, context):
        asked = read_dynamic_value(request.config)
        state = {"project_id": asked["project_id"], "number": PROJECT_NUMBER, "id": f"projects/{asked['project_id']}"}
        return pb.ReadDataSource.Response(state=to_dynamic_value(state))

    def StopProvider(self, request, context):
        return pb.StopProvider.Response()

    def __getattr__(self, name):
        # Applying, importing and the like: nothing here may ask for them.
        if name.startswith("_"):
            raise AttributeError(name)

        def refuse(request, context):
            raise NotImplementedError(f"this stand-in cannot {name}")

        return refuse


if __name__ == "__main__":
    with open(os.environ["INFRA_SCHEMAS"], encoding="utf-8") as file:
        schemas = json.load(file)
    tf.provider.ProviderServicer = lambda provider: provider
    tf.runner.run_provider(Servicer(schemas), sys.argv)

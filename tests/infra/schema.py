"""Resource schemas of Terraform's Google provider, read from the typings of @pulumi/gcp.

The provider itself is to be had from Terraform's registry only. Pulumi's package is generated from the same schemas: what can be set, what has
to be, of what type, and what can be read. Two things differ. Names are in camel case, and lists are in the plural there, so a list is known
here by both forms; and a list in Terraform may be a set, which no check here depends on.
"""

import re
from functools import cache
from pathlib import Path

# Where Pulumi keeps what Terraform calls so.
RESOURCES = {
    "google_artifact_registry_repository": ("artifactregistry/repository", "Repository"),
    "google_billing_budget": ("billing/budget", "Budget"),
    "google_cloud_run_v2_service": ("cloudrunv2/service", "Service"),
    "google_cloud_run_v2_service_iam_member": ("cloudrunv2/serviceIamMember", "ServiceIamMember"),
    "google_cloud_run_v2_worker_pool": ("cloudrunv2/workerPool", "WorkerPool"),
    "google_cloud_run_v2_worker_pool_iam_member": ("cloudrunv2/workerPoolIamMember", "WorkerPoolIamMember"),
    "google_firebaserules_release": ("firebaserules/release", "Release"),
    "google_firebaserules_ruleset": ("firebaserules/ruleset", "Ruleset"),
    "google_firestore_database": ("firestore/database", "Database"),
    "google_firestore_field": ("firestore/field", "Field"),
    "google_firestore_index": ("firestore/index_", "Index"),
    "google_logging_metric": ("logging/metric", "Metric"),
    "google_monitoring_alert_policy": ("monitoring/alertPolicy", "AlertPolicy"),
    "google_monitoring_dashboard": ("monitoring/dashboard", "Dashboard"),
    "google_monitoring_notification_channel": ("monitoring/notificationChannel", "NotificationChannel"),
    "google_project_iam_member": ("projects/iammember", "IAMMember"),
    "google_project_service": ("projects/service", "Service"),
    "google_pubsub_subscription": ("pubsub/subscription", "Subscription"),
    "google_pubsub_subscription_iam_member": ("pubsub/subscriptionIAMMember", "SubscriptionIAMMember"),
    "google_pubsub_topic": ("pubsub/topic", "Topic"),
    "google_pubsub_topic_iam_member": ("pubsub/topicIAMMember", "TopicIAMMember"),
    "google_service_account": ("serviceaccount/account", "Account"),
    "google_service_account_iam_member": ("serviceaccount/iammember", "IAMMember"),
    "google_storage_bucket": ("storage/bucket", "Bucket"),
    "google_storage_bucket_iam_member": ("storage/bucketIAMMember", "BucketIAMMember"),
}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def singular(name):
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") else name


def without_comments(text):
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


@cache
def nested_types(package):
    """Every nested input type: {'cloudrunv2.WorkerPoolTemplate': its body}."""
    text = without_comments((Path(package) / "types/input.d.ts").read_text())
    found = {name: body for name, body in re.findall(r"^export interface (\w+) \{\n(.*?)^\}", text, re.S | re.M)}
    for namespace in re.finditer(r"^export declare namespace (\w+) \{\n(.*?)^\}", text, re.S | re.M):
        for nested in re.finditer(r"^    interface (\w+) \{\n(.*?)^    \}", namespace[2], re.S | re.M):
            found[f"{namespace[1]}.{nested[1]}"] = nested[2]
        # Namespaces lie in namespaces where an API has versions.
        for inner in re.finditer(r"^    namespace (\w+) \{\n(.*?)^    \}", namespace[2], re.S | re.M):
            for nested in re.finditer(r"^        interface (\w+) \{\n(.*?)^        \}", inner[2], re.S | re.M):
                found[f"{namespace[1]}.{inner[1]}.{nested[1]}"] = nested[2]
    return found


def properties(body):
    """(name, whether it has to be set, type without Pulumi's wrappings) of each property."""
    for name, optional, kind in re.findall(r"^\s*(?:readonly )?(\w+)(\?)?: ((?:[^;{]|\{[^}]*\})*);", body, re.M):
        kind = re.sub(r"pulumi\.(Input|Output)<|>|\| undefined|\s", "", kind)
        yield name, not optional, kind


def attribute_type(kind):
    simple = {"string": "string", "number": "number", "boolean": "bool"}
    if kind in simple:
        return simple[kind]
    if kind.endswith("[]") and kind[:-2] in simple:
        return ["list", simple[kind[:-2]]]
    mapped = re.fullmatch(r"\{\[key:string\]:(\w+);?\}", kind)
    if mapped:
        return ["map", simple.get(mapped[1], "string")]
    return None


def block(package, body, computed=()):
    """A schema: attributes {name: {type, required, computed}} and blocks {name: {schema, single, required}}."""
    attributes, blocks = {}, {}
    for camel, required, kind in properties(body):
        name = snake(camel)
        nested = re.fullmatch(r"inputs\.([\w.]+?)(\[\])?", kind)
        many = kind.endswith("[]")
        names = {name, singular(name)} if many else {name}
        # In one of two forms: neither can be demanded.
        required = required and not many
        for name in names:
            if nested:
                inner = block(package, nested_types(package)[nested[1]])
                blocks[name] = {"schema": inner, "single": not many, "required": required}
            else:
                # What is no simple type is a union that includes text.
                kind_here = attribute_type(kind) or "string"
                attributes[name] = {"type": kind_here, "required": required, "computed": name in computed}
    return {"attributes": attributes, "blocks": blocks}


def resource(package, path, name):
    text = without_comments((Path(package) / f"{path}.d.ts").read_text())
    arguments = re.search(rf"^export interface {name}Args \{{\n(.*?)^\}}", text, re.S | re.M)[1]
    outputs = re.search(rf"^export declare class {name} .*?\{{\n(.*?)^\}}", text, re.S | re.M)[1]
    outputs = [line for line in re.findall(r"^    readonly .*?;$", outputs, re.M | re.S) if "urn" not in line]
    settable = {name for name, _, _ in properties(arguments)}
    readable = list(properties("\n".join(outputs)))
    schema = block(package, arguments, {snake(name) for name, _, _ in readable})
    for camel, _, kind in readable:
        # What only the provider fills in: simple values are enough, nothing here reads others.
        if camel not in settable and attribute_type(kind):
            schema["attributes"][snake(camel)] = {"type": attribute_type(kind), "required": False, "computed": True, "read_only": True}
    schema["attributes"]["id"] = {"type": "string", "required": False, "computed": True, "read_only": True}
    return schema


def resources(package):
    return {kind: resource(package, path, name) for kind, (path, name) in RESOURCES.items()}


def provider(package):
    text = without_comments((Path(package) / "provider.d.ts").read_text())
    return block(package, re.search(r"^export interface ProviderArgs \{\n(.*?)^\}", text, re.S | re.M)[1])

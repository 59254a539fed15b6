"""The fields of Google's messages that deploy/ reads and writes, in the JSON form of the APIs.

The stand-in takes and gives nothing else. test_google_fields.py compares this list with the Cloud SDK's own
definitions, where an SDK is installed.
"""

# {message: {field: message of its values, or None}}
RUN = {
    "WorkerPool": {
        "annotations": None, "conditions": "Condition", "etag": None, "generation": None, "instanceSplitStatuses":
        "InstanceSplitStatus", "instanceSplits": "InstanceSplit", "labels": None, "latestCreatedRevision": None,
        "latestReadyRevision": None, "name": None, "observedGeneration": None, "reconciling": None,
        "scaling": "WorkerPoolScaling", "template": "WorkerPoolRevisionTemplate", "terminalCondition": "Condition",
        "uid": None,
    },
    "WorkerPoolScaling": {"manualInstanceCount": None},
    "WorkerPoolRevisionTemplate": {
        "annotations": None, "containers": "Container", "gpuZonalRedundancyDisabled": None, "labels": None,
        "nodeSelector": "NodeSelector", "revision": None, "serviceAccount": None,
    },
    "InstanceSplit": {"percent": None, "revision": None, "type": None},
    "InstanceSplitStatus": {"percent": None, "revision": None, "type": None},
    "Service": {
        "annotations": None, "etag": None, "generation": None, "latestCreatedRevision": None,
        "latestReadyRevision": None, "name": None, "observedGeneration": None, "reconciling": None,
        "template": "RevisionTemplate", "terminalCondition": "Condition", "traffic": "TrafficTarget",
        "trafficStatuses": "TrafficTargetStatus", "uid": None,
    },
    "RevisionTemplate": {
        "containers": "Container", "revision": None, "scaling": "RevisionScaling", "serviceAccount": None,
        "timeout": None,
    },
    "RevisionScaling": {"maxInstanceCount": None, "minInstanceCount": None},
    "TrafficTarget": {"percent": None, "revision": None, "type": None},
    "TrafficTargetStatus": {"percent": None, "revision": None, "type": None},
    "Revision": {
        "annotations": None, "conditions": "Condition", "containers": "Container", "createTime": None, "creator": None,
        "deleteTime": None, "etag": None, "expireTime": None, "generation": None, "gpuZonalRedundancyDisabled": None,
        "labels": None, "logUri": None, "name": None, "nodeSelector": "NodeSelector", "observedGeneration": None,
        "reconciling": None, "satisfiesPzs": None, "scaling": "RevisionScaling", "scalingStatus": None, "service": None,
        "serviceAccount": None, "timeout": None, "uid": None, "updateTime": None,
    },
    "Container": {"args": None, "env": "EnvVar", "image": None, "name": None, "resources": "ResourceRequirements"},
    "EnvVar": {"name": None, "value": None},
    "ResourceRequirements": {"cpuIdle": None, "limits": None},
    "NodeSelector": {"accelerator": None},
    "Condition": {"message": None, "reason": None, "revisionReason": None, "state": None, "type": None},
}

# Later than some SDK that is still in use: version 528 does not have them, the API's reference and Terraform's provider
# have. They are here since a release must keep what it does not know.
NEWER = {("WorkerPoolRevisionTemplate", "gpuZonalRedundancyDisabled")}

# What only the platform sets.
OUTPUT_ONLY = {
    "conditions", "generation", "instanceSplitStatuses", "latestCreatedRevision", "latestReadyRevision",
    "observedGeneration", "reconciling", "terminalCondition", "trafficStatuses", "uid",
}

SPLIT_TYPES = {"INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION"}
TRAFFIC_TYPES = {"TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"}

# {(message, field): values}
ENUMS = {
    ("InstanceSplit", "type"): SPLIT_TYPES,
    ("InstanceSplitStatus", "type"): SPLIT_TYPES,
    ("TrafficTarget", "type"): TRAFFIC_TYPES,
    ("TrafficTargetStatus", "type"): TRAFFIC_TYPES,
    ("Condition", "state"): {"CONDITION_SUCCEEDED", "CONDITION_FAILED", "CONDITION_RECONCILING"},
}

OPERATION = {"done", "error", "metadata", "name", "response"}
# Parameters of a PATCH. Only that of a pool can force a revision.
PATCH_SERVICE = {"updateMask", "allowMissing", "validateOnly"}
PATCH_POOL = PATCH_SERVICE | {"forceNewRevision"}
LIST_ENTRIES = {"filter", "orderBy", "pageSize", "pageToken", "resourceNames"}
LISTED_ENTRIES = {"entries", "nextPageToken"}
LOG_ENTRY = {"insertId", "jsonPayload", "resource", "timestamp"}
TAG = {"name", "version"}
BUCKET = {"iamConfiguration", "location", "name", "versioning"}


def check(message, value):
    """Fails unless a value has the form of a message of Cloud Run."""
    for field, part in value.items():
        if field not in RUN[message]:
            raise ValueError(f"{message} has no field {field}")
        allowed = ENUMS.get((message, field))
        if allowed and part not in allowed:
            raise ValueError(f"{message}.{field} has no value {part}")
        kind = RUN[message][field]
        for one in (part if isinstance(part, list) else [part]) if kind else ():
            check(kind, one)

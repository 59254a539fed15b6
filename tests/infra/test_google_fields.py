"""The field names that deploy/ and its stand-in use, against the Cloud SDK's definitions of the same messages."""

import json
import os
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import google_fields

# Runs apart, since the SDK brings its own packages named `google`. Prints {message: {field: type or [enum values]}}.
READER = """
import json, sys
lib, wanted = sys.argv[1], json.loads(sys.argv[2])
sys.path[:0] = [lib, lib + "/third_party"]
import importlib
found = {}
for module, names in wanted.items():
    messages = importlib.import_module("googlecloudsdk.generated_clients.apis." + module)
    for name in names:
        fields = {}
        for field in getattr(messages, name).all_fields():
            kind = type(field).__name__
            fields[field.name] = (field.type.__name__ if kind == "MessageField"
                                  else list(field.type.names()) if kind == "EnumField" else None)
        found[name] = fields
print(json.dumps(found))
"""

RUN = "run.v2.run_v2_messages"
PREFIX = "GoogleCloudRunV2"


def sdk():
    """The folder of the SDK's Python modules, or None."""
    gcloud = shutil.which("gcloud")
    installed = gcloud and Path(gcloud).resolve().parents[1]
    places = [os.environ.get("CLOUDSDK_ROOT_DIR"), installed, "/usr/lib/google-cloud-sdk"]
    for place in filter(None, places):
        lib = Path(place) / "lib"
        if (lib / "googlecloudsdk/generated_clients/apis/run/v2").is_dir():
            return lib
    return None


class GoogleFields(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lib = sdk()
        if lib is None:
            raise unittest.SkipTest("no Google Cloud SDK is installed, whose definitions these names are compared with")
        wanted = {
            RUN: [PREFIX + name for name in google_fields.RUN] + [
                "GoogleLongrunningOperation", "RunProjectsLocationsWorkerPoolsPatchRequest",
                "RunProjectsLocationsServicesPatchRequest",
            ],
            "logging.v2.logging_v2_messages": ["ListLogEntriesRequest", "ListLogEntriesResponse", "LogEntry"],
            "artifactregistry.v1.artifactregistry_v1_messages": ["Tag"],
            "storage.v1.storage_v1_messages": ["Bucket"],
        }
        command = [sys.executable, "-c", READER, str(lib), json.dumps(wanted)]
        told = subprocess.run(command, capture_output=True, text=True)
        if told.returncode:
            raise AssertionError(told.stderr)
        cls.found = json.loads(told.stdout)

    def test_messages_of_cloud_run(self):
        for message, fields in google_fields.RUN.items():
            known = self.found[PREFIX + message]
            for field, kind in fields.items():
                with self.subTest(message=message, field=field):
                    if (message, field) in google_fields.NEWER and field not in known:
                        continue
                    self.assertIn(field, known)
                    if kind:
                        self.assertEqual(known[field], PREFIX + kind)

    def test_values_of_enums(self):
        for (message, field), values in google_fields.ENUMS.items():
            self.assertLessEqual(values, set(self.found[PREFIX + message][field]), (message, field))

    def test_other_messages(self):
        for message, fields in (
            ("GoogleLongrunningOperation", google_fields.OPERATION),
            ("RunProjectsLocationsWorkerPoolsPatchRequest", google_fields.PATCH_POOL),
            ("RunProjectsLocationsServicesPatchRequest", google_fields.PATCH_SERVICE),
            ("ListLogEntriesRequest", google_fields.LIST_ENTRIES),
            ("ListLogEntriesResponse", google_fields.LISTED_ENTRIES),
            ("LogEntry", google_fields.LOG_ENTRY),
            ("Tag", google_fields.TAG),
            ("Bucket", google_fields.BUCKET),
        ):
            self.assertLessEqual(fields, set(self.found[message]), message)

    def test_a_wrong_name_is_found(self):
        self.assertNotIn("instanceSplitStatus", self.found[PREFIX + "WorkerPool"])
        with self.assertRaises(ValueError):
            google_fields.check("WorkerPool", {"instanceSplits": [{"revisionName": "r1"}]})

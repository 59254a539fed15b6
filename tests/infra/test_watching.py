"""What infra/ watches: metrics, alerts, objectives and the dashboard, against what the programs log, what Google offers and
the runbook."""

import json
import os
import re
import subprocess
import unittest

import fleet
from fleet import PROJECT, sources
from google.cloud.monitoring_dashboard_v1 import Dashboard
from log_filter import matches
from terraform import ROOT, resources

PROGRAM = os.environ["CLIPFLEET"]


def setUpModule():
    global planned, unscaled
    planned, unscaled = fleet.planned(), fleet.unscaled()


def thresholds(alert):
    """The conditions of an alert."""
    return [it["condition_threshold"][0] for it in alert["conditions"]]


# What is counted by something else than the message of an event: an entry that is, and one that is not.
OTHER_ENTRIES = {
    # As Google's documentation shows it.
    "instances_out_of_memory": ("Memory limit of 512 MiB exceeded with 515 MiB used.", "Memory limit raised"),
    "containers_exited": ("Container called exit(1).", "Container called exit(0)."),
}


class Watching(unittest.TestCase):
    def test_counted_log_lines_are_written(self):
        text = sources("worker", "dispatcher", "status", "scaler")
        events = re.findall(r"tracing::\w+!\((.*?)\);|tracing::\w+!\((.*?)\)[,\s}]", text, re.S)
        events = [re.sub(r"\s+", " ", one or other) for one, other in events]
        counted = {it["name"].removeprefix("clipfleet/"): it for it in resources(planned, "google_logging_metric").values()}
        # Rebuilds are logged by Cloud Build and Cloud Scheduler; test_infra.py has them.
        others = {"urls_not_signed", "rebuilds_failed_build", "rebuilds_failed_start"}
        for name in set(counted) - set(OTHER_ENTRIES) - others:
            metric = counted[name]
            messages = re.findall(r'jsonPayload\.message(?:=|=~)"\^?([^"]+)"', metric["filter"])
            self.assertTrue(messages, name)
            # Every field has to be in every event that the filter means.
            fields = set(re.findall(r"jsonPayload\.(\w+)", metric["filter"] + str(metric["label_extractors"]) + str(metric.get("value_extractor"))))
            fields.discard("message")
            for message in messages:
                matching = [event for event in events if f'"{message}' in event]
                self.assertTrue(matching, f"{name}: no role logs {message!r}")
                for field in fields:
                    said = [event for event in matching if re.search(rf"\b{field} =|%{field}\b|(^|, ){field}, ", event)]
                    self.assertTrue(said, f"{name}: {message!r} has no field {field}")

    def test_what_cloud_run_itself_logs_is_counted(self):
        metrics = {it["name"].removeprefix("clipfleet/"): it.get("filter") for it in resources(planned, "google_logging_metric").values()}
        kinds = [
            {"type": "cloud_run_worker_pool", "labels": {"worker_pool_name": "clipfleet-worker-gpu"}},
            {"type": "cloud_run_revision", "labels": {"service_name": "clipfleet-status"}},
            {"type": "cloud_run_revision", "labels": {"service_name": "clipfleet-control"}},
        ]
        for name, texts in OTHER_ENTRIES.items():
            for kind in kinds:
                found = [matches(metrics[name], {"resource": kind, "textPayload": text}) for text in texts]
                self.assertEqual(found, [True, False], f"{name}: {kind['type']}")
            other = {"type": "cloud_run_revision", "labels": {"service_name": "web"}}
            self.assertFalse(matches(metrics[name], {"resource": other, "textPayload": texts[0]}))

    def test_a_url_that_cannot_be_signed_is_counted(self):
        text = "sign a url for "
        self.assertIn(f'format!("{text}', sources("cloud"))
        self.assertRegex(sources("dispatcher"), r'%error, "request failed"', "the line of a request that failed")
        counted = resources(planned, "google_logging_metric")["urls_not_signed"]["filter"]
        services = [{"type": "cloud_run_revision", "labels": {"service_name": f"clipfleet-{name}"}} for name in ("control", "dispatcher")]
        for message, error, expected in [
            ("request failed", f"{text}b/o: denied", True),
            ("request failed", "read b/o: unavailable", False),
            ("batch dispatched", f"{text}b/o", False),
        ]:
            for service in services:
                with self.subTest(message=message, error=error):
                    self.assertEqual(matches(counted, {"resource": service, "jsonPayload": {"message": message, "error": error}}), expected)

    def test_codes_that_count_as_ours_are_the_runbooks(self):
        runbook = (ROOT / "deploy/runbook.md").read_text()
        section = runbook.split("### The fleet")[1].split("\n## ")[0]
        ours = set(re.findall(r"^\| `(\w+)`", section, re.M))
        counted = resources(planned, "google_logging_metric")["clips_failed_by_fleet"]["filter"]
        counted = set(re.search(r"code=~\"\^\(([\w|]+)\)", counted)[1].split("|"))
        # Codes that a worker's "clip failed" never has, and those about sources that are rights or storage.
        other = {"unavailable", "document_refused", "output_refused", "output_conflict"}
        self.assertEqual(counted, (ours - other) | {"source_denied", "source_unavailable"})

    def test_every_alert_says_what_to_do(self):
        runbook = (ROOT / "deploy/runbook.md").read_text()
        headings = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")): heading for heading in re.findall(r"^#+ (.+)$", runbook, re.M)}
        alerts = resources(planned, "google_monitoring_alert_policy")
        self.assertGreaterEqual(len(alerts), 25)
        for name, alert in alerts.items():
            documentation = alert["documentation"][0]
            anchor = documentation["links"][0]["url"].split("#")[1]
            self.assertIn(anchor, headings, "the runbook has no such section")
            self.assertIn(documentation["links"][0]["url"], documentation["content"])
            self.assertEqual(f"Clipfleet: {headings[anchor]}", alert["display_name"].removesuffix(" (slow burn)"))
        linked = {it["documentation"][0]["links"][0]["url"].split("#")[1] for it in alerts.values()}
        section = runbook.split("\n## Alerts\n")[1].split("\n## ")[0]
        described = {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in re.findall(r"^### (.+)$", section, re.M)}
        self.assertEqual(described, linked)

    def sections(self):
        """The runbook's section of each alert, by its anchor."""
        text = (ROOT / "deploy/runbook.md").read_text().split("\n## Alerts\n")[1]
        found = re.findall(r"^### (.+?)\n\n(.*?)(?=\n### |\Z)", text, re.S | re.M)
        return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")): body for title, body in found}

    def test_every_section_of_the_runbook_is_complete(self):
        tiles = {tile["widget"]["title"] for tile in json.loads(resources(planned, "google_monitoring_dashboard")["this"]["dashboard_json"])["mosaicLayout"]["tiles"]}
        sections = self.sections()
        for alert in resources(planned, "google_monitoring_alert_policy").values():
            anchor = alert["documentation"][0]["links"][0]["url"].split("#")[1]
            with self.subTest(anchor):
                first, *rest = sections[anchor].split("\n\n")
                line = re.fullmatch(r'([A-Z]+)( \(slow burn: WARNING\))? · chart "(.+)" · time box (.+)', first.replace("\n", " "))
                self.assertTrue(line, first)
                if not alert["display_name"].endswith("(slow burn)"):
                    self.assertEqual(line[1], alert["severity"])
                self.assertIn(line[3], tiles)
                self.assertEqual(re.findall(r"^\*\*([\w ]+)\.\*\*", "\n".join(rest), re.M), ["Meaning", "Impact", "First", "Expected", "Stop the damage", "Fix", "Tell"])

    def test_first_commands_run_as_they_stand(self):
        """With stand-ins of the programs, which tell how they were called."""
        text = (ROOT / "deploy/runbook.md").read_text()
        setup = re.search(r"```bash\n(export PROJECT=.*?)```", text, re.S)[1]
        setup = setup.replace("PROJECT=PROJECT", "PROJECT=p-1").replace("REGION=REGION", "REGION=r-1")
        stand_ins = 'gcloud() { echo "gcloud $*"; }; clipfleet() { echo "clipfleet $*"; }\n'
        for anchor, section in self.sections().items():
            commands = re.search(r"```bash\n(.*?)```", section, re.S)[1].replace("deploy/deploy.sh", "echo deploy.sh")
            with self.subTest(anchor):
                told = subprocess.run(["bash", "-euc", stand_ins + setup + commands], capture_output=True, text=True)
                self.assertEqual((told.returncode, told.stderr), (0, ""))
                calls = told.stdout.splitlines()
                self.assertTrue(calls)
                for call in calls:
                    if call.startswith("gcloud"):
                        self.assertIn("--project=p-1", call)
                    if call.startswith("gcloud run"):
                        self.assertIn("--region=r-1", call)
                    if call.startswith("clipfleet"):
                        words = [word for word in call.split()[1:] if not word.startswith("-") and word != "p-1"]
                        known = subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True)
                        self.assertEqual(known.returncode, 0, call)
                    # What a line is searched by is what a role writes.
                    for message in re.findall(r'jsonPayload\.message=~?"\^?([^"]+)"', call):
                        self.assertTrue(message in sources("worker", "dispatcher", "status", "scaler", "cloud"), message)

    def test_logs_of_a_role_are_found_in_both_layouts(self):
        text = (ROOT / "deploy/runbook.md").read_text()
        setup = re.search(r"```bash\n(export PROJECT=.*?)```", text, re.S)[1]
        own = {"dispatcher": "clipfleet-dispatcher", "status": "clipfleet-status", "scaler": "clipfleet-scaler"}
        services = {*own.values(), "clipfleet-control", "web"}
        expected = {role: {name, "clipfleet-control"} for role, name in own.items()}
        expected |= {"dispatcher|status|scaler": services - {"web"}, "worker": {"clipfleet-worker-cpu", "clipfleet-worker-gpu"}}
        used = set(re.findall(r"^logs ('[^']+'|\S+) ", text, re.M))
        self.assertEqual({role.strip("'") for role in used}, set(expected))
        for role, names in expected.items():
            command = "gcloud() { echo \"$3\"; }\n" + setup + f"logs '{role}' 'jsonPayload.message=\"x\"'"
            told = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True).stdout
            resources = [{"type": "cloud_run_revision", "labels": {"service_name": name}} for name in services]
            resources += [{"type": "cloud_run_worker_pool", "labels": {"worker_pool_name": f"clipfleet-worker-{name}"}} for name in ("cpu", "gpu")]
            found = [it for it in resources if matches(told, {"resource": it, "jsonPayload": {"message": "x"}})]
            self.assertEqual({name for it in found for name in it["labels"].values()}, names, role)
            self.assertFalse(any(matches(told, {"resource": it, "jsonPayload": {"message": "y"}}) for it in resources))

    def monitoring_filters(self):
        """Of alerts and of the dashboard's tiles."""
        conditions = [condition for it in resources(planned, "google_monitoring_alert_policy").values() for condition in thresholds(it)]
        filters = [text for it in conditions for text in [it["filter"], it["denominator_filter"]] if text]
        dashboard = json.loads(resources(planned, "google_monitoring_dashboard")["this"]["dashboard_json"])
        sets = [it for tile in dashboard["mosaicLayout"]["tiles"] for it in tile["widget"]["xyChart"]["dataSets"]]
        return filters + [it["timeSeriesQuery"]["timeSeriesFilter"]["filter"] for it in sets]

    def test_filters_of_metrics_have_the_operators_of_cloud_monitoring(self):
        """It knows functions, such as starts_with, where Cloud Logging has =~ and !~."""
        value = r'("[^"]*"|(starts_with|one_of)\("[^"]*"(, "[^"]*")*\))'
        comparison = rf"(resource|metric)\.(type|labels\.\w+)(=|!=){value}"
        for text in self.monitoring_filters():
            if not text.startswith("select_slo_burn_rate("):
                self.assertRegex(text, rf"^{comparison}( AND {comparison})*$")

    def test_requests_are_watched_whichever_service_answers_them(self):
        answering = [text for text in self.monitoring_filters() if "run.googleapis.com/request_" in text]
        self.assertGreaterEqual(len(answering), 5)
        for text in answering:
            self.assertIn('resource.labels.service_name=one_of("clipfleet-control", "clipfleet-dispatcher")', text)
        others = [text for text in self.monitoring_filters() if "cloud_run_revision" in text and text not in answering]
        self.assertTrue(others)
        for text in others:
            self.assertNotIn("service_name", text, "what a role logs is counted wherever it runs")

    def test_alerts_and_tiles_watch_what_there_is(self):
        subscriptions = set(resources(planned, "google_pubsub_subscription"))
        metrics = {f"logging.googleapis.com/user/{it['name']}" for it in resources(planned, "google_logging_metric").values()}
        pools = {it["name"] for it in resources(planned, "google_cloud_run_v2_worker_pool").values()}
        conditions = [condition for it in resources(planned, "google_monitoring_alert_policy").values() for condition in thresholds(it)]
        watched = [text for it in conditions for text in [it["filter"], it["denominator_filter"]] if text]
        watched.append(resources(planned, "google_monitoring_dashboard")["this"]["dashboard_json"].replace('\\"', '"'))
        watched = "\n".join(watched)
        self.assertLessEqual(set(re.findall(r'subscription_id="([^"]+)"', watched)), subscriptions)
        self.assertLessEqual(set(re.findall(r'"(logging\.googleapis\.com/user/[^"]+)"', watched)), metrics)
        self.assertLessEqual(set(re.findall(r'worker_pool_name="([^"]+)"', watched)), pools)
        objectives = {f"projects/{PROJECT}/services/{it['service']}/serviceLevelObjectives/{it['slo_id']}" for it in resources(planned, "google_monitoring_slo").values()}
        self.assertEqual(set(re.findall(r'select_slo_burn_rate\("([^"]+)"', watched)), objectives)

    # What Google's table lists for worker pools (run/docs/monitoring), of what is used here. GPU utilization is not among it.
    OF_POOLS = {
        "container/billable_instance_time", "container/cpu/utilizations", "container/memory/utilizations", "container/startup_latencies",
        "container/gpu/memory_usages", "container/gpu/memory_utilizations", "container/instance_count",
    }

    def test_worker_pools_have_the_metrics_that_are_watched(self):
        texts = [resources(planned, "google_monitoring_dashboard")["this"]["dashboard_json"].replace('\\"', '"')]
        texts += [it["filter"] for alert in resources(planned, "google_monitoring_alert_policy").values() for it in thresholds(alert)]
        watched = set()
        for text in texts:
            for part in re.split(r'"filter":', text):
                if "cloud_run_worker_pool" in part:
                    watched |= set(re.findall(r"run\.googleapis\.com/([\w/]+)", part))
        self.assertTrue(watched)
        self.assertLessEqual(watched, self.OF_POOLS)

    def test_a_share_of_few_is_no_alert(self):
        shares = 0
        for name, alert in resources(planned, "google_monitoring_alert_policy").items():
            conditions = thresholds(alert)
            # Builds are counted, and have no share.
            self.assertEqual(alert["combiner"], "OR" if name == "rebuilds-fail" else "AND", name)
            for share in [it for it in conditions if it["denominator_filter"]]:
                shares += 1
                window = share["aggregations"][0]["alignment_period"]
                least = [it for it in conditions if it["filter"] == share["denominator_filter"] and it["threshold_value"] >= 20]
                self.assertEqual([it["aggregations"][0]["alignment_period"] for it in least], [window], name)
        self.assertGreaterEqual(shares, 3)

    def test_objectives_burn_in_two_windows(self):
        """1 h and 5 min at 14.4 pages, 6 h and 30 min at 6 warns; of few clips, neither."""
        alerts = resources(planned, "google_monitoring_alert_policy")
        goals = {name: it["goal"] for name, it in resources(planned, "google_monitoring_slo").items()}
        self.assertEqual(goals, {"clips-end-late": 0.99, "clips-do-not-end": 0.999, "status-is-delayed": 0.99})
        for name, it in resources(planned, "google_monitoring_slo").items():
            for pace, windows, rate, severity in [("fast", (3600, 300), 14.4, "CRITICAL"), ("slow", (21600, 1800), 6, "WARNING")]:
                with self.subTest(name, pace=pace):
                    alert = alerts[f"{name}-{pace}"]
                    self.assertEqual(alert["severity"], severity)
                    burns = [condition for condition in thresholds(alert) if "burn_rate" in condition["filter"]]
                    self.assertEqual([int(re.search(r'"(\d+)s"\)', burn["filter"])[1]) for burn in burns], list(windows))
                    self.assertEqual({burn["threshold_value"] for burn in burns}, {rate})
                    self.assertEqual([burn["aggregations"] for burn in burns], [[], []], "a burn rate is not aggregated")
                    volumes = [condition for condition in thresholds(alert) if condition not in burns]
                    if it["request_based_sli"]:
                        self.assertEqual([(volume["threshold_value"], volume["aggregations"][0]["alignment_period"]) for volume in volumes], [(20, f"{windows[0]}s")])

    def test_objectives_are_counted_from_what_there_is(self):
        metrics = {f"logging.googleapis.com/user/{it['name']}": it["metric_descriptor"][0] for it in resources(planned, "google_logging_metric").values()}
        for name, it in resources(planned, "google_monitoring_slo").items():
            for sli in it["request_based_sli"]:
                filters = [text for text in sli["good_total_ratio"][0].values() if isinstance(text, str)]
                self.assertEqual(len(filters), 2, name)
                for text in filters:
                    metric = re.search(r'metric\.type="([^"]+)"', text)[1]
                    # What a ratio accepts; Pub/Sub's is of this kind by its documentation.
                    if metric in metrics:
                        self.assertEqual((metrics[metric]["metric_kind"], metrics[metric]["value_type"]), ("DELTA", "INT64"))
                    else:
                        self.assertEqual(metric, "pubsub.googleapis.com/subscription/dead_letter_message_count")
            for sli in it["windows_based_sli"]:
                self.assertIn("oldest_unacked_message_age", sli["metric_mean_in_range"][0]["time_series"])

    def test_what_the_review_missed_is_watched(self):
        alerts = set(resources(planned, "google_monitoring_alert_policy"))
        missed = {
            "pool-sizes-are-refused", "pool-sizes-are-not-set", "documents-are-not-written", "requests-fail", "requests-are-slow", "workers-exit",
            "services-exit", "workers-run-out-of-memory", "services-run-out-of-memory", "urls-are-not-signed", "workers-are-idle", "leases-expire", "dead-letters-stay",
        }
        self.assertLessEqual(missed, alerts)
        without = set(resources(unscaled, "google_monitoring_alert_policy"))
        self.assertEqual(alerts - without, {"scaling-stopped", "pool-sizes-are-refused", "pool-sizes-are-not-set", "rebuilds-fail"})

    def test_the_dashboard_is_one(self):
        text = resources(planned, "google_monitoring_dashboard")["this"]["dashboard_json"]
        dashboard = Dashboard.from_json(text, ignore_unknown_fields=False)
        tiles = dashboard.mosaic_layout.tiles
        self.assertGreaterEqual(len(tiles), 11)
        places = [(tile.x_pos, tile.y_pos) for tile in tiles]
        self.assertEqual(len(set(places)), len(places), "tiles lie on one another")
        self.assertTrue(all(tile.x_pos + tile.width <= dashboard.mosaic_layout.columns for tile in tiles))

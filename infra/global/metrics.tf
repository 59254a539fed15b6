# Metrics counted from log lines. The roles also serve /metrics for Prometheus, but Cloud Run scrapes no worker pool by
# itself. A line that is logged once per clip is exact, needs no sidecar container next to a GPU, and outlives the
# instance. tests/infra checks that the programs log every message and field that is named here.
#
# Cloud Run's own lines have no JSON: their text is textPayload. Their wording was taken from Google's troubleshooting
# pages, and is unproven for worker pools.
#
# In a filter, OR binds tighter than AND.

locals {
  from_workers = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=~\"^clipfleet-worker-\""
  from_roles   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^clipfleet-\""

  # The codes of the runbook's section "The fleet", and those about permissions and storage. Failures that a request or
  # a source causes are left out: they would hide the fleet's own failures.
  fleet_codes = [
    "audio_mismatch", "dead_lettered", "encode_black", "encode_failed", "encode_frozen", "encode_mismatch",
    "encode_slip", "encoder_unavailable", "internal", "output_denied", "output_unavailable", "pipeline_crashed",
    "pipeline_not_started", "pipeline_overdue", "pipeline_protocol", "pipeline_stalled", "reframe_mismatch",
    "reframe_slip", "scratch_full", "scratch_unavailable", "source_denied", "source_unavailable", "verify_failed",
    "worker_lost",
  ]

  counted = {
    clips_ended = {
      description = "Clips that completed or failed"
      filter      = "${local.from_workers} AND (jsonPayload.message=\"clip completed\" OR jsonPayload.message=~\"^clip failed: \")"
      labels      = {}
    }
    clips_in_time = {
      description = "Clips that ended within a minute and their own length of their acceptance"
      filter      = "${local.from_workers} AND (jsonPayload.message=\"clip completed\" OR jsonPayload.message=~\"^clip failed: \") AND jsonPayload.on_time=true"
      labels      = {}
    }
    clips_failed = {
      description = "Clips that failed, by code"
      filter      = "${local.from_workers} AND jsonPayload.message=~\"^clip failed: \""
      labels      = { code = "jsonPayload.code" }
    }
    clips_failed_by_fleet = {
      description = "Clips that failed by a fault of the fleet, by code"
      filter      = "${local.from_workers} AND jsonPayload.message=~\"^clip failed: \" AND jsonPayload.code=~\"^(${join("|", local.fleet_codes)})$\""
      labels      = { code = "jsonPayload.code" }
    }
    clips_encoded = {
      description = "Clips that were encoded, by encoder; results that already existed do not count"
      filter      = "${local.from_workers} AND jsonPayload.message=\"clip completed\" AND jsonPayload.reused=false"
      labels      = { encoder = "jsonPayload.encoder" }
    }
    clips_encoded_without_gpu = {
      description = "Clips that instances with a GPU encoded without it, by encoder"
      filter      = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"clipfleet-worker-gpu\" AND jsonPayload.message=\"clip completed\" AND jsonPayload.reused=false AND jsonPayload.encoder!~\"^nv\""
      labels      = { encoder = "jsonPayload.encoder" }
    }
    attempts_requeued = {
      description = "Attempts that failed and were requeued, by code"
      filter      = "${local.from_workers} AND jsonPayload.message=~\"^attempt requeued: \" AND jsonPayload.code=~\".+\""
      labels      = { code = "jsonPayload.code" }
    }
    worker_cooldowns = {
      description = "Cooldowns that workers entered because their instance failed clips, by code"
      filter      = "${local.from_workers} AND jsonPayload.message=\"entering cooldown after a local failure\""
      labels      = { code = "jsonPayload.code" }
    }
    batches_stuck = {
      description = "Batches whose jobs were published again because no event arrived for their clips"
      filter      = "${local.from_roles} AND jsonPayload.message=\"no events from these clips: jobs published again\""
      labels      = {}
    }
    folding_stopped = {
      description = "Times that the status service stopped folding events"
      filter      = "${local.from_roles} AND jsonPayload.message=\"no events are folded any more\""
      labels      = {}
    }
    documents_refused = {
      description = "Status documents that Firestore refused permanently, and records that a dispatcher could not read"
      filter      = "${local.from_roles} AND (jsonPayload.message=\"document refused\" OR jsonPayload.message=\"record left out\")"
      labels      = {}
    }
    messages_dropped = {
      description = "Messages that a role could not decode"
      filter      = "${local.from_roles} AND jsonPayload.message=~\"^message dropped: \""
      labels      = {}
    }
    jobs_handed_back = {
      description = "Jobs that a worker of another version handed back"
      filter      = "${local.from_workers} AND jsonPayload.message=~\"^job handed back: \""
      labels      = {}
    }
    pool_sizes_refused = {
      description = "Sizes that Cloud Run refused to a scaler, by pool and reason: quota, capacity, conflict or denied"
      filter      = "${local.from_roles} AND jsonPayload.message=\"pool size refused\""
      labels      = { pool = "jsonPayload.pool", reason = "jsonPayload.reason" }
    }
    pool_sizes_not_set = {
      description = "Sizes that a scaler could not set for another reason"
      filter      = "${local.from_roles} AND jsonPayload.message=\"pool size not set\""
      labels      = { pool = "jsonPayload.pool" }
    }
    documents_not_written = {
      description = "Commits of status documents that failed and are tried again"
      filter      = "${local.from_roles} AND jsonPayload.message=\"documents not written, trying again\""
      labels      = {}
    }
    urls_not_signed = {
      description = "Requests for links that failed because a URL could not be signed"
      filter      = "${local.from_roles} AND jsonPayload.message=\"request failed\" AND jsonPayload.error=~\"^sign a url for \""
      labels      = {}
    }
    instances_out_of_memory = {
      description = "Instances that Cloud Run stopped because they exceeded their memory"
      filter      = "((${local.from_workers}) OR (${local.from_roles})) AND textPayload=~\"^Memory limit of .* exceeded\""
      labels      = {}
    }
    containers_exited = {
      description = "Containers that ended with an error"
      filter      = "((${local.from_workers}) OR (${local.from_roles})) AND textPayload=~\"^Container called exit.[1-9]\""
      labels      = {}
    }
  }

  metric = { for name, metric in google_logging_metric.counted : name => "logging.googleapis.com/user/${metric.name}" }
}

resource "google_logging_metric" "counted" {
  for_each = local.counted

  name        = "clipfleet/${each.key}"
  description = each.value.description
  filter      = each.value.filter

  label_extractors = { for label, field in each.value.labels : label => "EXTRACT(${field})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    dynamic "labels" {
      for_each = each.value.labels
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_logging_metric" "clip_milliseconds" {
  name            = "clipfleet/clip_milliseconds"
  description     = "Milliseconds from the acceptance of a clip to its completion"
  filter          = "${local.from_workers} AND jsonPayload.message=\"clip completed\" AND jsonPayload.reused=false"
  value_extractor = "EXTRACT(jsonPayload.total_ms)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"
  }

  # From half a second to five hours.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 30
      growth_factor      = 1.42
      scale              = 500
    }
  }

  depends_on = [google_project_service.api]
}

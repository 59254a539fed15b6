# Metrics counted from log lines. The roles answer /metrics for Prometheus, too, but nothing on Cloud Run scrapes a worker pool by itself; what a
# role logs once per clip is exact, needs no sidecar beside a GPU, and outlives the instance. tests/infra looks every message and field up in
# the programs.

locals {
  from_workers = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=~\"^clipfleet-worker-\""
  from_roles   = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^clipfleet-\""

  # Codes of the runbook's section "The fleet" and those of rights and storage: what a request or a source did is theirs to mend, and would
  # hide what is ours.
  fleet_codes = [
    "audio_mismatch", "dead_lettered", "encode_black", "encode_failed", "encode_frozen", "encode_mismatch", "encode_slip",
    "encoder_unavailable", "internal", "output_denied", "output_unavailable", "pipeline_crashed", "pipeline_not_started",
    "pipeline_overdue", "pipeline_protocol", "pipeline_stalled", "reframe_mismatch", "reframe_slip", "scratch_full", "scratch_unavailable",
    "source_denied", "source_unavailable", "verify_failed", "worker_lost",
  ]

  counted = {
    clips_ended = {
      about  = "Clips that completed or failed"
      filter = "${local.from_workers} AND (jsonPayload.message=\"clip completed\" OR jsonPayload.message=~\"^clip failed: \")"
      labels = {}
    }
    clips_failed = {
      about  = "Clips that failed, by code"
      filter = "${local.from_workers} AND jsonPayload.message=~\"^clip failed: \""
      labels = { code = "jsonPayload.code" }
    }
    clips_failed_by_fleet = {
      about  = "Clips that failed by no fault of request or source, by code"
      filter = "${local.from_workers} AND jsonPayload.message=~\"^clip failed: \" AND jsonPayload.code=~\"^(${join("|", local.fleet_codes)})$\""
      labels = { code = "jsonPayload.code" }
    }
    clips_encoded = {
      about  = "Clips that were encoded (and not found made), by encoder"
      filter = "${local.from_workers} AND jsonPayload.message=\"clip completed\" AND jsonPayload.reused=false"
      labels = { encoder = "jsonPayload.encoder" }
    }
    clips_encoded_beside_cards = {
      about  = "Clips that machines with a GPU encoded without it, by encoder"
      filter = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"clipfleet-worker-gpu\" AND jsonPayload.message=\"clip completed\" AND jsonPayload.reused=false AND jsonPayload.encoder!~\"^nv\""
      labels = { encoder = "jsonPayload.encoder" }
    }
    attempts_handed_back = {
      about  = "Attempts that met something that may pass, by code"
      filter = "${local.from_workers} AND jsonPayload.message=~\"^attempt handed back: \" AND jsonPayload.code=~\".+\""
      labels = { code = "jsonPayload.code" }
    }
    worker_cooldowns = {
      about  = "Cooldowns of workers whose instance failed its clips, by code"
      filter = "${local.from_workers} AND jsonPayload.message=\"entering cooldown after a local failure\""
      labels = { code = "jsonPayload.code" }
    }
    batches_stuck = {
      about  = "Batches whose jobs were published again since nothing was heard of them"
      filter = "${local.from_roles} AND jsonPayload.message=\"nothing was heard of these clips for long: their jobs are published again\""
      labels = {}
    }
    folding_stopped = {
      about  = "Times that the status service gave up folding"
      filter = "${local.from_roles} AND jsonPayload.message=\"no events are folded any more\""
      labels = {}
    }
    documents_refused = {
      about  = "Status documents that Firestore refused for good, and records that no dispatcher could read"
      filter = "${local.from_roles} AND (jsonPayload.message=\"document refused\" OR jsonPayload.message=\"record left out\")"
      labels = {}
    }
    messages_dropped = {
      about  = "Messages that no role could read"
      filter = "(${local.from_workers} OR ${local.from_roles}) AND jsonPayload.message=~\"^dropped: \""
      labels = {}
    }
  }

  metric = { for name, it in google_logging_metric.counted : name => "logging.googleapis.com/user/${it.name}" }
}

resource "google_logging_metric" "counted" {
  for_each = local.counted

  name        = "clipfleet/${each.key}"
  description = each.value.about
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
  description     = "Milliseconds from an attempt's start to its visible clip"
  filter          = "${local.from_workers} AND jsonPayload.message=\"clip completed\" AND jsonPayload.reused=false"
  value_extractor = "EXTRACT(jsonPayload.total_ms)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"
  }

  # From half a second to five hours, the longest attempt there can be.
  bucket_options {
    exponential_buckets {
      num_finite_buckets = 30
      growth_factor      = 1.42
      scale              = 500
    }
  }

  depends_on = [google_project_service.api]
}

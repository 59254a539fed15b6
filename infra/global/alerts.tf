# Alerts. Each links to the section of the runbook that has the alert's title as its heading.

locals {
  backlog_of = { for name, subscription in google_pubsub_subscription.this : name =>
    "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${subscription.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
  }

  # With a denominator, the threshold is a share. `window` is the alignment period and `duration` is how long the
  # condition has to hold, both in seconds.
  alerts = merge(local.alerts_of_scaler, {
    requests-wait = {
      title       = "Requests wait"
      filter      = local.backlog_of["export-requests-dispatcher"]
      denominator = null
      aligner     = "ALIGN_MAX"
      window      = 60
      threshold   = 120
      duration    = 120
    }
    clips-wait = {
      title       = "Clips wait"
      filter      = local.backlog_of["clip-jobs-worker"]
      denominator = null
      aligner     = "ALIGN_MAX"
      window      = 60
      threshold   = var.queue_age_alert_minutes * 60
      duration    = 300
    }
    documents-lag = {
      title       = "Documents lag"
      filter      = local.backlog_of["progress-events-status"]
      denominator = null
      aligner     = "ALIGN_MAX"
      window      = 60
      threshold   = 120
      duration    = 120
    }
    clips-are-dead-lettered = {
      title       = "Clips are dead-lettered"
      filter      = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.this["clip-jobs-worker"].name}\" AND metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 300
      threshold   = 0
      duration    = 0
    }
    dead-letters-stay = {
      title       = "Dead letters stay"
      filter      = local.backlog_of["clip-jobs-dead-letter-status"]
      denominator = null
      aligner     = "ALIGN_MAX"
      window      = 60
      threshold   = 300
      duration    = 300
    }
    clips-fail = {
      title       = "Clips fail"
      filter      = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["clips_failed_by_fleet"]}\""
      denominator = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["clips_ended"]}\""
      aligner     = "ALIGN_DELTA"
      window      = 900
      threshold   = 0.05
      duration    = 0
    }
    gpus-are-not-used = {
      title       = "GPUs are not used"
      filter      = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["clips_encoded_without_gpu"]}\""
      denominator = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"clipfleet-worker-gpu\" AND metric.type=\"${local.metric["clips_encoded"]}\""
      aligner     = "ALIGN_DELTA"
      window      = 900
      threshold   = 0.1
      duration    = 0
    }
    clips-are-stuck = {
      title       = "Clips are stuck"
      filter      = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["batches_stuck"]}\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 3600
      threshold   = 2
      duration    = 0
    }
    instances-fail-their-clips = {
      title       = "Instances fail their clips"
      filter      = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["worker_cooldowns"]}\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 900
      threshold   = 3
      duration    = 0
    }
    folding-stopped = {
      title       = "Folding stopped"
      filter      = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["folding_stopped"]}\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 300
      threshold   = 0
      duration    = 0
    }
    documents-are-refused = {
      title       = "Documents are refused"
      filter      = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["documents_refused"]}\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 300
      threshold   = 0
      duration    = 0
    }
    messages-are-dropped = {
      title       = "Messages are dropped"
      filter      = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["messages_dropped"]}\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 300
      threshold   = 0
      duration    = 0
    }
    # A rollout hands some jobs back. Half an hour of it means that no worker of the right version runs.
    jobs-are-handed-back = {
      title       = "Jobs are handed back"
      filter      = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["jobs_handed_back"]}\""
      denominator = null
      aligner     = "ALIGN_DELTA"
      window      = 300
      threshold   = 0
      duration    = 1800
    }
    gpus-run-out = {
      title       = "GPUs run out"
      filter      = "resource.type=\"consumer_quota\" AND resource.labels.service=\"run.googleapis.com\" AND metric.type=\"serviceruntime.googleapis.com/quota/exceeded\" AND metric.labels.quota_metric=\"run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy\""
      denominator = null
      aligner     = "ALIGN_COUNT_TRUE"
      window      = 300
      threshold   = 0
      duration    = 0
    }
  })

  # Only the leader receives events, so without a leader they accumulate.
  alerts_of_scaler = { for name, backlog in local.backlog_of : "scaling-stopped" => {
    title       = "Scaling stopped"
    filter      = backlog
    denominator = null
    aligner     = "ALIGN_MAX"
    window      = 60
    threshold   = 120
    duration    = 120
  } if name == "progress-events-scaler" }

  channels = concat([for channel in google_monitoring_notification_channel.email : channel.id], tolist(var.notification_channels))
}

resource "google_monitoring_notification_channel" "email" {
  for_each = var.notification_emails

  display_name = "Clipfleet: ${each.value}"
  type         = "email"
  labels       = { email_address = each.value }

  depends_on = [google_project_service.api]
}

# A metric can be named in an alert up to ten minutes after it was made ("cannot find metric"). On later applies, this
# waits only where a metric is new.
resource "time_sleep" "metrics_appear" {
  create_duration = "10m"

  triggers = { for name, metric in local.metric : name => metric }

  depends_on = [google_logging_metric.counted, google_logging_metric.clip_milliseconds]
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  display_name          = "Clipfleet: ${each.value.title}"
  combiner              = "OR"
  severity              = contains(["clips-are-dead-lettered", "gpus-are-not-used", "gpus-run-out", "messages-are-dropped"], each.key) ? "WARNING" : "CRITICAL"
  notification_channels = local.channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter             = each.value.filter
      denominator_filter = each.value.denominator
      comparison         = "COMPARISON_GT"
      threshold_value    = each.value.threshold
      duration           = "${each.value.duration}s"
      # An idle fleet reports no data. That is not an alert.
      evaluation_missing_data = each.value.duration == 0 ? null : "EVALUATION_MISSING_DATA_INACTIVE"

      aggregations {
        alignment_period     = "${each.value.window}s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.aligner == "ALIGN_MAX" ? "REDUCE_MAX" : "REDUCE_SUM"
      }

      dynamic "denominator_aggregations" {
        for_each = each.value.denominator == null ? [] : [each.value.window]
        content {
          alignment_period     = "${denominator_aggregations.value}s"
          per_series_aligner   = each.value.aligner
          cross_series_reducer = "REDUCE_SUM"
        }
      }

      trigger {
        count = 1
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  depends_on = [time_sleep.metrics_appear]

  documentation {
    subject   = "Clipfleet: ${each.value.title}"
    mime_type = "text/markdown"
    content   = "What it means and what to do: ${var.runbook_url}#${each.key}"

    links {
      display_name = "Runbook: ${each.value.title}"
      url          = "${var.runbook_url}#${each.key}"
    }
  }
}

# Alerts. Each says what to do by its section of the runbook, whose heading is the alert's name.

locals {
  backlog_of = { for name, it in google_pubsub_subscription.this : name =>
    "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${it.name}\" AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
  }

  # `over`: with a denominator a share, else a plain figure. `seconds`: how long it has to hold.
  alerts = merge(local.alerts_of_scaler, {
    requests-wait = {
      title   = "Requests wait"
      filter  = local.backlog_of["export-requests-dispatcher"]
      per     = null
      aligner = "ALIGN_MAX"
      window  = 60
      over    = 120
      seconds = 120
    }
    clips-wait = {
      title   = "Clips wait"
      filter  = local.backlog_of["clip-jobs-worker"]
      per     = null
      aligner = "ALIGN_MAX"
      window  = 60
      over    = var.queue_age_alert_minutes * 60
      seconds = 300
    }
    documents-lag = {
      title   = "Documents lag"
      filter  = local.backlog_of["progress-events-status"]
      per     = null
      aligner = "ALIGN_MAX"
      window  = 60
      over    = 120
      seconds = 120
    }
    clips-are-dead-lettered = {
      title   = "Clips are dead-lettered"
      filter  = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.this["clip-jobs-worker"].name}\" AND metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\""
      per     = null
      aligner = "ALIGN_DELTA"
      window  = 300
      over    = 0
      seconds = 0
    }
    dead-letters-stay = {
      title   = "Dead letters stay"
      filter  = local.backlog_of["clip-jobs-dead-letter-status"]
      per     = null
      aligner = "ALIGN_MAX"
      window  = 60
      over    = 300
      seconds = 300
    }
    clips-fail = {
      title   = "Clips fail"
      filter  = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["clips_failed_by_fleet"]}\""
      per     = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["clips_ended"]}\""
      aligner = "ALIGN_DELTA"
      window  = 900
      over    = 0.05
      seconds = 0
    }
    gpus-are-not-used = {
      title   = "GPUs are not used"
      filter  = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["clips_encoded_beside_cards"]}\""
      per     = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=\"clipfleet-worker-gpu\" AND metric.type=\"${local.metric["clips_encoded"]}\""
      aligner = "ALIGN_DELTA"
      window  = 900
      over    = 0.1
      seconds = 0
    }
    clips-are-stuck = {
      title   = "Clips are stuck"
      filter  = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["batches_stuck"]}\""
      per     = null
      aligner = "ALIGN_DELTA"
      window  = 3600
      over    = 2
      seconds = 0
    }
    machines-fail-their-clips = {
      title   = "Machines fail their clips"
      filter  = "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${local.metric["worker_cooldowns"]}\""
      per     = null
      aligner = "ALIGN_DELTA"
      window  = 900
      over    = 3
      seconds = 0
    }
    folding-stopped = {
      title   = "Folding stopped"
      filter  = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["folding_stopped"]}\""
      per     = null
      aligner = "ALIGN_DELTA"
      window  = 300
      over    = 0
      seconds = 0
    }
    documents-are-refused = {
      title   = "Documents are refused"
      filter  = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["documents_refused"]}\""
      per     = null
      aligner = "ALIGN_DELTA"
      window  = 300
      over    = 0
      seconds = 0
    }
    messages-are-dropped = {
      title   = "Messages are dropped"
      filter  = "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["messages_dropped"]}\""
      per     = null
      aligner = "ALIGN_DELTA"
      window  = 300
      over    = 0
      seconds = 0
    }
    gpus-run-out = {
      title   = "GPUs run out"
      filter  = "resource.type=\"consumer_quota\" AND resource.labels.service=\"run.googleapis.com\" AND metric.type=\"serviceruntime.googleapis.com/quota/exceeded\" AND metric.labels.quota_metric=\"run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy\""
      per     = null
      aligner = "ALIGN_COUNT_TRUE"
      window  = 300
      over    = 0
      seconds = 0
    }
  })

  # Only the leader takes events: when nobody leads, they pile up.
  alerts_of_scaler = { for name, backlog in local.backlog_of : "scaling-stopped" => {
    title   = "Scaling stopped"
    filter  = backlog
    per     = null
    aligner = "ALIGN_MAX"
    window  = 60
    over    = 120
    seconds = 120
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
      denominator_filter = each.value.per
      comparison         = "COMPARISON_GT"
      threshold_value    = each.value.over
      duration           = "${each.value.seconds}s"
      # A fleet at rest has no figures, and that is no alarm.
      evaluation_missing_data = each.value.seconds == 0 ? null : "EVALUATION_MISSING_DATA_INACTIVE"

      aggregations {
        alignment_period     = "${each.value.window}s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.aligner == "ALIGN_MAX" ? "REDUCE_MAX" : "REDUCE_SUM"
      }

      dynamic "denominator_aggregations" {
        for_each = each.value.per == null ? [] : [each.value.window]
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

# Alerts. Each links to the section of the runbook that has the alert's title as its heading.

locals {
  pubsub_metric = { for name, subscription in google_pubsub_subscription.this : name =>
    "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${subscription.name}\" AND metric.type=\"pubsub.googleapis.com/subscription"
  }
  age_of = { for name, metric in local.pubsub_metric : name => "${metric}/oldest_unacked_message_age\"" }

  of_workers  = { for name, metric in local.metric : name => "resource.type=\"cloud_run_worker_pool\" AND metric.type=\"${metric}\"" }
  of_roles    = { for name, metric in local.metric : name => "resource.type=\"cloud_run_revision\" AND metric.type=\"${metric}\"" }
  of_gpu_pool = "resource.labels.worker_pool_name=\"clipfleet-worker-gpu\""
  # Whichever service of ../region serves the API.
  of_api = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=one_of(\"clipfleet-control\", \"clipfleet-dispatcher\")"

  # A condition. With a denominator, the threshold is a share. `window` is the alignment period and `duration` is how long
  # the condition has to hold, both in seconds. An idle fleet reports no data, and that is no alert.
  condition = {
    denominator = null
    aligner     = "ALIGN_DELTA"
    reducer     = "REDUCE_SUM"
    comparison  = "COMPARISON_GT"
    window      = 300
    threshold   = 0
    duration    = 0
    missing     = "EVALUATION_MISSING_DATA_INACTIVE"
  }

  # Beside a share: of few clips, a single one would be a large share.
  least_clips    = { filter = local.of_workers["clips_ended"], threshold = 20 }
  least_encoded  = { filter = "${local.of_workers["clips_encoded"]} AND ${local.of_gpu_pool}", threshold = 20 }
  requests       = "${local.of_api} AND metric.type=\"run.googleapis.com/request_count\""
  least_requests = { filter = local.requests, threshold = 20 }

  # All conditions of an alert must hold, unless its combiner is OR.
  fleet_alerts = merge(local.scaler_alerts, local.rebuild_alerts, {
    requests-wait = {
      title      = "Requests wait"
      severity   = "CRITICAL"
      conditions = [{ filter = local.age_of["export-requests-dispatcher"], aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", window = 60, threshold = 120, duration = 120 }]
    }
    clips-wait = {
      title      = "Clips wait"
      severity   = "CRITICAL"
      conditions = [{ filter = local.age_of["clip-jobs-worker"], aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", window = 60, threshold = var.queue_age_alert_minutes * 60, duration = 300 }]
    }
    documents-lag = {
      title      = "Documents lag"
      severity   = "CRITICAL"
      conditions = [{ filter = local.age_of["progress-events-status"], aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", window = 60, threshold = 120, duration = 120 }]
    }
    documents-are-not-written = {
      title      = "Documents are not written"
      severity   = "WARNING"
      conditions = [{ filter = local.of_roles["documents_not_written"], threshold = 5 }]
    }
    clips-are-dead-lettered = {
      title      = "Clips are dead-lettered"
      severity   = "WARNING"
      conditions = [{ filter = "${local.pubsub_metric["clip-jobs-worker"]}/dead_letter_message_count\"" }]
    }
    dead-letters-stay = {
      title      = "Dead letters stay"
      severity   = "CRITICAL"
      conditions = [{ filter = local.age_of["clip-jobs-dead-letter-status"], aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", window = 60, threshold = 300, duration = 300 }]
    }
    leases-expire = {
      title      = "Leases expire"
      severity   = "WARNING"
      conditions = [{ filter = "${local.pubsub_metric["clip-jobs-worker"]}/expired_ack_deadlines_count\"", window = 900, threshold = 5 }]
    }
    clips-fail = {
      title    = "Clips fail"
      severity = "CRITICAL"
      conditions = [
        { filter = local.of_workers["clips_failed_by_fleet"], denominator = local.of_workers["clips_ended"], window = 900, threshold = 0.05 },
        merge(local.least_clips, { window = 900 }),
      ]
    }
    urls-are-not-signed = {
      title      = "URLs are not signed"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_roles["urls_not_signed"], window = 900, threshold = 3 }]
    }
    gpus-are-not-used = {
      title    = "GPUs are not used"
      severity = "WARNING"
      conditions = [
        { filter = local.of_workers["clips_encoded_without_gpu"], denominator = local.least_encoded.filter, window = 3600, threshold = 0.1 },
        merge(local.least_encoded, { window = 3600 }),
      ]
    }
    clips-are-stuck = {
      title      = "Clips are stuck"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_roles["batches_stuck"], window = 3600, threshold = 2 }]
    }
    instances-fail-their-clips = {
      title      = "Instances fail their clips"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_workers["worker_cooldowns"], window = 900, threshold = 3 }]
    }
    workers-run-out-of-memory = {
      title      = "Workers run out of memory"
      severity   = "WARNING"
      conditions = [{ filter = local.of_workers["instances_out_of_memory"], window = 900 }]
    }
    workers-exit = {
      title      = "Workers exit"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_workers["containers_exited"], window = 900, threshold = 3 }]
    }
    services-exit = {
      title      = "Services exit"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_roles["containers_exited"], window = 900, threshold = 3 }]
    }
    services-run-out-of-memory = {
      title      = "Services run out of memory"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_roles["instances_out_of_memory"], window = 900 }]
    }
    requests-fail = {
      title    = "Requests fail"
      severity = "CRITICAL"
      conditions = [
        { filter = "${local.requests} AND metric.labels.response_code_class=\"5xx\"", denominator = local.requests, window = 900, threshold = 0.05 },
        merge(local.least_requests, { window = 900 }),
      ]
    }
    requests-are-slow = {
      title    = "Requests are slow"
      severity = "WARNING"
      conditions = [
        # Milliseconds.
        { filter = "${local.of_api} AND metric.type=\"run.googleapis.com/request_latencies\"", reducer = "REDUCE_PERCENTILE_95", window = 900, threshold = 5000 },
        merge(local.least_requests, { window = 900 }),
      ]
    }
    folding-stopped = {
      title      = "Folding stopped"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_roles["folding_stopped"] }]
    }
    documents-are-refused = {
      title      = "Documents are refused"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_roles["documents_refused"] }]
    }
    messages-are-dropped = {
      title      = "Messages are dropped"
      severity   = "WARNING"
      conditions = [{ filter = local.of_roles["messages_dropped"] }]
    }
    # A rollout hands some jobs back. Half an hour of it means that no worker of the right version runs.
    jobs-are-handed-back = {
      title      = "Jobs are handed back"
      severity   = "CRITICAL"
      conditions = [{ filter = local.of_workers["jobs_handed_back"], duration = 1800 }]
    }
    gpus-run-out = {
      title      = "GPUs run out"
      severity   = "WARNING"
      conditions = [{ filter = "resource.type=\"consumer_quota\" AND resource.labels.service=\"run.googleapis.com\" AND metric.type=\"serviceruntime.googleapis.com/quota/exceeded\" AND metric.labels.quota_metric=\"run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy\"", aligner = "ALIGN_COUNT_TRUE" }]
    }
    # Billed, and without a job for an hour: neither waiting nor leased.
    workers-are-idle = {
      title    = "Workers are idle"
      severity = "WARNING"
      conditions = [
        { filter = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=starts_with(\"clipfleet-worker-\") AND metric.type=\"run.googleapis.com/container/instance_count\"", aligner = "ALIGN_MIN", window = 3600, threshold = var.idle_workers },
        { filter = "${local.pubsub_metric["clip-jobs-worker"]}/num_undelivered_messages\"", aligner = "ALIGN_MAX", window = 3600, comparison = "COMPARISON_LT", threshold = 1 },
      ]
    }
  })

  # Only the leader receives events, so without a leader they accumulate.
  scaler_alerts = merge([
    for name, age in local.age_of : {
      scaling-stopped = {
        title      = "Scaling stopped"
        severity   = "CRITICAL"
        conditions = [{ filter = age, aligner = "ALIGN_MAX", reducer = "REDUCE_MAX", window = 60, threshold = 120, duration = 120 }]
      }
      # A conflict is another change at the same time, and the next attempt succeeds.
      pool-sizes-are-refused = {
        title      = "Pool sizes are refused"
        severity   = "WARNING"
        conditions = [{ filter = "${local.of_roles["pool_sizes_refused"]} AND metric.labels.reason!=\"conflict\"", window = 900 }]
      }
      pool-sizes-are-not-set = {
        title      = "Pool sizes are not set"
        severity   = "CRITICAL"
        conditions = [{ filter = local.of_roles["pool_sizes_not_set"], window = 900, threshold = 3 }]
      }
    } if name == "progress-events-scaler"
  ]...)

  # A filter can name one type of resource only, so that there are two.
  rebuild_filters = {
    for part, metric in google_logging_metric.rebuilds_failed : part =>
    "resource.type=\"${ { build = "build", start = "cloud_scheduler_job" }[part]}\" AND metric.type=\"logging.googleapis.com/user/${metric.name}\""
  }

  rebuild_alerts = merge([
    for name in keys(local.rebuilds) : {
      rebuilds-fail = {
        title      = "Rebuilds fail"
        severity   = "WARNING"
        combiner   = "OR"
        conditions = [for filter in values(local.rebuild_filters) : { filter = filter, window = 3600 }]
      }
    }
  ]...)

  alerts = merge(
    { for name, alert in local.fleet_alerts : name => merge({ anchor = name, suffix = "" }, alert) },
    local.slo_alerts,
  )

  emails   = [for channel in google_monitoring_notification_channel.email : channel.id]
  channels = concat(local.emails, tolist(var.notification_channels))
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

  triggers = merge(local.metric, { for name, metric in google_logging_metric.rebuilds_failed : "rebuilds_failed_${name}" => metric.name })

  depends_on = [google_logging_metric.counted, google_logging_metric.clip_milliseconds, google_logging_metric.rebuilds_failed]
}

resource "google_monitoring_alert_policy" "this" {
  for_each = local.alerts

  display_name          = "Clipfleet: ${each.value.title}${each.value.suffix}"
  combiner              = lookup(each.value, "combiner", "AND")
  severity              = each.value.severity
  notification_channels = local.channels

  dynamic "conditions" {
    for_each = [for condition in each.value.conditions : merge(local.condition, condition)]
    iterator = it
    content {
      display_name = "${each.value.title}, ${it.key + 1} of ${length(each.value.conditions)}"

      condition_threshold {
        filter                  = it.value.filter
        denominator_filter      = it.value.denominator
        comparison              = it.value.comparison
        threshold_value         = it.value.threshold
        duration                = "${it.value.duration}s"
        evaluation_missing_data = it.value.duration == 0 ? null : it.value.missing

        # A burn rate is a figure of its own, and takes none.
        dynamic "aggregations" {
          for_each = it.value.window == null ? [] : [it.value.window]
          content {
            alignment_period     = "${aggregations.value}s"
            per_series_aligner   = it.value.aligner
            cross_series_reducer = it.value.reducer
          }
        }

        dynamic "denominator_aggregations" {
          for_each = it.value.denominator == null ? [] : [it.value.window]
          content {
            alignment_period     = "${denominator_aggregations.value}s"
            per_series_aligner   = it.value.aligner
            cross_series_reducer = it.value.reducer
          }
        }

        trigger {
          count = 1
        }
      }
    }
  }

  alert_strategy {
    auto_close = "1800s"
  }

  documentation {
    subject   = "Clipfleet: ${each.value.title}"
    mime_type = "text/markdown"
    content   = "What it means and what to do: ${var.runbook_url}#${each.value.anchor}"

    links {
      display_name = "Runbook: ${each.value.title}"
      url          = "${var.runbook_url}#${each.value.anchor}"
    }
    links {
      display_name = "Dashboard"
      url          = "https://console.cloud.google.com/monitoring/dashboards/builder/${reverse(split("/", google_monitoring_dashboard.this.id))[0]}?project=${var.project}"
    }
  }

  depends_on = [time_sleep.metrics_appear]
}

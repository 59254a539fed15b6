# What users are promised, over 28 days, and alerts on how fast the error budget of it burns. A burn rate of 1 uses the
# budget up in exactly 28 days. Each alert needs a long window, so that a short fault does not page, and a short one, so
# that it ends soon after the fault.

locals {
  slos = {
    # Late is later than a minute and the clip's own length after its acceptance, whatever the reason.
    clips-end-late = {
      title  = "Clips end late"
      goal   = 0.99
      good   = "metric.type=\"${local.metric["clips_in_time"]}\" AND resource.type=\"cloud_run_worker_pool\""
      bad    = null
      total  = "metric.type=\"${local.metric["clips_ended"]}\" AND resource.type=\"cloud_run_worker_pool\""
      volume = true
    }
    # A clip without an end is one whose job Pub/Sub gave up. One whose job was lost is counted by "Clips are stuck".
    clips-do-not-end = {
      title  = "Clips do not end"
      goal   = 0.999
      good   = "metric.type=\"${local.metric["clips_ended"]}\" AND resource.type=\"cloud_run_worker_pool\""
      bad    = "metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.this["clip-jobs-worker"].name}\""
      total  = null
      volume = true
    }
    # The share of minutes in which the oldest event that is not in a document yet is younger than 5 s.
    status-is-delayed = {
      title  = "Status is delayed"
      goal   = 0.99
      good   = null
      bad    = null
      total  = null
      volume = false
    }
  }

  # Long window, short window, burn rate: 2 % of the budget in an hour, or 5 % in six.
  burns = {
    fast = { long = 3600, short = 300, rate = 14.4, severity = "CRITICAL", suffix = "" }
    slow = { long = 21600, short = 1800, rate = 6, severity = "WARNING", suffix = " (slow burn)" }
  }

  slo_alerts = merge([
    for name, slo in local.slos : {
      for pace, burn in local.burns : "${name}-${pace}" => {
        title    = slo.title
        suffix   = burn.suffix
        anchor   = name
        severity = burn.severity
        conditions = concat(
          [
            for window in [burn.long, burn.short] : {
              filter    = "select_slo_burn_rate(\"projects/${var.project}/services/${google_monitoring_custom_service.fleet.service_id}/serviceLevelObjectives/${google_monitoring_slo.this[name].slo_id}\", \"${window}s\")"
              threshold = burn.rate
              window    = null
            }
          ],
          # Of few clips, a single one would be a large share.
          slo.volume ? [merge(local.least_clips, { window = burn.long })] : [],
        )
      }
    }
  ]...)
}

resource "google_monitoring_custom_service" "fleet" {
  service_id   = "clipfleet"
  display_name = "Clipfleet"

  depends_on = [google_project_service.api]
}

resource "google_monitoring_slo" "this" {
  for_each = local.slos

  service             = google_monitoring_custom_service.fleet.service_id
  slo_id              = each.key
  display_name        = "Clipfleet: not \"${each.value.title}\""
  goal                = each.value.goal
  rolling_period_days = 28

  dynamic "request_based_sli" {
    for_each = each.value.good == null ? [] : [each.value]
    content {
      good_total_ratio {
        good_service_filter  = request_based_sli.value.good
        bad_service_filter   = request_based_sli.value.bad
        total_service_filter = request_based_sli.value.total
      }
    }
  }

  dynamic "windows_based_sli" {
    for_each = each.value.good == null ? [local.age_of["progress-events-status"]] : []
    content {
      window_period = "60s"
      metric_mean_in_range {
        time_series = windows_based_sli.value
        range {
          max = 5
        }
      }
    }
  }

  depends_on = [time_sleep.metrics_appear]
}

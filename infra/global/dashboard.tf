# One dashboard, in the order of the flow: what waits, what is encoded and how, what fails.

locals {
  pubsub_of = { for name, subscription in google_pubsub_subscription.this : name => "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${subscription.name}\"" }
  in_pools  = "resource.type=\"cloud_run_worker_pool\""

  # The lines of a tile: legend, filter, aligner, reducer, fields to group by.
  tiles = [
    {
      title = "Age of the oldest message, by subscription (s)"
      lines = [for name, filter in local.pubsub_of : [name, "${filter} AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"", "ALIGN_MAX", "REDUCE_MAX", []]]
    },
    {
      title = "Unacknowledged messages, by subscription (includes clip jobs that are leased)"
      lines = [for name, filter in local.pubsub_of : [name, "${filter} AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\"", "ALIGN_MAX", "REDUCE_SUM", []]]
    },
    {
      title = "Clips encoded, by encoder and pool"
      lines = [["", "${local.in_pools} AND metric.type=\"${local.metric["clips_encoded"]}\"", "ALIGN_DELTA", "REDUCE_SUM", ["metric.label.encoder", "resource.label.worker_pool_name"]]]
    },
    {
      title = "Milliseconds per clip, acceptance to completion"
      lines = [for percentile in [50, 95] : ["p${percentile}", "${local.in_pools} AND metric.type=\"logging.googleapis.com/user/${google_logging_metric.clip_milliseconds.name}\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_${format("%02d", percentile)}", []]]
    },
    {
      title = "Clips failed, by code"
      lines = [["", "${local.in_pools} AND metric.type=\"${local.metric["clips_failed"]}\"", "ALIGN_DELTA", "REDUCE_SUM", ["metric.label.code"]]]
    },
    {
      title = "Attempts requeued, by code"
      lines = [["", "${local.in_pools} AND metric.type=\"${local.metric["attempts_requeued"]}\"", "ALIGN_DELTA", "REDUCE_SUM", ["metric.label.code"]]]
    },
    {
      title = "Dead letters and republished batches"
      lines = [
        ["dead letters", "${local.pubsub_of["clip-jobs-worker"]} AND metric.type=\"pubsub.googleapis.com/subscription/dead_letter_message_count\"", "ALIGN_DELTA", "REDUCE_SUM", []],
        ["republished", "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["batches_stuck"]}\"", "ALIGN_DELTA", "REDUCE_SUM", []],
      ]
    },
    {
      title = "GPU utilization"
      lines = [["", "${local.in_pools} AND metric.type=\"run.googleapis.com/container/gpu/utilizations\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_50", ["resource.label.worker_pool_name"]]]
    },
  ]
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = "Clipfleet"
    mosaicLayout = {
      columns = 48
      tiles = [
        for index, tile in local.tiles : {
          xPos   = index % 2 * 24
          yPos   = floor(index / 2) * 16
          width  = 24
          height = 16
          widget = {
            title = tile.title
            xyChart = {
              dataSets = [
                for line in tile.lines : merge(
                  {
                    plotType = "LINE"
                    timeSeriesQuery = {
                      timeSeriesFilter = {
                        filter = line[1]
                        aggregation = {
                          alignmentPeriod    = "60s"
                          perSeriesAligner   = line[2]
                          crossSeriesReducer = line[3]
                          groupByFields      = line[4]
                        }
                      }
                    }
                  },
                  line[0] == "" ? {} : { legendTemplate = line[0] },
                )
              ]
            }
          }
        }
      ]
    }
  })

  depends_on = [google_project_service.api]
}

# One dashboard, in the order of the flow: what waits, what is encoded and how, what fails.

locals {
  in_pools = "resource.type=\"cloud_run_worker_pool\" AND resource.labels.worker_pool_name=starts_with(\"clipfleet-worker-\")"

  # The lines of a tile: legend, filter, aligner, reducer, fields to group by.
  tiles = concat([
    {
      title = "Age of the oldest message, by subscription (s)"
      lines = [for name, age in local.age_of : [name, age, "ALIGN_MAX", "REDUCE_MAX", []]]
    },
    {
      title = "Unacknowledged messages, by subscription (includes clip jobs that are leased)"
      lines = [for name, metric in local.pubsub_metric : [name, "${metric}/num_undelivered_messages\"", "ALIGN_MAX", "REDUCE_SUM", []]]
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
        ["dead letters", "${local.pubsub_metric["clip-jobs-worker"]}/dead_letter_message_count\"", "ALIGN_DELTA", "REDUCE_SUM", []],
        ["republished", "resource.type=\"cloud_run_revision\" AND metric.type=\"${local.metric["batches_stuck"]}\"", "ALIGN_DELTA", "REDUCE_SUM", []],
      ]
    },
    {
      title = "Clips ended, and those in time"
      lines = [for name in ["clips_ended", "clips_in_time"] : [name, "${local.in_pools} AND metric.type=\"${local.metric[name]}\"", "ALIGN_DELTA", "REDUCE_SUM", []]]
    },
    {
      title = "Instances, by pool and region"
      lines = [["", "${local.in_pools} AND metric.type=\"run.googleapis.com/container/instance_count\"", "ALIGN_MAX", "REDUCE_SUM", ["resource.label.worker_pool_name", "resource.label.location"]]]
    },
    {
      title = "Requests, by class of response"
      lines = [["", local.requests, "ALIGN_DELTA", "REDUCE_SUM", ["metric.label.response_code_class"]]]
    },
    # Worker pools have no metric of GPU utilization.
    {
      title = "GPU memory in use, median share"
      lines = [["", "${local.in_pools} AND metric.type=\"run.googleapis.com/container/gpu/memory_utilizations\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_50", ["resource.label.worker_pool_name"]]]
    },
    {
      title = "Memory in use, 95th percentile of shares"
      lines = [["", "${local.in_pools} AND metric.type=\"run.googleapis.com/container/memory/utilizations\"", "ALIGN_DELTA", "REDUCE_PERCENTILE_95", ["resource.label.worker_pool_name"]]]
    },
    ], [
    for name in keys(local.rebuilds) : {
      title = "Rebuilds of the images that failed"
      lines = [for part, filter in local.rebuild_filters : [part, filter, "ALIGN_DELTA", "REDUCE_SUM", []]]
    }
  ])
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

# What ../global made, by its names. They are fixed, so that a region can be planned without access to the other state.

locals {
  results_bucket = coalesce(var.results_bucket, "${var.project}-clips")

  email = { for role in ["control", "dispatcher", "worker", "status", "scaler"] : role => "clipfleet-${role}@${var.project}.iam.gserviceaccount.com" }

  # Settings of every role; see `clipfleet ROLE --help`.
  role_environment = merge({
    GOOGLE_CLOUD_PROJECT = var.project
    CLIPFLEET_DATABASE   = var.database
    CLIPFLEET_LOG_FORMAT = "json" # log-based metrics and alerts read its fields
    }, var.traces == null ? {} : {
    OTEL_EXPORTER_OTLP_ENDPOINT = var.traces.endpoint
    CLIPFLEET_TRACE_SHARE       = tostring(var.traces.share)
  })

  # Settings of dispatcher and workers. The queue is a border of trust: a worker checks again what the dispatcher
  # accepted.
  places_environment = {
    CLIPFLEET_OUTPUT_LINKS = var.output_links
    CLIPFLEET_SOURCES      = join(",", var.sources)
    CLIPFLEET_OUTPUTS      = join(",", var.outputs)
  }
}

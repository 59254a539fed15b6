# Values that several files use, and the APIs that all resources need.

data "google_project" "this" {
  project_id = var.project
}

locals {
  apis = toset([
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "firebaserules.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs the URLs of results
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "storage.googleapis.com",
  ])

  deployed = var.services_image != null && var.worker_image != null ? 1 : 0

  # Settings of every role; see `clipfleet ROLE --help`.
  role_environment = merge({
    GOOGLE_CLOUD_PROJECT = var.project
    CLIPFLEET_LOG_FORMAT = "json" # log-based metrics and alerts read its fields
    }, var.traces == null ? {} : {
    OTEL_EXPORTER_OTLP_ENDPOINT = var.traces.endpoint
    CLIPFLEET_TRACE_SHARE       = tostring(var.traces.share)
  })
}

resource "google_project_service" "api" {
  for_each = local.apis

  service            = each.value
  disable_on_destroy = false
}

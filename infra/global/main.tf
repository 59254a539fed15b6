# The APIs that all resources need, those of ../region included.

locals {
  # Taken from that account's address, and not from a data source: the plan would have to read the project, which a
  # project refuses whose Resource Manager API is off.
  project_number = regex("^service-([0-9]+)@", google_project_service_identity.pubsub.email)[0]

  apis = toset(concat(var.rebuild == null ? [] : ["cloudscheduler.googleapis.com"], [
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbuild.googleapis.com", # deploy.sh --builder cloud
    "cloudresourcemanager.googleapis.com",
    "containerscanning.googleapis.com", # the registry's vulnerability scanning
    "firebaserules.googleapis.com",
    "firestore.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com", # signs the URLs of results
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
  ]))
}

resource "google_project_service" "api" {
  for_each = local.apis

  service            = each.value
  disable_on_destroy = false
}

# Pub/Sub's own account, which moves dead letters. In a new project it does not exist before its first use, and a
# binding to an account that does not exist is refused.
resource "google_project_service_identity" "pubsub" {
  provider = google-beta

  service = "pubsub.googleapis.com"

  depends_on = [google_project_service.api]
}

output "image_repository" {
  description = "Repository to push images to."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "results_bucket" {
  description = "Bucket of results."
  value       = local.results_bucket
}

output "request_topic" {
  description = "Topic to publish requests to."
  value       = "projects/${var.project}/topics/${google_pubsub_topic.this["export-requests"].name}"
}

output "service_accounts" {
  description = "Account of each role, and of the process that runs several."
  value       = { for role, account in google_service_account.role : role => account.email }
}

output "build_account" {
  description = "Account for Cloud Build, for `gcloud builds submit --service-account`."
  value       = "projects/${var.project}/serviceAccounts/${google_service_account.build.email}"
}

output "project" {
  description = "Id of the project."
  value       = var.project
}

output "database" {
  description = "Firestore database of the status documents."
  value       = var.database
}

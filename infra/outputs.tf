output "image_repository" {
  description = "Repository to push images to."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "results_bucket" {
  description = "Bucket of results."
  value       = google_storage_bucket.results.name
}

output "request_topic" {
  description = "Topic to publish requests to."
  value       = google_pubsub_topic.this["export-requests"].id
}

output "dispatcher_url" {
  description = "Address of the HTTP API. Callers send an ID token with this audience. Null before the images exist."
  value       = one([for role, service in google_cloud_run_v2_service.role : service.uri if role == "dispatcher"])
}

output "worker_pools" {
  description = "Names of the pools, for `gcloud run worker-pools update --instances`."
  value       = { for name, pool in google_cloud_run_v2_worker_pool.worker : name => pool.name }
}

output "service_accounts" {
  description = "Account of each role."
  value       = { for role, account in google_service_account.role : role => account.email }
}

output "project" {
  description = "Id of the project."
  value       = var.project
}

output "image_repository" {
  description = "Where images are pushed to."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "results_bucket" {
  description = "Bucket of results."
  value       = google_storage_bucket.results.name
}

output "request_topic" {
  description = "Topic that requests are published to."
  value       = google_pubsub_topic.this["export-requests"].id
}

output "dispatcher_url" {
  description = "Address of the HTTP API; callers send an ID token with it as audience. Null before images are there."
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

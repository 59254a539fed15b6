output "dispatcher_url" {
  description = "Address of the HTTP API. Callers send an ID token with this audience. Null where no service of the region serves it."
  value       = one([for name, service in google_cloud_run_v2_service.role : service.uri if name == local.api_service])
}

output "worker_pools" {
  description = "Names of the pools, for `gcloud run worker-pools update --instances`."
  value       = { for name, pool in google_cloud_run_v2_worker_pool.worker : name => pool.name }
}

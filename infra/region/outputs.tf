output "dispatcher_url" {
  description = "Address of the HTTP API. Callers send an ID token with this audience. Null where the region has no dispatcher."
  value       = one([for role, service in google_cloud_run_v2_service.role : service.uri if role == "dispatcher"])
}

output "worker_pools" {
  description = "Names of the pools, for `gcloud run worker-pools update --instances`."
  value       = { for name, pool in google_cloud_run_v2_worker_pool.worker : name => pool.name }
}

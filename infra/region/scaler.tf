# The permissions of the scaler: it sets the instance count of its pool, and of the one that helps out. Its service is in
# services.tf, its subscription and its account in ../global.

locals {
  # The service that runs the scaler, if any.
  scaler_service = var.scaler.pool == "none" ? null : one(setintersection(var.services, ["control", "scaler"]))

  # CPUs help out while GPUs are missing.
  overflow_pool = var.scaler.overflow && var.scaler.pool == "gpu" && var.cpu_worker.max > 0 ? "cpu" : null
  scaled_pools  = compact([var.scaler.pool, local.overflow_pool]) # "none" is no pool
}

# On these pools only.
resource "google_cloud_run_v2_worker_pool_iam_member" "scaler" {
  for_each = {
    for name in keys(local.pools) : "${local.scaler_service} sizes ${name}" => name if local.scaler_service != null && contains(local.scaled_pools, name)
  }

  name     = google_cloud_run_v2_worker_pool.worker[each.value].name
  location = var.region
  role     = "projects/${var.project}/roles/clipfleetPoolSize"
  member   = "serviceAccount:${local.email[local.scaler_service]}"
}

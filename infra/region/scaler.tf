# The permissions of the scaler: it sets the instance count of one pool. Its service is in services.tf, its subscription
# and its account in ../global.

# On this one pool only.
resource "google_cloud_run_v2_worker_pool_iam_member" "scaler" {
  for_each = {
    for name, pool in local.pools : name => pool if contains(var.services, "scaler") && name == var.scaler.pool
  }

  name     = google_cloud_run_v2_worker_pool.worker[each.key].name
  location = var.region
  role     = "projects/${var.project}/roles/clipfleetPoolSize"
  member   = "serviceAccount:${local.email["scaler"]}"
}

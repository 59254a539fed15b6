# The permissions of the scaler: it sets the instance count of one pool. Its service is in services.tf, its subscription
# in queue.tf, its account in accounts.tf.

# `run.developer` also allows changing the pool's image; no narrower role exists. It is bound on this one pool only.
resource "google_cloud_run_v2_worker_pool_iam_member" "scaler" {
  for_each = {
    for name, pool in local.pools : name => pool if var.scaler_enabled && local.deployed == 1 && name == var.scaler.pool
  }

  name     = google_cloud_run_v2_worker_pool.worker[each.key].name
  location = var.region
  role     = "roles/run.developer"
  member   = local.account["scaler"]
}

resource "google_service_account_iam_member" "scaler_acts_as_worker" {
  count = var.scaler_enabled ? 1 : 0

  service_account_id = google_service_account.role["worker"].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.account["scaler"]
}

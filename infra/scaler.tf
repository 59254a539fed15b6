# What the scaler may do: set one pool's count. Its service comes from services.tf, subscription and account from queue.tf and accounts.tf.

# `run.developer` may change a pool's image as well as its count; there is no narrower role. It is bound on the one pool and nothing else.
resource "google_cloud_run_v2_worker_pool_iam_member" "scaler" {
  for_each = { for name, it in local.pools : name => it if var.scaler_enabled && local.deployed == 1 && name == var.scaler.pool }

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

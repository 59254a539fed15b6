# The place of the scaler: one instance that reads progress events and sets the pools' counts. The program has no such role yet, so nothing of
# this is made unless scaler_enabled says so; subscription and account come from queue.tf and accounts.tf.

resource "google_cloud_run_v2_service" "scaler" {
  count = var.scaler_enabled ? local.deployed : 0

  name                = "clipfleet-scaler"
  location            = var.region
  description         = local.roles["scaler"]
  deletion_protection = var.deletion_protection
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"

  template {
    service_account       = google_service_account.role["scaler"].email
    execution_environment = "EXECUTION_ENVIRONMENT_GEN2"

    # One writer of the counts.
    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }

    containers {
      image = var.services_image
      args  = ["scaler"]

      ports {
        container_port = 8080
      }

      resources {
        cpu_idle = false
        limits = {
          cpu    = "1"
          memory = "512Mi"
        }
      }

      dynamic "env" {
        for_each = local.role_environment
        content {
          name  = env.key
          value = env.value
        }
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 1
        failure_threshold = 60
        http_get {
          path = "/ready"
        }
      }

      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 3
        failure_threshold = 6
        http_get {
          path = "/health"
        }
      }
    }
  }

  lifecycle {
    ignore_changes = [traffic, client, client_version]
  }
}

# `run.developer` may change a pool's image as well as its count; there is no narrower role. It is bound on the two pools and nothing else.
resource "google_cloud_run_v2_worker_pool_iam_member" "scaler" {
  for_each = { for name, it in local.pools : name => it if var.scaler_enabled && local.deployed == 1 }

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

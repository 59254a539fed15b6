# Two pools that lease from the same subscription: one with a GPU, one without. Neither pool scales itself: Cloud Run
# does not scale pools with GPUs, and it stops any instance, busy or idle. The scaler or an operator sets the instance
# count, and deploy/deploy.sh the image and the instance split. Terraform makes a pool, and changes its shape.
#
# `ignore_changes` keeps those three out of a plan, but not out of an update: the provider sends the whole pool, with
# the values that it read when it planned. A count that the scaler set since then is set back. So an apply must follow
# its plan at once: deploy.sh plans again right before it applies and does not wait for an answer in between.

locals {
  pools = { for name, pool in local.every_pool : name => pool if name != "gpu" || var.l4_quota > 0 }

  every_pool = {
    gpu = {
      shape       = var.gpu_worker
      accelerator = true
      environment = { GPU_ENABLED = var.gpu_worker.gpu_enabled }
      gpus        = 1
    }
    cpu = {
      shape       = var.cpu_worker
      accelerator = false
      environment = { GPU_ENABLED = "false" }
      gpus        = 0
    }
  }
}

resource "google_cloud_run_v2_worker_pool" "worker" {
  for_each = local.pools

  name                = "clipfleet-worker-${each.key}"
  location            = var.region
  description         = "Encodes clips ${each.value.accelerator ? "on an L4" : "on CPUs"}"
  deletion_protection = var.deletion_protection

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = each.value.shape.initial_count
  }

  template {
    service_account = local.email["worker"]
    # The outage of a zone delays clips by a minute and loses no batch. Redundancy costs half as much again, and has its
    # own quota.
    gpu_zonal_redundancy_disabled = each.value.accelerator ? true : null

    dynamic "node_selector" {
      for_each = each.value.accelerator ? ["nvidia-l4"] : []
      content {
        accelerator = node_selector.value
      }
    }

    containers {
      image = var.worker_image
      args  = ["worker"]

      resources {
        limits = merge(
          {
            cpu    = tostring(each.value.shape.cpu)
            memory = "${each.value.shape.memory_gib}Gi"
          },
          each.value.accelerator ? { "nvidia.com/gpu" = "1" } : {},
        )
      }

      dynamic "env" {
        for_each = { for name, value in merge(local.role_environment, local.places_environment, each.value.environment, {
          CLIPFLEET_PRICES = var.prices == null ? "" : var.prices
          # Cloud Run sets no PORT in a pool. The probes below use this one.
          CLIPFLEET_LISTEN    = "0.0.0.0:8080"
          CLIPFLEET_SLOTS     = tostring(each.value.shape.slots)
          CLIPFLEET_CACHE_MIB = tostring(each.value.shape.cache_mib)
          # The estimated cost of a clip is its share of this instance.
          CLIPFLEET_MACHINE = "vcpu=${each.value.shape.cpu},gib=${each.value.shape.memory_gib},gpu=${each.value.gpus}"
        }) : name => value if value != "" }
        content {
          name  = env.key
          value = env.value
        }
      }

      # The worker tests its encoders before it is ready. Cloud Run waits at most 4 minutes.
      startup_probe {
        period_seconds    = 5
        timeout_seconds   = 3
        failure_threshold = 46
        http_get {
          path = "/ready"
          port = 8080
        }
      }

      # Checks only that the process runs: a GPU that hangs costs an attempt, not the instance.
      liveness_probe {
        period_seconds    = 10
        timeout_seconds   = 5
        failure_threshold = 6
        http_get {
          path = "/health"
          port = 8080
        }
      }
    }
  }

  lifecycle {
    # Cloud Run refuses instances beyond these quotas, and a pool would stay below its maximum for ever.
    precondition {
      condition     = each.value.shape.max * each.value.shape.cpu + local.services_cpu <= var.cpu_quota
      error_message = "${each.value.shape.max} workers of ${each.value.shape.cpu} vCPU and the services' ${local.services_cpu} exceed cpu_quota, ${var.cpu_quota}: lower ${each.key}_worker.max, or request quota and raise cpu_quota."
    }
    precondition {
      condition     = each.value.shape.max * each.value.shape.memory_gib + local.services_memory_gib <= var.memory_quota_gib
      error_message = "${each.value.shape.max} workers of ${each.value.shape.memory_gib} GiB and the services' ${local.services_memory_gib} exceed memory_quota_gib, ${var.memory_quota_gib}: lower ${each.key}_worker.max, or request quota and raise memory_quota_gib."
    }

    ignore_changes = [
      scaling[0].manual_instance_count, # the scaler's or an operator's
      template[0].containers[0].image,  # deploy.sh's
      instance_splits,                  # deploy.sh's
      client,
      client_version,
    ]
  }
}

resource "google_cloud_run_v2_worker_pool_iam_member" "operator" {
  for_each = {
    for pair in setproduct(keys(local.pools), var.operators) : "${pair[0]} ${pair[1]}" => { pool = pair[0], member = pair[1] }
  }

  name     = google_cloud_run_v2_worker_pool.worker[each.value.pool].name
  location = var.region
  role     = "projects/${var.project}/roles/clipfleetOperator"
  member   = each.value.member
}

# Dispatcher, status and, where it is enabled, the scaler: as one service, `clipfleet-control`, or as one each. All of
# them pull from Pub/Sub and serve HTTP. So each always has an instance whose CPU is always allocated: a service at zero
# instances receives no messages.

locals {
  # Settings of each role besides those of every role.
  settings = {
    dispatcher = merge(local.places_environment, local.callers_environment, {
      CLIPFLEET_DEFAULT_BUCKET  = local.results_bucket
      CLIPFLEET_ALLOWED_BUCKETS = join(",", sort(var.source_buckets))
      CLIPFLEET_SURFACE         = var.surface == "all" ? "" : var.surface
    })
    status = {
      CLIPFLEET_LEGACY_MIRROR = tostring(var.legacy_mirror)
    }
    # Without a pool, `clipfleet serve` runs no scaler.
    scaler = var.scaler.pool == "none" ? {} : {
      CLIPFLEET_SCALER_POOL                   = "projects/${var.project}/locations/${var.region}/workerPools/clipfleet-worker-${var.scaler.pool}"
      CLIPFLEET_SCALER_MAX                    = tostring(local.every_pool[var.scaler.pool].shape.max)
      CLIPFLEET_SCALER_MIN                    = tostring(var.scaler.min)
      CLIPFLEET_SCALER_MIN_SCHEDULE           = var.scaler.min_schedule
      CLIPFLEET_SCALER_BACKLOG_TARGET_SECONDS = tostring(var.scaler.backlog_target_seconds)
      CLIPFLEET_SCALER_OVERFLOW_POOL          = local.overflow_pool == null ? "" : "projects/${var.project}/locations/${var.region}/workerPools/clipfleet-worker-${local.overflow_pool}"
      CLIPFLEET_SCALER_OVERFLOW_MAX           = local.overflow_pool == null ? "" : tostring(var.cpu_worker.max)
      CLIPFLEET_SCALER_DRY_RUN                = tostring(var.scaler.dry_run)
      CLIPFLEET_SLOTS                         = tostring(local.every_pool[var.scaler.pool].shape.slots)
    }
  }

  services = {
    control = {
      description = "Accepts batches, publishes jobs, folds events, sets the size of a worker pool"
      command     = "serve"
      environment = merge(values(local.settings)...)
      # One, since of its roles only the dispatcher gains from a second one.
      max_instances = 1
      cpu           = "1"
      memory        = "1024Mi"
    }
    dispatcher = {
      description = "Accepts batches, publishes jobs"
      command     = "dispatcher"
      environment = local.settings["dispatcher"]
      # Several instances may pull at once, so a second one takes over immediately when Cloud Run moves the first.
      max_instances = 3
      cpu           = "1"
      memory        = "512Mi"
    }
    status = {
      description = "Folds events into documents"
      command     = "status"
      environment = local.settings["status"]
      # One instance folds 10,000 events a second. Two would be correct, too, but they would write the same documents
      # and have to read them again after each conflict.
      max_instances = 1
      cpu           = "1"
      memory        = "1024Mi"
    }
    scaler = {
      description = "Sets the size of a worker pool"
      command     = "scaler"
      environment = local.settings["scaler"]
      # One instance leads and any other waits. During a rollout there are briefly two.
      max_instances = 1
      cpu           = "1"
      memory        = "512Mi"
    }
  }

  # The service that serves the HTTP API, if any.
  api_service = one(setintersection(var.services, ["control", "dispatcher"]))

  # What the services of this region take at most, for the check against the quotas.
  services_cpu        = sum(concat([0], [for role in var.services : local.services[role].max_instances * tonumber(local.services[role].cpu)]))
  services_memory_gib = sum(concat([0], [for role in var.services : local.services[role].max_instances * tonumber(trimsuffix(local.services[role].memory, "Mi")) / 1024]))

  invokers = local.api_service == null ? [] : setunion(var.requesters, var.operators)

  # The e-mail address in the token of a service account. Tokens name no groups, and gcloud makes a user's only for
  # Google's own audiences, so that groups and users act as a service account (deploy/runbook.md, A token is refused).
  token_emails = {
    for right, members in { requesters = var.requesters, operators = var.operators } : right => sort([
      for member in members : trimprefix(member, "serviceAccount:") if startswith(member, "serviceAccount:")
    ])
  }

  # Who may call the API, as the dispatcher checks it by itself. Without these settings, IAM is the only check.
  callers_environment = {
    CLIPFLEET_FIREBASE_PROJECT = var.firebase_project == null ? "" : var.firebase_project
    CLIPFLEET_AUDIENCE         = var.audience == null ? "" : var.audience
    CLIPFLEET_REQUESTERS       = var.audience == null ? "" : join(",", local.token_emails["requesters"])
    CLIPFLEET_OPERATORS        = var.audience == null ? "" : join(",", local.token_emails["operators"])
  }
}

# Warnings of a plan: these settings are valid, and shut somebody out.
check "service_accounts_may_call" {
  assert {
    condition     = var.firebase_project == null || var.audience != null || length(flatten(values(local.token_emails))) == 0
    error_message = "firebase_project without audience: the API refuses the service accounts among requesters and operators, which may only publish to the topic. Set audience to let them call."
  }
}

check "operators_may_call" {
  assert {
    condition     = var.firebase_project == null && var.audience == null || length(local.callers_environment["CLIPFLEET_OPERATORS"]) > 0
    error_message = "No caller may pause the fleet or redrive dead letters: with firebase_project or audience, that takes the token of a service account in operators, and an audience."
  }
}

resource "google_cloud_run_v2_service" "role" {
  for_each = {
    for role, service in local.services : role => service if contains(var.services, role)
  }

  name                = "clipfleet-${each.key}"
  location            = var.region
  description         = each.value.description
  deletion_protection = var.deletion_protection
  # IAM authenticates callers. Cloud Functions call the API from outside the network; no client calls status.
  ingress = each.key == local.api_service ? "INGRESS_TRAFFIC_ALL" : "INGRESS_TRAFFIC_INTERNAL_ONLY"
  # A browser has no identity that IAM knows: then the dispatcher's own check is the only one.
  invoker_iam_disabled = each.key == local.api_service && var.public_api ? true : null
  # The same token serves IAM and the dispatcher.
  custom_audiences = each.key == local.api_service && var.audience != null ? [var.audience] : null

  template {
    service_account                  = local.email[each.key]
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    timeout                          = "60s"
    max_instance_request_concurrency = 80

    scaling {
      min_instance_count = 1
      max_instance_count = each.value.max_instances
    }

    containers {
      image = var.services_image
      args  = [each.value.command]

      # Cloud Run sets PORT, and the role listens there.
      ports {
        container_port = 8080
      }

      resources {
        cpu_idle          = false
        startup_cpu_boost = true
        limits = {
          cpu    = each.value.cpu
          memory = each.value.memory
        }
      }

      dynamic "env" {
        for_each = { for name, value in merge(local.role_environment, each.value.environment) : name => value if value != "" }
        content {
          name  = env.key
          value = env.value
        }
      }

      # A role is ready once it has reached the services that it needs. A revision that cannot (for example without
      # permissions) never replaces a working one. Cloud Run waits at most 4 minutes, and new permissions take some
      # minutes to act.
      startup_probe {
        period_seconds    = 4
        timeout_seconds   = 3
        failure_threshold = 58
        http_get {
          path = "/ready"
        }
      }

      # `/health` only reports that the process runs: an outage of Pub/Sub must not restart it.
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

  # deploy.sh sets the image and the traffic.
  lifecycle {
    ignore_changes = [template[0].containers[0].image, traffic, client, client_version]
  }
}

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  for_each = { for member in local.invokers : "${local.api_service} ${member}" => member }

  name     = google_cloud_run_v2_service.role[local.api_service].name
  location = var.region
  role     = "roles/run.invoker"
  member   = each.value
}

resource "google_cloud_run_v2_service_iam_member" "operator" {
  for_each = { for pair in setproduct(var.services, var.operators) : "${pair[0]} ${pair[1]}" => { service = pair[0], member = pair[1] } }

  name     = google_cloud_run_v2_service.role[each.value.service].name
  location = var.region
  role     = "projects/${var.project}/roles/clipfleetOperator"
  member   = each.value.member
}

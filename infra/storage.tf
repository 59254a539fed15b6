# The bucket of results. Sources lie in buckets of the product, which are only named.

locals {
  results_bucket = coalesce(var.results_bucket, "${var.project}-clips")
}

resource "google_storage_bucket" "results" {
  name                        = local.results_bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  # A clip is written once and never overwritten, so what becomes noncurrent was deleted by someone: kept for a while against mistakes.
  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 0 # versioning does it, by name and for less
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 7
      with_state                 = "ARCHIVED"
    }
    action {
      type = "Delete"
    }
  }

  # For other tools that write here; what a dying worker left half sent ends by itself after a week, and costs nothing meanwhile.
  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  # Manifests and covers belong to the clip that names them, and a dead attempt's to none. A lifecycle rule cannot tell the two apart, so it
  # never deletes either before the clips themselves: with a retention, all go together; without, the few orphans stay (some kB each).
  dynamic "lifecycle_rule" {
    for_each = var.results_retention_days == null ? [] : [var.results_retention_days]
    content {
      condition {
        age        = lifecycle_rule.value
        with_state = "LIVE"
      }
      action {
        type = "Delete"
      }
    }
  }

  # Pages play results by signed URL; players ask for ranges.
  dynamic "cors" {
    for_each = length(var.browser_origins) == 0 ? [] : [var.browser_origins]
    content {
      origin          = cors.value
      method          = ["GET", "HEAD"]
      response_header = ["Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "ETag"]
      max_age_seconds = 3600
    }
  }

  depends_on = [google_project_service.api]
}

# Creates clips, looks whether they are there, and deletes what its own dead attempts left: not `objectCreator`, which cannot look.
resource "google_storage_bucket_iam_member" "worker_results" {
  bucket = google_storage_bucket.results.name
  role   = "roles/storage.objectUser"
  member = local.account["worker"]
}

# Sources may lie beside results: a result of one export can be the source of the next.
resource "google_storage_bucket_iam_member" "dispatcher_results" {
  bucket = google_storage_bucket.results.name
  role   = "roles/storage.objectViewer"
  member = local.account["dispatcher"]
}

resource "google_storage_bucket_iam_member" "source" {
  for_each = { for pair in setproduct(["dispatcher", "worker"], var.source_buckets) : "${pair[0]} ${pair[1]}" => pair }

  bucket = each.value[1]
  role   = "roles/storage.objectViewer"
  member = local.account[each.value[0]]
}

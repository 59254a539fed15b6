# The bucket of results. Sources are in buckets of the product, which are not managed here.

locals {
  results_bucket = coalesce(var.results_bucket, "${var.project}-clips")

  # As the programs decide it: `auto` is `firebase` for the buckets of Firebase, which have these names.
  links_are_signed = var.output_links == "signed" || var.output_links == "auto" && !can(regex("[.](appspot[.]com|firebasestorage[.]app)$", local.results_bucket))
}

moved {
  from = google_storage_bucket.results
  to   = google_storage_bucket.results[0]
}

resource "google_storage_bucket" "results" {
  count = var.create_results_bucket ? 1 : 0

  name                        = local.results_bucket
  location                    = coalesce(var.results_location, var.region)
  uniform_bucket_level_access = true
  public_access_prevention    = var.output_links == "public" ? "inherited" : "enforced"
  force_destroy               = !var.deletion_protection

  # A clip is written once and never overwritten, so an object becomes noncurrent only when it is deleted. It is kept
  # for a while in case that was a mistake.
  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 0 # versioning does the same, by name and at a lower price
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

  # For other tools that write here. The unfinished upload of a worker that died expires by itself after a week and
  # costs nothing until then.
  lifecycle_rule {
    condition {
      age = 1
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }

  # A manifest or cover belongs to the clip that names it; those of a dead attempt belong to no clip. A lifecycle rule
  # cannot tell the two apart, so none deletes them before the clips: with a retention, all are deleted together;
  # without one, the few orphans stay (some kB each).
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

  # Pages play results by their links, and players request ranges.
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

# The worker creates clips, checks whether they exist, and deletes the objects of its own failed attempts.
# `objectCreator` would not suffice: it cannot read.
resource "google_storage_bucket_iam_member" "worker_results" {
  bucket = local.results_bucket
  role   = "roles/storage.objectUser"
  member = local.account["worker"]

  depends_on = [google_storage_bucket.results]
}

# Everybody who knows the name of a result reads it; this role lists nothing. Only where that was asked for.
resource "google_storage_bucket_iam_member" "public" {
  # checkov:skip=CKV_GCP_28: off unless output_links is "public", which means exactly this.
  count = var.output_links == "public" ? 1 : 0

  bucket = local.results_bucket
  role   = "roles/storage.legacyObjectReader"
  member = "allUsers"

  depends_on = [google_storage_bucket.results]
}

# The bucket of results may also hold sources: the result of one export can be the source of the next.
resource "google_storage_bucket_iam_member" "dispatcher_results" {
  for_each = toset(local.accounts_of["dispatcher"])

  bucket = local.results_bucket
  role   = "roles/storage.objectViewer"
  member = local.account[each.key]

  depends_on = [google_storage_bucket.results]
}

resource "google_storage_bucket_iam_member" "source" {
  for_each = { for pair in setproduct(concat(local.accounts_of["dispatcher"], local.accounts_of["worker"]), var.source_buckets) : "${pair[0]} ${pair[1]}" => pair }

  bucket = each.value[1]
  role   = "roles/storage.objectViewer"
  member = local.account[each.value[0]]
}

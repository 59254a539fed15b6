# Firestore: the database of status documents, what is indexed, what expires, who may read.

locals {
  # Collection groups whose documents carry expiresAt. Deletion follows within a day or so, and costs one delete each.
  expiring = toset(["exportBatches", "clips", "exportRequests"])

  # Fields that nobody looks for by value. Each indexed field costs every write (a document is written up to once a second); an index on a time
  # that only grows bears about 500 writes a second in a whole collection; and indexed arrays and maps count towards 40,000 entries per document.
  unindexed = {
    exportBatches  = ["updatedAt", "etaSeconds", "progress"]
    clips          = ["updatedAt", "etaSeconds", "progress", "attemptStartedAt", "fold", "history", "failureCodes", "timings", "usage", "outputUrl", "coverUrl"]
    exportRequests = ["request", "acceptedAtMs", "repairedAtMs", "retried"]
  }

  unindexed_fields = merge([
    for collection, fields in local.unindexed : { for field in fields : "${collection}.${field}" => { collection = collection, field = field } }
  ]...)
}

resource "google_firestore_database" "this" {
  count = var.create_database ? 1 : 0

  name                              = "(default)"
  location_id                       = coalesce(var.firestore_location, var.region)
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC" # writes of ours carry preconditions and hold no locks
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.deletion_protection ? "ABANDON" : "DELETE"

  depends_on = [google_project_service.api]
}

# The programs' own searches ask for one field's value in the order of names, which needs no composite index. These two are for pages: a
# person's batches, and a project's, newest first. The security rules make every query name its owner.
resource "google_firestore_index" "batches_of" {
  for_each = {
    owner   = ["ownerUid"]
    project = ["ownerUid", "projectId"]
  }

  database   = "(default)"
  collection = "exportBatches"

  dynamic "fields" {
    for_each = each.value
    content {
      field_path = fields.value
      order      = "ASCENDING"
    }
  }
  fields {
    field_path = "createdAt"
    order      = "DESCENDING"
  }

  depends_on = [google_firestore_database.this]
}

resource "google_firestore_field" "expires_at" {
  for_each = local.expiring

  database   = "(default)"
  collection = each.value
  field      = "expiresAt"

  ttl_config {}
  # TTL needs no index, and one on a growing time would be a hot spot.
  index_config {}

  depends_on = [google_firestore_database.this]
}

resource "google_firestore_field" "unindexed" {
  for_each = local.unindexed_fields

  database   = "(default)"
  collection = each.value.collection
  field      = each.value.field

  index_config {}

  depends_on = [google_firestore_database.this]
}

resource "google_firebaserules_ruleset" "firestore" {
  count = var.release_firestore_rules ? 1 : 0

  source {
    files {
      name    = "firestore.rules"
      content = file("${path.module}/firestore.rules")
    }
  }

  # The old set can only go when the release names the new one.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_firestore_database.this]
}

resource "google_firebaserules_release" "firestore" {
  count = var.release_firestore_rules ? 1 : 0

  name         = "cloud.firestore"
  ruleset_name = google_firebaserules_ruleset.firestore[0].name

  lifecycle {
    replace_triggered_by = [google_firebaserules_ruleset.firestore]
  }
}

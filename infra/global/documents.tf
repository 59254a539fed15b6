# Firestore: the database of the status documents, its indexes, its TTL and its security rules.

locals {
  # Collection groups whose documents have expiresAt. Firestore deletes them within about a day after that time, at the
  # price of one delete each.
  expiring = toset(["exportBatches", "clips", "exportRequests"])

  # Fields that no query filters by. An index costs something at every write of its field, and a document is written up
  # to once a second. An index on an increasing time limits a collection to about 500 writes a second. Indexed arrays
  # and maps count towards the limit of 40,000 index entries per document.
  unindexed = {
    exportBatches  = ["updatedAt", "etaSeconds", "progress", "conflict"]
    clips          = ["updatedAt", "etaSeconds", "progress", "attemptStartedAt", "fold", "history", "failureCodes", "timings", "usage", "outputUrl", "coverUrl"]
    exportRequests = ["request", "sourceUri", "acceptedAtMs", "repairedAtMs", "retried"]
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
  concurrency_mode                  = "OPTIMISTIC" # our writes carry preconditions and hold no locks
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.deletion_protection ? "ABANDON" : "DELETE"

  depends_on = [google_project_service.api]
}

# Most of the programs' own queries filter by one field and sort by document name, which needs no composite index. The
# list of batches (GET /v1/batches) filters by any of owner, project and status, latest first: Firestore merges these
# indexes, since all of them have the same order. The second one serves pages that list the batches of a project; the
# security rules require that every query of a page filters by its owner.
resource "google_firestore_index" "batches_of" {
  for_each = {
    owner         = ["ownerUid"]
    owner_project = ["ownerUid", "projectId"]
    project       = ["projectId"]
    status        = ["status"]
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
  # TTL needs no index, and an index on an increasing time would be a hot spot.
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

  # The old ruleset can only be deleted once the release names the new one.
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

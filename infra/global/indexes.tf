# Indexes, exemptions from them and TTL. Firestore changes one of these at a time, and refuses the others with "too much
# contention" or "underlying data changed", of which the provider retries only some. So each waits for the one before:
# they form one chain, to whose end a new one is added. The first apply is slow for that.

# Most of the programs' own queries filter by one field and sort by document name, which needs no composite index. The
# list of batches (GET /v1/batches) filters by any of owner, project and status, latest first: Firestore merges these
# indexes, since all of them have the same order. The second one serves pages that list the batches of a project; the
# security rules require that every query of a page filters by its owner.
resource "google_firestore_index" "batches_of_owner" {
  database   = var.database
  collection = "exportBatches"

  fields {
    field_path = "ownerUid"
    order      = "ASCENDING"
  }
  fields {
    field_path = "createdAt"
    order      = "DESCENDING"
  }

  depends_on = [google_firestore_database.this]
}

resource "google_firestore_index" "batches_of_owner_project" {
  database   = var.database
  collection = "exportBatches"

  fields {
    field_path = "ownerUid"
    order      = "ASCENDING"
  }
  fields {
    field_path = "projectId"
    order      = "ASCENDING"
  }
  fields {
    field_path = "createdAt"
    order      = "DESCENDING"
  }

  depends_on = [google_firestore_index.batches_of_owner]
}

resource "google_firestore_index" "batches_of_project" {
  database   = var.database
  collection = "exportBatches"

  fields {
    field_path = "projectId"
    order      = "ASCENDING"
  }
  fields {
    field_path = "createdAt"
    order      = "DESCENDING"
  }

  depends_on = [google_firestore_index.batches_of_owner_project]
}

resource "google_firestore_index" "batches_of_status" {
  database   = var.database
  collection = "exportBatches"

  fields {
    field_path = "status"
    order      = "ASCENDING"
  }
  fields {
    field_path = "createdAt"
    order      = "DESCENDING"
  }

  depends_on = [google_firestore_index.batches_of_project]
}

# Collection groups whose documents have expiresAt. Firestore deletes them within about a day after that time, at the
# price of one delete each. TTL needs no index, and an index on an increasing time would be a hot spot.

resource "google_firestore_field" "batches_expires_at" {
  database   = var.database
  collection = "exportBatches"
  field      = "expiresAt"

  ttl_config {}
  index_config {}

  depends_on = [google_firestore_index.batches_of_status]
}

resource "google_firestore_field" "clips_expires_at" {
  database   = var.database
  collection = "clips"
  field      = "expiresAt"

  ttl_config {}
  index_config {}

  depends_on = [google_firestore_field.batches_expires_at]
}

resource "google_firestore_field" "requests_expires_at" {
  database   = var.database
  collection = "exportRequests"
  field      = "expiresAt"

  ttl_config {}
  index_config {}

  depends_on = [google_firestore_field.clips_expires_at]
}

# Fields that no query filters by. An index costs something at every write of its field, and a document is written up to
# once a second. An index on an increasing time limits a collection to about 500 writes a second. Indexed arrays and
# maps count towards the limit of 40,000 index entries per document.

resource "google_firestore_field" "batches_updated_at" {
  database   = var.database
  collection = "exportBatches"
  field      = "updatedAt"

  index_config {}

  depends_on = [google_firestore_field.requests_expires_at]
}

resource "google_firestore_field" "batches_eta_seconds" {
  database   = var.database
  collection = "exportBatches"
  field      = "etaSeconds"

  index_config {}

  depends_on = [google_firestore_field.batches_updated_at]
}

resource "google_firestore_field" "batches_progress" {
  database   = var.database
  collection = "exportBatches"
  field      = "progress"

  index_config {}

  depends_on = [google_firestore_field.batches_eta_seconds]
}

resource "google_firestore_field" "batches_conflict" {
  database   = var.database
  collection = "exportBatches"
  field      = "conflict"

  index_config {}

  depends_on = [google_firestore_field.batches_progress]
}

resource "google_firestore_field" "clips_updated_at" {
  database   = var.database
  collection = "clips"
  field      = "updatedAt"

  index_config {}

  depends_on = [google_firestore_field.batches_conflict]
}

resource "google_firestore_field" "clips_eta_seconds" {
  database   = var.database
  collection = "clips"
  field      = "etaSeconds"

  index_config {}

  depends_on = [google_firestore_field.clips_updated_at]
}

resource "google_firestore_field" "clips_progress" {
  database   = var.database
  collection = "clips"
  field      = "progress"

  index_config {}

  depends_on = [google_firestore_field.clips_eta_seconds]
}

resource "google_firestore_field" "clips_attempt_started_at" {
  database   = var.database
  collection = "clips"
  field      = "attemptStartedAt"

  index_config {}

  depends_on = [google_firestore_field.clips_progress]
}

resource "google_firestore_field" "clips_fold" {
  database   = var.database
  collection = "clips"
  field      = "fold"

  index_config {}

  depends_on = [google_firestore_field.clips_attempt_started_at]
}

resource "google_firestore_field" "clips_history" {
  database   = var.database
  collection = "clips"
  field      = "history"

  index_config {}

  depends_on = [google_firestore_field.clips_fold]
}

resource "google_firestore_field" "clips_failure_codes" {
  database   = var.database
  collection = "clips"
  field      = "failureCodes"

  index_config {}

  depends_on = [google_firestore_field.clips_history]
}

resource "google_firestore_field" "clips_timings" {
  database   = var.database
  collection = "clips"
  field      = "timings"

  index_config {}

  depends_on = [google_firestore_field.clips_failure_codes]
}

resource "google_firestore_field" "clips_usage" {
  database   = var.database
  collection = "clips"
  field      = "usage"

  index_config {}

  depends_on = [google_firestore_field.clips_timings]
}

resource "google_firestore_field" "clips_output_url" {
  database   = var.database
  collection = "clips"
  field      = "outputUrl"

  index_config {}

  depends_on = [google_firestore_field.clips_usage]
}

resource "google_firestore_field" "clips_cover_url" {
  database   = var.database
  collection = "clips"
  field      = "coverUrl"

  index_config {}

  depends_on = [google_firestore_field.clips_output_url]
}

resource "google_firestore_field" "requests_request" {
  database   = var.database
  collection = "exportRequests"
  field      = "request"

  index_config {}

  depends_on = [google_firestore_field.clips_cover_url]
}

resource "google_firestore_field" "requests_source_uri" {
  database   = var.database
  collection = "exportRequests"
  field      = "sourceUri"

  index_config {}

  depends_on = [google_firestore_field.requests_request]
}

resource "google_firestore_field" "requests_accepted_at_ms" {
  database   = var.database
  collection = "exportRequests"
  field      = "acceptedAtMs"

  index_config {}

  depends_on = [google_firestore_field.requests_source_uri]
}

resource "google_firestore_field" "requests_repaired_at_ms" {
  database   = var.database
  collection = "exportRequests"
  field      = "repairedAtMs"

  index_config {}

  depends_on = [google_firestore_field.requests_accepted_at_ms]
}

resource "google_firestore_field" "requests_retried" {
  database   = var.database
  collection = "exportRequests"
  field      = "retried"

  index_config {}

  depends_on = [google_firestore_field.requests_repaired_at_ms]
}

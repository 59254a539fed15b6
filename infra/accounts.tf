# One account per role. Every right is bound on the one resource it is needed for, beside that resource's definition; what Firestore cannot
# bind more narrowly than on the project is bound under a condition on the database.

locals {
  roles = merge(
    {
      dispatcher = "Takes batches, publishes jobs"
      worker     = "Makes clips"
      status     = "Folds events into documents"
    },
    var.scaler_enabled ? { scaler = "Sets the size of a worker pool" } : {},
  )

  account = { for role, account in google_service_account.role : role => account.member }

  # Who touches documents, and how. Workers only look whether their clip is still wanted.
  database_roles = merge(
    {
      dispatcher = "roles/datastore.user"
      worker     = "roles/datastore.viewer"
      status     = "roles/datastore.user"
    },
    var.scaler_enabled ? { scaler = "roles/datastore.user" } : {},
  )
}

resource "google_service_account" "role" {
  for_each = local.roles

  account_id   = "clipfleet-${each.key}"
  display_name = "Clipfleet ${each.key}"
  description  = each.value

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "database" {
  for_each = local.database_roles

  project = var.project
  role    = each.value
  member  = local.account[each.key]

  condition {
    title       = "clipfleet-database"
    description = "Only the database of the status documents."
    expression  = "resource.name == \"projects/${var.project}/databases/(default)\""
  }
}

# Without key files, a URL is signed by asking IAM to sign as oneself.
resource "google_service_account_iam_member" "worker_signs" {
  service_account_id = google_service_account.role["worker"].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.account["worker"]
}

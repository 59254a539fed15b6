# One account per role, and one for the process that runs dispatcher, status and scaler (`clipfleet serve`). Every
# permission is bound on the single resource that needs it, next to the definition of that resource. Firestore roles can
# only be bound on the project, so they carry a condition on the database.

locals {
  roles = merge(
    {
      control    = "Runs dispatcher, status and scaler in one process"
      dispatcher = "Accepts batches, publishes jobs"
      worker     = "Encodes clips"
      status     = "Folds events into documents"
    },
    var.scaler_enabled ? { scaler = "Sets the size of a worker pool" } : {},
  )

  # The accounts that do the work of a role. That of one process for three roles has what each of theirs has, and no
  # more: so the two layouts of ../region can run side by side.
  accounts_of = { for role in keys(local.roles) : role => role == "worker" ? [role] : [role, "control"] if role != "control" }

  scaler_accounts = lookup(local.accounts_of, "scaler", [])

  account = { for role, account in google_service_account.role : role => account.member }

  worker_account = "projects/${var.project}/serviceAccounts/${google_service_account.role["worker"].email}"

  # Access to documents. Workers only read whether their clip was cancelled or superseded.
  database_roles = merge(
    {
      control    = "roles/datastore.user"
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
    expression  = "resource.name == \"projects/${var.project}/databases/${var.database}\""
  }
}

# Cloud Build runs as this account (deploy.sh --builder cloud). Its default account is Compute Engine's, which may have
# no rights at all, or an editor's.
resource "google_service_account" "build" {
  account_id   = "clipfleet-build"
  display_name = "Clipfleet build"
  description  = "Builds images and pushes them"

  depends_on = [google_project_service.api]
}

resource "google_artifact_registry_repository_iam_member" "build_pushes" {
  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.repository_id
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.build.member
}

resource "google_project_iam_member" "build_logs" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.build.member
}

# `gcloud builds submit` uploads the source there.
resource "google_project_iam_member" "build_reads_source" {
  project = var.project
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "clipfleet-build-source"
    description = "Only the bucket that gcloud uploads sources to."
    expression  = "resource.name.startsWith(\"projects/_/buckets/${var.project}_cloudbuild/\")"
  }
}

# Where links are signed, the API signs them when they are read, by calling IAM as its own account: there are no key
# files. No other account may sign, least of all that of the workers, which read users' files.
resource "google_service_account_iam_member" "api_signs" {
  for_each = toset(local.links_are_signed ? local.accounts_of["dispatcher"] : [])

  service_account_id = "projects/${var.project}/serviceAccounts/${google_service_account.role[each.key].email}"
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.account[each.key]
}

# What the scaler may do to a pool. `roles/run.developer` would also let it delete the pool and change who may use it.
# Setting the count is an update of the pool, and no narrower permission exists, so it could also set an image: only
# Binary Authorization, which is the project's own decision, would prevent that. ../region binds it on the pool.
resource "google_project_iam_custom_role" "pool_size" {
  role_id     = "clipfleetPoolSize"
  title       = "Clipfleet pool size"
  description = "Read and update a worker pool"
  permissions = ["run.workerpools.get", "run.workerpools.update"]

  depends_on = [google_project_service.api]
}

# What an operator may do to a pool or service: set its size, its image and its split of revisions (deploy.sh promote,
# rollback and status). ../region binds it on each.
resource "google_project_iam_custom_role" "operator" {
  role_id     = "clipfleetOperator"
  title       = "Clipfleet operator"
  description = "Read and update worker pools and services, and read their revisions"
  permissions = [
    "run.revisions.get",
    "run.revisions.list",
    "run.services.get",
    "run.services.update",
    "run.workerpools.get",
    "run.workerpools.update",
  ]

  depends_on = [google_project_service.api]
}

# An operation belongs to its location and not to the pool, so that reading it cannot be granted on the pool.
resource "google_project_iam_custom_role" "operations" {
  role_id     = "clipfleetOperations"
  title       = "Clipfleet operations"
  description = "Read the operations of Cloud Run"
  permissions = ["run.operations.get"]

  depends_on = [google_project_service.api]
}

resource "google_project_iam_member" "operations" {
  for_each = merge(
    { for member in var.operators : member => member },
    { for account in local.scaler_accounts : account => local.account[account] },
  )

  project = var.project
  role    = "projects/${var.project}/roles/${google_project_iam_custom_role.operations.role_id}"
  member  = each.value
}

# An update of a pool or service requires permission to act as its account.
resource "google_service_account_iam_member" "operator_acts_as" {
  for_each = { for pair in setproduct(keys(local.roles), var.operators) : "${pair[0]} ${pair[1]}" => pair }

  service_account_id = "projects/${var.project}/serviceAccounts/${google_service_account.role[each.value[0]].email}"
  role               = "roles/iam.serviceAccountUser"
  member             = each.value[1]
}

resource "google_service_account_iam_member" "scaler_acts_as_worker" {
  for_each = toset(local.scaler_accounts)

  service_account_id = local.worker_account
  role               = "roles/iam.serviceAccountUser"
  member             = local.account[each.key]
}

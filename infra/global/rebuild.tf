# A weekly rebuild of the images: the media parsers and libraries of the bases get security fixes, and an image keeps
# those of the day on which it was built. Off unless a repository is named. The rebuild tests the images and pushes them;
# a person releases them (deploy/README.md, Rebuilds).

locals {
  rebuilds = var.rebuild == null ? {} : { weekly = var.rebuild }
}

# The least that runs a trigger: no listed role has only this.
resource "google_project_iam_custom_role" "rebuild" {
  for_each = local.rebuilds

  role_id     = "clipfleetRebuild"
  title       = "Clipfleet rebuild"
  description = "Run a trigger of Cloud Build"
  permissions = ["cloudbuild.builds.create"]

  depends_on = [google_project_service.api]
}

# Cloud Scheduler runs the trigger as this account. The build itself runs as that of builds, which pushes images and
# nothing else.
resource "google_service_account" "rebuild" {
  for_each = local.rebuilds

  account_id   = "clipfleet-rebuild"
  display_name = "Clipfleet rebuild"
  description  = "Starts the weekly rebuild of the images"

  depends_on = [google_project_service.api]
}

# A trigger has no policy of its own, so that running it cannot be granted on it.
resource "google_project_iam_member" "rebuild_runs" {
  for_each = local.rebuilds

  project = var.project
  role    = "projects/${var.project}/roles/${google_project_iam_custom_role.rebuild[each.key].role_id}"
  member  = google_service_account.rebuild[each.key].member
}

# To run a trigger requires permission to act as its account.
resource "google_service_account_iam_member" "rebuild_acts_as_build" {
  for_each = local.rebuilds

  service_account_id = "projects/${var.project}/serviceAccounts/${google_service_account.build.email}"
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.rebuild[each.key].member
}

# Without an event, it runs only when it is told to.
resource "google_cloudbuild_trigger" "rebuild" {
  for_each = local.rebuilds

  name            = "clipfleet-rebuild"
  description     = "Rebuilds the images on today's bases, tests and pushes them"
  location        = split("/", each.value.repository)[3]
  service_account = "projects/${var.project}/serviceAccounts/${google_service_account.build.email}"
  tags            = ["clipfleet-rebuild"]

  source_to_build {
    repository = each.value.repository
    ref        = "refs/heads/${each.value.branch}"
    repo_type  = each.value.kind
  }

  git_file_source {
    path       = "deploy/rebuild.yaml"
    repository = each.value.repository
    revision   = "refs/heads/${each.value.branch}"
    repo_type  = each.value.kind
  }

  substitutions = {
    _REPOSITORY = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
  }

  depends_on = [google_project_service.api, google_artifact_registry_repository_iam_member.build_pushes, google_project_iam_member.build_logs]
}

resource "google_cloud_scheduler_job" "rebuild" {
  for_each = local.rebuilds

  name        = "clipfleet-rebuild"
  description = "Starts the rebuild of the images"
  region      = var.region
  schedule    = each.value.schedule
  time_zone   = "Etc/UTC"

  http_target {
    http_method = "POST"
    uri         = "https://cloudbuild.googleapis.com/v1/${google_cloudbuild_trigger.rebuild[each.key].id}:run"
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode("{}") # the trigger names the source

    oauth_token {
      service_account_email = google_service_account.rebuild[each.key].email
    }
  }

  # A build that started is not started again: only a call that was not answered with success is repeated.
  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
  }

  depends_on = [google_project_service.api, google_project_iam_member.rebuild_runs, google_service_account_iam_member.rebuild_acts_as_build]
}

# A failed build writes a line that begins with ERROR; a start that failed is an error of the scheduler's job. The
# wording is that of Cloud Build's logs as users quote them.
resource "google_logging_metric" "rebuilds_failed" {
  for_each = var.rebuild == null ? {} : {
    build = "resource.type=\"build\" AND resource.labels.build_trigger_id=\"${google_cloudbuild_trigger.rebuild["weekly"].trigger_id}\" AND textPayload=~\"^ERROR\""
    start = "resource.type=\"cloud_scheduler_job\" AND resource.labels.job_id=\"clipfleet-rebuild\" AND severity=\"ERROR\""
  }

  name        = "clipfleet/rebuilds_failed_${each.key}"
  description = "Rebuilds of the images that failed, or did not start (${each.key})"
  filter      = each.value

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.api]
}

# Where images are pushed to and pulled from.

resource "google_artifact_registry_repository" "images" {
  location      = var.region
  repository_id = "clipfleet"
  format        = "DOCKER"
  description   = "Images of Clipfleet's roles"

  docker_config {
    immutable_tags = true
  }

  # Media parsers are what attackers aim at: known holes in the image's packages are to be seen.
  vulnerability_scanning_config {
    enablement_config = "INHERITED"
  }

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"
    most_recent_versions {
      keep_count = 20
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"
    condition {
      older_than = "7776000s" # 90 days: longer than anyone rolls back
    }
  }

  depends_on = [google_project_service.api]
}

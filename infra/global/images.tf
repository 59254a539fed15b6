# The repository of the images.

resource "google_artifact_registry_repository" "images" {
  location      = var.region
  repository_id = "clipfleet"
  format        = "DOCKER"
  description   = "Images of Clipfleet's roles"

  docker_config {
    immutable_tags = true
  }

  # Media parsers are a common target of attacks, so known vulnerabilities in the packages must be visible.
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
      older_than = "7776000s" # 90 days: no rollback goes further back
    }
  }

  depends_on = [google_project_service.api]
}

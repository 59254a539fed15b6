terraform {
  # Validation of a variable against other variables needs 1.9.
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # 7.5.0 brought the probes of worker pools. Before 7.18.0, every plan wanted to change scaling_mode.
      version = ">= 7.18, < 8"
    }
    # For google_project_service_identity.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = ">= 7.18, < 8"
    }
    time = {
      source  = "hashicorp/time"
      version = ">= 0.12, < 1"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Calls to the budget and quota APIs count against this project, not against the caller's own project.
  user_project_override = true
  billing_project       = var.project

  default_labels = {
    application = "clipfleet"
  }
}

provider "google-beta" {
  project               = var.project
  user_project_override = true
  billing_project       = var.project
}

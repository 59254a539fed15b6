terraform {
  # Validation of a variable against other variables needs 1.9.
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # 7.5.0 brought the probes of worker pools. Before 7.18.0, every plan wanted to change scaling_mode.
      version = ">= 7.18, < 8"
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

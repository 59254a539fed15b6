terraform {
  # Input validation that looks at other variables needs 1.9.
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # Worker pools are stable, with all their scaling fields, from 7 on.
      version = "~> 7.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Budgets and quotas are billed to the project itself and not to the project of whoever applies this.
  user_project_override = true
  billing_project       = var.project

  default_labels = {
    application = "clipfleet"
  }
}

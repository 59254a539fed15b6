# `terraform init -backend-config=bucket=... -backend-config=prefix=clipfleet-REGION`: one state for each region.
terraform {
  backend "gcs" {}
}

# `terraform init -backend-config=bucket=...` names the bucket, which has to exist before any resource here.
terraform {
  backend "gcs" {
    prefix = "clipfleet"
  }
}

# The bucket is given at `terraform init -backend-config=bucket=...`: it has to be there before anything here is.
terraform {
  backend "gcs" {
    prefix = "clipfleet"
  }
}

# `terraform init -backend-config=bucket=... -backend-config=prefix=clipfleet-global`. The bucket has to exist before any
# resource here.
terraform {
  backend "gcs" {}
}

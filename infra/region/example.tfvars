# Copy to my.tfvars, adapt, and give with -var-file. deploy/deploy.sh gives worker_image and services_image.

project = "example-project"
region  = "europe-west4"

# As in ../global.
source_buckets = ["example-uploads"]
requesters     = ["serviceAccount:web@example-project.iam.gserviceaccount.com"]
operators      = ["group:clipfleet-operators@example.com"]

# Tenants, where paths have the owner's id, and who may call besides IAM's check: deploy/README.md, Who may call.
# sources          = ["gs://example-uploads/uploads/{ownerUid}/"]
# outputs          = ["gs://example-project-clips/processed-clips/{ownerUid}/"]
# audience         = "https://api.example.com"
# firebase_project = "example-project"
# public_api       = true

# What the region grants to the project. These are what new projects were seen with; `clipfleet doctor` shows yours.
l4_quota         = 3
cpu_quota        = 20
memory_quota_gib = 40

gpu_worker = { cpu = 4, memory_gib = 16, slots = 2, max = 2 }
cpu_worker = { cpu = 6, memory_gib = 16, slots = 2, max = 2 }
scaler     = { pool = "gpu", backlog_target_seconds = 120, min_schedule = "mon-fri 07:00-19:00=1" }

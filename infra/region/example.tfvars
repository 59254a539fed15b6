# Copy to my.tfvars, adapt, and give with -var-file. deploy/deploy.sh gives worker_image and services_image.

project = "example-project"
region  = "europe-west4"

# As in ../global.
source_buckets = ["example-uploads"]
requesters     = ["serviceAccount:web@example-project.iam.gserviceaccount.com"]
operators      = ["group:clipfleet-operators@example.com"]

l4_quota   = 3
gpu_worker = { cpu = 8, memory_gib = 32, slots = 2 }
cpu_worker = { cpu = 8, memory_gib = 16, slots = 2 }
scaler     = { pool = "gpu", backlog_target_seconds = 120, min_schedule = "mon-fri 07:00-19:00=1" }

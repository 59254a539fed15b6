# Copy, adapt, and give with -var-file.

project     = "example-project"
region      = "europe-west4"
runbook_url = "https://example.com/clipfleet/deploy/runbook.md"

source_buckets  = ["example-uploads"]
browser_origins = ["https://studio.example.com"]
requesters      = ["serviceAccount:web@example-project.iam.gserviceaccount.com"]
operators       = ["group:clipfleet-operators@example.com"]

# Set both after the first push; see README.md.
# services_image = "europe-west4-docker.pkg.dev/example-project/clipfleet/services@sha256:..."
# worker_image   = "europe-west4-docker.pkg.dev/example-project/clipfleet/worker@sha256:..."

l4_quota   = 3
gpu_worker = { cpu = 8, memory_gib = 32, slots = 2 }
cpu_worker = { cpu = 8, memory_gib = 16, slots = 2 }
scaler     = { pool = "gpu", backlog_target_seconds = 120, min_schedule = "mon-fri 07:00-19:00=1" }

notification_emails     = ["oncall@example.com"]
queue_age_alert_minutes = 30
billing_account         = "000000-000000-000000"
monthly_budget          = 1000

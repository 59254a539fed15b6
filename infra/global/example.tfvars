# Copy to my.tfvars, adapt, and give with -var-file.

project = "example-project"
region  = "europe-west4"
# A second region to store messages in. To survive the loss of a region as a whole, also choose, before the first apply:
# results_location = "EUR4" and firestore_location = "eur3".
message_regions = ["europe-west4", "europe-west1"]

runbook_url = "https://example.com/clipfleet/deploy/runbook.md"

source_buckets  = ["example-uploads"]
browser_origins = ["https://studio.example.com"]
requesters      = ["serviceAccount:web@example-project.iam.gserviceaccount.com"]
operators       = ["group:clipfleet-operators@example.com"]

# Weekly, from a repository that is connected to Cloud Build.
# rebuild = { repository = "projects/example-project/locations/europe-west1/connections/github/repositories/clipfleet" }

notification_emails     = ["oncall@example.com"]
queue_age_alert_minutes = 30
idle_workers            = 1 # the scaler's min_schedule, in ../region/example.tfvars
billing_account         = "000000-000000-000000"
monthly_budget          = 1000

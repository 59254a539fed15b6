variable "project" {
  description = "ID of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project ID has 6 to 30 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "region" {
  description = "Region of the results, the images and, unless firestore_location differs, the database."
  type        = string
  default     = "europe-west4"
}

variable "message_regions" {
  description = "Regions in which Pub/Sub may store messages: `region`, and at least one more, so that batches are accepted while the first is down."
  type        = set(string)

  validation {
    condition     = length(var.message_regions) >= 2 && contains(var.message_regions, var.region)
    error_message = "Name at least two regions, `region` among them."
  }
}

variable "results_location" {
  description = "Location of the bucket of results: a region, or a pair or continent of them (EUR4, EU), which stays readable and writable while a region is down. It cannot be changed later. Null: the region."
  type        = string
  default     = null
}

variable "firestore_location" {
  description = "Location of the Firestore database: a region, or several of them (eur3). It cannot be changed later. Null: the region."
  type        = string
  default     = null
}

variable "database" {
  description = "Firestore database of the status documents: one of their own, or `(default)`, which may be the product's. A fleet that has documents keeps its database: what another one holds would be lost to it. The same in ../region."
  type        = string
  default     = "clipfleet"
  nullable    = false

  validation {
    condition     = var.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "database is `(default)`, or 4 to 63 lower-case letters, digits and hyphens that start with a letter."
  }
}

variable "create_database" {
  description = "Whether to create the database. Set to false if it exists, as the (default) database of a product may: then only indexes and TTL are added to it."
  type        = bool
  default     = true
}

variable "release_firestore_rules" {
  description = "Whether to release firestore.rules as the rules of the database. A database has one ruleset: if the product has its own for `(default)`, merge the file into it by hand. Null: true for a named database, false for `(default)`."
  type        = bool
  default     = null
}

variable "source_buckets" {
  description = "Existing buckets that hold sources. Workers and dispatcher get read access; nothing else about the buckets is managed here."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for bucket in var.source_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", bucket))])
    error_message = "Use bucket names without gs://."
  }
}

variable "results_bucket" {
  description = "Name of the bucket of results. Null: PROJECT-clips. The same in ../region."
  type        = string
  default     = null
}

variable "create_results_bucket" {
  description = "Whether to create the bucket of results. Set to false if it exists, as the bucket of Firebase Storage does: then only rights on it are granted, and its CORS, retention and versions are yours."
  type        = bool
  default     = true
  nullable    = false

  # Only Google creates buckets of these names.
  validation {
    condition     = !var.create_results_bucket || !can(regex("[.](appspot[.]com|firebasestorage[.]app)$", var.results_bucket))
    error_message = "results_bucket names a bucket of Firebase, which exists already: set create_results_bucket = false."
  }
}

variable "output_links" {
  description = "How users reach results: `firebase` (lasting links that can be revoked, for a bucket of Firebase Storage), `signed` (for an hour, when they are asked for), `public` (the bucket is readable by everybody who knows a name) or `none`. `auto` is firebase where the bucket's name ends in .appspot.com or .firebasestorage.app, and signed elsewhere. The same in ../region."
  type        = string
  default     = "auto"
  nullable    = false

  validation {
    condition     = contains(["auto", "firebase", "public", "signed", "none"], var.output_links)
    error_message = "output_links is auto, firebase, public, signed or none."
  }
}

variable "results_retention_days" {
  description = "Days after which results are deleted. Null: never."
  type        = number
  default     = null

  validation {
    condition     = var.results_retention_days == null || var.create_results_bucket
    error_message = "results_retention_days applies to a bucket that is created here: set the lifecycle of an existing one yourself, or create_results_bucket = true."
  }

  # A status document is kept for 30 days and names its result.
  validation {
    condition     = var.results_retention_days == null || try(var.results_retention_days >= 30, false)
    error_message = "Results must be kept at least as long as the documents that name them: 30 days."
  }
}

variable "browser_origins" {
  description = "Origins of pages that play or download results."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for origin in var.browser_origins : can(regex("^https://[^/*]+$|^http://localhost(:[0-9]+)?$", origin))])
    error_message = "An origin is https://HOST or http://localhost:PORT, without path or asterisk."
  }
}

variable "requesters" {
  description = "Members that may request exports, by topic: the accounts of Cloud Functions, for example serviceAccount:web@PROJECT.iam.gserviceaccount.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.requesters : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "A requester is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "operators" {
  description = "Members that may act as the accounts of the roles, which an update of a pool or service requires. ../region grants them the rest."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "An operator is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "scaler_enabled" {
  description = "Whether to create the account and subscription of the scaler. Without it, operators set the sizes of the pools."
  type        = bool
  default     = true
}

variable "rebuild" {
  description = "Weekly rebuild of the images from a repository that is connected to Cloud Build (2nd generation), by its full name. `branch` is what is built, `kind` the kind of repository as Cloud Build names it, `schedule` a cron expression in UTC. Null: no rebuild."
  type = object({
    repository = string
    branch     = optional(string, "main")
    kind       = optional(string, "GITHUB")
    schedule   = optional(string, "0 3 * * 1")
  })
  default = null

  validation {
    condition     = var.rebuild == null || can(regex("^projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/[^/]+$", var.rebuild.repository))
    error_message = "rebuild.repository is projects/PROJECT/locations/REGION/connections/CONNECTION/repositories/REPOSITORY, as `gcloud builds repositories list` shows it."
  }

  validation {
    condition     = var.rebuild == null || can(regex("^[A-Za-z0-9._/-]+$", var.rebuild.branch))
    error_message = "rebuild.branch is the name of a branch, without refs/heads/."
  }

  validation {
    condition     = var.rebuild == null || contains(["GITHUB", "BITBUCKET_SERVER", "UNKNOWN"], try(var.rebuild.kind, ""))
    error_message = "rebuild.kind is GITHUB, BITBUCKET_SERVER or, for others, UNKNOWN."
  }

  validation {
    condition     = var.rebuild == null || can(regex("^[^ ]+ [^ ]+ [^ ]+ [^ ]+ [^ ]+$", var.rebuild.schedule))
    error_message = "rebuild.schedule is a cron expression of five fields in UTC, such as 0 3 * * 1 for Mondays at three."
  }
}

variable "notification_emails" {
  description = "Recipients of alerts and budget notifications."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.notification_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "Use e-mail addresses."
  }
}

variable "notification_channels" {
  description = "Full names of further notification channels. Create pagers by hand, because they hold secrets."
  type        = set(string)
  default     = []
}

variable "runbook_url" {
  description = "Address of deploy/runbook.md, as operators can read it. Alerts link to its sections."
  type        = string

  validation {
    condition     = can(regex("^https://[^#]+$", var.runbook_url))
    error_message = "Use an https address without fragment."
  }
}

variable "queue_age_alert_minutes" {
  description = "Age of the oldest unfinished clip job at which an alert fires. It includes waiting and encoding, so it must be well above the duration of the longest usual batch."
  type        = number
  default     = 30

  validation {
    condition     = var.queue_age_alert_minutes >= 5 && var.queue_age_alert_minutes <= 1440
    error_message = "Use 5 to 1440 minutes (one day)."
  }
}

variable "idle_workers" {
  description = "Workers that may run for an hour without a clip before an alert fires: as many as the scaler's `min` or `min_schedule` keeps."
  type        = number
  default     = 0

  validation {
    condition     = var.idle_workers >= 0
    error_message = "idle_workers is 0 or more."
  }
}

variable "billing_account" {
  description = "Billing account in which to create the budget. Null: no budget."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "A billing account looks like 012345-6789AB-CDEF01."
  }

  validation {
    condition     = var.billing_account == null || length(var.notification_emails) > 0
    error_message = "A budget needs somebody to notify, by e-mail: set notification_emails, or billing_account = null."
  }
}

variable "monthly_budget" {
  description = "Monthly budget, in whole units of the billing account's currency. One L4 worker that never stops costs about 660 USD."
  type        = number
  default     = 1000

  validation {
    condition     = var.monthly_budget > 0 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "Use a whole number above 0."
  }
}

variable "deletion_protection" {
  description = "Whether the database and the bucket of results are protected from `terraform destroy`."
  type        = bool
  default     = true
}

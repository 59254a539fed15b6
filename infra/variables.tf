variable "project" {
  description = "ID of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project ID has 6 to 30 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "region" {
  description = "Region of all resources. It must offer L4 on Cloud Run."
  type        = string
  default     = "europe-west4"

  # us-central1 and asia-south1 offer L4 by invitation only.
  validation {
    condition     = contains(["us-east4", "europe-west1", "europe-west4", "asia-southeast1", "us-central1", "asia-south1"], var.region)
    error_message = "Cloud Run offers L4 in us-east4, europe-west1, europe-west4, asia-southeast1 and, by invitation, in us-central1 and asia-south1."
  }
}

variable "firestore_location" {
  description = "Location of the Firestore database. It cannot be changed later. Null: the region."
  type        = string
  default     = null
}

variable "create_database" {
  description = "Whether to create the (default) database. Set to false if the product already has one: then only indexes and TTL are added to it."
  type        = bool
  default     = true
}

variable "release_firestore_rules" {
  description = "Whether to release firestore.rules as the rules of the database. A database has one ruleset: if the product has its own, merge the file into it by hand and leave this false."
  type        = bool
  default     = false
}

variable "services_image" {
  description = "Image of dispatcher, status and scaler, by digest. Null: services and pools are not created yet (first apply, before any image was pushed)."
  type        = string
  default     = null

  validation {
    condition     = var.services_image == null || can(regex("@sha256:[0-9a-f]{64}$", var.services_image))
    error_message = "An image must be named by digest (NAME@sha256:...), because a tag may point to another image between plan and start."
  }
}

variable "worker_image" {
  description = "Image of the workers, by digest. Null: same as for services_image."
  type        = string
  default     = null

  validation {
    condition     = var.worker_image == null || can(regex("@sha256:[0-9a-f]{64}$", var.worker_image))
    error_message = "An image must be named by digest (NAME@sha256:...), because a tag may point to another image between plan and start."
  }

  validation {
    condition     = (var.worker_image == null) == (var.services_image == null)
    error_message = "Set both images or neither: all roles must be deployed from one build."
  }
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
  description = "Name of the bucket of results, which is created here. Null: PROJECT-clips."
  type        = string
  default     = null
}

variable "results_retention_days" {
  description = "Days after which results are deleted. Null: never."
  type        = number
  default     = null

  # A status document is kept for 30 days and names its result.
  validation {
    condition     = var.results_retention_days == null || try(var.results_retention_days >= 30, false)
    error_message = "Results must be kept at least as long as the documents that name them: 30 days."
  }
}

variable "legacy_mirror" {
  description = "Whether the documents of the previous product (wizardProcessingJobs, clipProcessing of wizardProjects) are also kept up to date."
  type        = bool
  default     = false
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
  description = "Members that may request exports, by topic or HTTP: the accounts of Cloud Functions, for example serviceAccount:web@PROJECT.iam.gserviceaccount.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.requesters : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "A requester is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "operators" {
  description = "Members that may call the dispatcher's API (pause, cancel, retry, redrive) and set the size of the pools."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "An operator is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "l4_quota" {
  description = "L4 quota that Google granted to the project in the region (without zonal redundancy). The pool is never set to more instances."
  type        = number
  default     = 3

  validation {
    condition     = var.l4_quota >= 0 && var.l4_quota <= 1000 && floor(var.l4_quota) == var.l4_quota
    error_message = "l4_quota must be a whole number from 0 to 1000."
  }
}

variable "gpu_worker" {
  description = "Shape of a worker with an L4. `slots` is the number of clips at once: one H.264 session uses one of the GPU's two encoders, so fewer than 2 slots leave one idle."
  type = object({
    cpu           = optional(number, 8)
    memory_gib    = optional(number, 32)
    slots         = optional(number, 2)
    cache_mib     = optional(number, 512)
    initial_count = optional(number, 0)
    # If the GPU fails its self-test, `auto` continues without it, at a CPU's speed and a GPU's price, and an alert
    # fires; `true` refuses to start.
    gpu_enabled = optional(string, "auto")
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains([4, 8], var.gpu_worker.cpu) && var.gpu_worker.memory_gib >= 16 && var.gpu_worker.memory_gib <= 32
    error_message = "An L4 needs at least 4 vCPU and 16 GiB; Cloud Run offers up to 8 vCPU and 32 GiB."
  }

  # The disk of a Cloud Run instance is memory. A slot takes up to 4 GiB for its process, and twice the size of its
  # clip, at most 2 GiB (see domain::limits).
  validation {
    condition     = var.gpu_worker.slots >= 1 && var.gpu_worker.slots * 6 <= var.gpu_worker.memory_gib - 2
    error_message = "Each slot takes up to 6 GiB (process and scratch files), and the worker itself needs 2 GiB: use fewer slots or more memory."
  }

  validation {
    condition     = contains(["auto", "true"], var.gpu_worker.gpu_enabled)
    error_message = "gpu_enabled is auto or true; to work without GPUs, use the CPU pool."
  }

  validation {
    condition     = var.gpu_worker.initial_count >= 0 && var.gpu_worker.initial_count <= var.l4_quota
    error_message = "Not more instances than GPUs: initial_count is at most l4_quota."
  }
}

variable "cpu_worker" {
  description = "Shape of a worker without a GPU. The pool starts with no instance; raise its count when GPUs run out."
  type = object({
    cpu           = optional(number, 8)
    memory_gib    = optional(number, 16)
    slots         = optional(number, 2)
    cache_mib     = optional(number, 256)
    initial_count = optional(number, 0)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains([2, 4, 6, 8], var.cpu_worker.cpu) && var.cpu_worker.memory_gib >= 8 && var.cpu_worker.memory_gib <= 32
    error_message = "Use 2, 4, 6 or 8 vCPU and 8 to 32 GiB."
  }

  validation {
    condition     = var.cpu_worker.slots >= 1 && var.cpu_worker.slots * 6 <= var.cpu_worker.memory_gib - 2
    error_message = "Each slot takes up to 6 GiB (process and scratch files), and the worker itself needs 2 GiB: use fewer slots or more memory."
  }
}

variable "scaler_enabled" {
  description = "Whether to create the service, account and subscription of the scaler. Without it, operators set the sizes of the pools."
  type        = bool
  default     = true
}

variable "scaler" {
  description = "Settings of the scaler; deploy/scaling.md has the formula. It sets the size of `pool`. With `dry_run` it decides and logs only. `min_schedule` is a minimum by the hour in UTC, such as `mon-fri 07:00-19:00=1`. The maximum is l4_quota, or max_cpu_instances for the CPU pool."
  type = object({
    pool                   = optional(string, "gpu")
    dry_run                = optional(bool, false)
    min                    = optional(number, 0)
    min_schedule           = optional(string, "")
    backlog_target_seconds = optional(number, 120)
    max_cpu_instances      = optional(number, 10)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["gpu", "cpu"], var.scaler.pool)
    error_message = "One pool has one scaler: gpu or cpu."
  }

  validation {
    condition     = var.scaler.min >= 0 && var.scaler.min <= (var.scaler.pool == "gpu" ? var.l4_quota : var.scaler.max_cpu_instances)
    error_message = "Not more workers always than the maximum: scaler.min is at most l4_quota, or max_cpu_instances for the CPU pool."
  }

  validation {
    condition     = var.scaler.pool == "cpu" || !var.scaler_enabled || var.l4_quota >= 1
    error_message = "The GPU pool needs an l4_quota of at least one; without any, scale the CPU pool."
  }

  validation {
    condition     = var.scaler.backlog_target_seconds >= 1 && var.scaler.backlog_target_seconds <= 86400 && var.scaler.max_cpu_instances >= 1
    error_message = "backlog_target_seconds is 1 to 86400, max_cpu_instances at least 1."
  }

  validation {
    condition     = var.scaler.min_schedule == "" || can(regex("^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? [0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}=[0-9]+(;|$)", var.scaler.min_schedule))
    error_message = "min_schedule is such as `mon-fri 07:00-19:00=1; sat 09:00-12:00=1`, in UTC."
  }
}

variable "prices" {
  description = "Prices in US dollars per second for the estimated costs of clips, such as `vcpu=0.000011244,gib=0.000001235,gpu=0.0001867`. Null: the program's default, list prices of us-central1."
  type        = string
  default     = null
}

variable "traces" {
  description = "Destination of traces: the endpoint of a collector for OTLP over gRPC (see deploy/README.md), and the share of traces that is kept. Null: no traces."
  type = object({
    endpoint = string
    share    = optional(number, 0.1)
  })
  default = null

  validation {
    condition     = var.traces == null ? true : can(regex("^https?://[^/]+$", var.traces.endpoint)) && var.traces.share >= 0 && var.traces.share <= 1
    error_message = "Use an endpoint such as http://collector:4317, and a share from 0 to 1."
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

variable "billing_account" {
  description = "Billing account in which to create the budget. Null: no budget."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "A billing account looks like 012345-6789AB-CDEF01."
  }
}

variable "monthly_budget" {
  description = "Monthly budget, in whole units of the billing account's currency. One L4 worker that never stops costs about 830 USD."
  type        = number
  default     = 1000

  validation {
    condition     = var.monthly_budget > 0 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "Use a whole number above 0."
  }
}

variable "deletion_protection" {
  description = "Whether the database, the bucket of results, the services and the pools are protected from `terraform destroy`."
  type        = bool
  default     = true
}

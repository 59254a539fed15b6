variable "project" {
  description = "Id of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "region" {
  description = "Region of everything. It has to offer L4 on Cloud Run."
  type        = string
  default     = "europe-west4"

  # us-central1 and asia-south1 have L4, too, but by invitation.
  validation {
    condition     = contains(["us-east4", "europe-west1", "europe-west4", "asia-southeast1", "us-central1", "asia-south1"], var.region)
    error_message = "Cloud Run offers L4 in us-east4, europe-west1, europe-west4, asia-southeast1 and, by invitation, in us-central1 and asia-south1."
  }
}

variable "firestore_location" {
  description = "Location of the Firestore database; it can never be changed. Null: the region."
  type        = string
  default     = null
}

variable "create_database" {
  description = "Whether the (default) database is made here. False where the product has one already: only indexes and TTL are added to it then."
  type        = bool
  default     = true
}

variable "release_firestore_rules" {
  description = "Whether firestore.rules becomes the database's rules. A database has one set of rules: where the product has its own, merge the file into it by hand and leave this false."
  type        = bool
  default     = false
}

variable "services_image" {
  description = "Image of dispatcher, status and scaler, by digest. Null: the services and pools are not made yet (first apply, before anything was pushed)."
  type        = string
  default     = null

  validation {
    condition     = var.services_image == null || can(regex("@sha256:[0-9a-f]{64}$", var.services_image))
    error_message = "An image is named by digest (NAME@sha256:...): a tag may come to mean something else between plan and start."
  }
}

variable "worker_image" {
  description = "Image of the workers, by digest. Null: as for services_image."
  type        = string
  default     = null

  validation {
    condition     = var.worker_image == null || can(regex("@sha256:[0-9a-f]{64}$", var.worker_image))
    error_message = "An image is named by digest (NAME@sha256:...): a tag may come to mean something else between plan and start."
  }

  validation {
    condition     = (var.worker_image == null) == (var.services_image == null)
    error_message = "Set both images or neither: the roles are deployed from one build."
  }
}

variable "source_buckets" {
  description = "Existing buckets that sources lie in. Workers and dispatcher may read them; nothing else about them is managed here."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for bucket in var.source_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", bucket))])
    error_message = "Give bucket names, without gs://."
  }
}

variable "results_bucket" {
  description = "Name of the bucket of results, which is made here. Null: PROJECT-clips."
  type        = string
  default     = null
}

variable "results_retention_days" {
  description = "Days after which results are deleted. Null: never."
  type        = number
  default     = null

  # A status document lives 30 days and names its result.
  validation {
    condition     = var.results_retention_days == null || try(var.results_retention_days >= 30, false)
    error_message = "Results live at least as long as the documents that name them: 30 days."
  }
}

variable "legacy_mirror" {
  description = "Whether the documents of the product that came before (wizardProcessingJobs, clipProcessing of wizardProjects) are kept up to date, too."
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
  description = "Who may ask for exports, by topic or HTTP: the accounts of Cloud Functions, for example serviceAccount:web@PROJECT.iam.gserviceaccount.com."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.requesters : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "A requester is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "operators" {
  description = "People who may call the dispatcher's API (pause, cancel, retry, redrive) and set the size of the pools."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "An operator is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "l4_quota" {
  description = "L4 of the project in the region, as Google granted them (without zonal redundancy). The pool must never be asked for more."
  type        = number
  default     = 3

  validation {
    condition     = var.l4_quota >= 0 && var.l4_quota <= 1000 && floor(var.l4_quota) == var.l4_quota
    error_message = "A whole number of GPUs from 0 to 1000."
  }
}

variable "gpu_worker" {
  description = "Shape of a worker with an L4. `slots` clips at once: one H.264 session uses one of the GPU's two encoders, so fewer than 2 leave one idle."
  type = object({
    cpu           = optional(number, 8)
    memory_gib    = optional(number, 32)
    slots         = optional(number, 2)
    cache_mib     = optional(number, 512)
    initial_count = optional(number, 0)
    # `auto` goes on without a GPU that fails its self-test, at a CPU's speed and a GPU's price, and an alert says so; `true` refuses to start.
    gpu_enabled = optional(string, "auto")
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains([4, 8], var.gpu_worker.cpu) && var.gpu_worker.memory_gib >= 16 && var.gpu_worker.memory_gib <= 32
    error_message = "An L4 needs at least 4 vCPU and 16 GiB; Cloud Run offers up to 8 vCPU and 32 GiB."
  }

  # Cloud Run's disk is memory: a slot takes up to 4 GiB for its process and twice a clip of up to 2 GiB (see domain::limits).
  validation {
    condition     = var.gpu_worker.slots >= 1 && var.gpu_worker.slots * 6 <= var.gpu_worker.memory_gib - 2
    error_message = "Each slot takes up to 6 GiB (process and scratch files), and 2 GiB are kept for the worker itself: fewer slots or more memory."
  }

  validation {
    condition     = contains(["auto", "true"], var.gpu_worker.gpu_enabled)
    error_message = "auto or true; who wants no GPU uses the CPU pool."
  }

  validation {
    condition     = var.gpu_worker.initial_count >= 0 && var.gpu_worker.initial_count <= var.l4_quota
    error_message = "Not more instances than GPUs (l4_quota)."
  }
}

variable "cpu_worker" {
  description = "Shape of a worker without a GPU. The pool is made with no instance: it is what is turned on when GPUs are missing."
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
    error_message = "2, 4, 6 or 8 vCPU and 8 to 32 GiB."
  }

  validation {
    condition     = var.cpu_worker.slots >= 1 && var.cpu_worker.slots * 6 <= var.cpu_worker.memory_gib - 2
    error_message = "Each slot takes up to 6 GiB (process and scratch files), and 2 GiB are kept for the worker itself: fewer slots or more memory."
  }
}

variable "scaler_enabled" {
  description = "Whether the scaler's service, account and subscription are made. Without it people set the pools' sizes."
  type        = bool
  default     = true
}

variable "scaler" {
  description = "What the scaler is asked for; deploy/scaling.md has the formula. `pool` is the one whose size it sets, `dry_run` decides and logs only, `min_schedule` is a minimum by the hour in UTC such as `mon-fri 07:00-19:00=1`. The most is l4_quota, or max_cpu_instances."
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
    error_message = "Not more workers always than there may be at most (l4_quota, or max_cpu_instances)."
  }

  validation {
    condition     = var.scaler.pool == "cpu" || !var.scaler_enabled || var.l4_quota >= 1
    error_message = "A pool of GPUs needs a quota of at least one (l4_quota); without any, scale the cpu pool."
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
  description = "US dollars per second that clips' estimated costs are made of, such as `vcpu=0.000011244,gib=0.000001235,gpu=0.0001867`. Null: the list prices of us-central1 that the program knows."
  type        = string
  default     = null
}

variable "traces" {
  description = "Where traces go: a collector that speaks OTLP over gRPC (see deploy/README.md), and the share of traces that is kept. Null: no traces."
  type = object({
    endpoint = string
    share    = optional(number, 0.1)
  })
  default = null

  validation {
    condition     = var.traces == null || can(regex("^https?://[^/]+$", var.traces.endpoint)) && var.traces.share >= 0 && var.traces.share <= 1
    error_message = "An endpoint such as http://collector:4317, and a share from 0 to 1."
  }
}

variable "notification_emails" {
  description = "Whom alerts and the budget write to."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.notification_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "Give e-mail addresses."
  }
}

variable "notification_channels" {
  description = "Further notification channels by their full names (pagers are made by hand: they hold secrets)."
  type        = set(string)
  default     = []
}

variable "runbook_url" {
  description = "Where deploy/runbook.md can be read; alerts link to its sections."
  type        = string

  validation {
    condition     = can(regex("^https://[^#]+$", var.runbook_url))
    error_message = "An https address without fragment."
  }
}

variable "queue_age_alert_minutes" {
  description = "Age of the oldest unfinished clip job that wakes someone. It counts waiting and working, so it must be well above the longest usual batch."
  type        = number
  default     = 30

  validation {
    condition     = var.queue_age_alert_minutes >= 5 && var.queue_age_alert_minutes <= 1440
    error_message = "5 minutes to a day."
  }
}

variable "billing_account" {
  description = "Billing account that the budget is made in. Null: no budget."
  type        = string
  default     = null

  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "A billing account looks like 012345-6789AB-CDEF01."
  }
}

variable "monthly_budget" {
  description = "Whole units of the billing account's currency per month. One L4 worker that never stops costs about 830 USD."
  type        = number
  default     = 1000

  validation {
    condition     = var.monthly_budget > 0 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "A whole number above 0."
  }
}

variable "deletion_protection" {
  description = "Whether what holds data (database, results) and what does work (services, pools) is protected from `terraform destroy`."
  type        = bool
  default     = true
}

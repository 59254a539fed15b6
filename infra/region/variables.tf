variable "project" {
  description = "ID of the Google Cloud project."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project ID has 6 to 30 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "region" {
  description = "Region of the pools and services. It must offer L4 on Cloud Run, unless l4_quota is 0."
  type        = string
  default     = "europe-west4"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region is such as europe-west4."
  }

  # us-central1 and asia-south1 offer L4 by invitation only.
  validation {
    condition     = var.l4_quota == 0 || contains(["us-east4", "europe-west1", "europe-west4", "asia-southeast1", "us-central1", "asia-south1"], var.region)
    error_message = "Cloud Run offers L4 in us-east4, europe-west1, europe-west4, asia-southeast1 and, by invitation, in us-central1 and asia-south1. In another region, set l4_quota = 0 and use the CPU pool."
  }
}

variable "services" {
  description = "Services to run in this region: `control`, one process with the three roles, or any of `dispatcher`, `status` and `scaler`, each with an account of its own (infra/README.md, One service or three). A second region has none while the first one runs them (deploy/README.md, Another region). The scaler needs scaler_enabled = true in ../global, the default."
  type        = set(string)
  default     = ["control"]
  nullable    = false

  validation {
    condition     = length(setsubtract(var.services, ["control", "dispatcher", "status", "scaler"])) == 0
    error_message = "Services are control, or any of dispatcher, status and scaler."
  }

  validation {
    condition     = !contains(var.services, "control") || length(var.services) == 1
    error_message = "control runs dispatcher, status and scaler itself, so none of them may be named beside it: two status services would write the same documents, and the API would have two addresses. Use [\"control\"], or the others without it."
  }
}

variable "services_image" {
  description = "Image of the services, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.services_image))
    error_message = "An image must be named by digest (NAME@sha256:...), because a tag may point to another image between plan and start."
  }
}

variable "worker_image" {
  description = "Image of the workers, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.worker_image))
    error_message = "An image must be named by digest (NAME@sha256:...), because a tag may point to another image between plan and start."
  }
}

variable "database" {
  description = "Firestore database of the status documents, as in ../global."
  type        = string
  default     = "clipfleet"
  nullable    = false

  validation {
    condition     = var.database == "(default)" || can(regex("^[a-z][a-z0-9-]{2,61}[a-z0-9]$", var.database))
    error_message = "database is `(default)`, or 4 to 63 lower-case letters, digits and hyphens that start with a letter."
  }
}

variable "source_buckets" {
  description = "Buckets that the dispatcher accepts sources from: the same as in ../global, which grants the access."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for bucket in var.source_buckets : can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", bucket))])
    error_message = "Use bucket names without gs://."
  }
}

variable "results_bucket" {
  description = "Name of the bucket of results, as in ../global. Null: PROJECT-clips."
  type        = string
  default     = null
}

variable "sources" {
  description = "Places that sources may be read from, such as `gs://uploads/{ownerUid}/`, where `{ownerUid}` stands for the owner of a batch. Dispatcher and workers check them. Empty: everything in source_buckets and in the bucket of results, for every owner."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for place in var.sources : can(regex("^gs://[^/{},]+/(([^/{},]+|[{]ownerUid[}])/)*$", place))])
    error_message = "A place is gs://BUCKET/, or gs://BUCKET/PREFIX/ with a slash at the end; {ownerUid} stands for a whole part of the prefix."
  }

  validation {
    condition     = alltrue([for place in var.sources : contains(setunion(var.source_buckets, [local.results_bucket]), try(split("/", place)[2], ""))])
    error_message = "Nobody may read other buckets: each place in sources is in one of source_buckets, or in the bucket of results (${local.results_bucket})."
  }
}

variable "outputs" {
  description = "Places that results may be written to, such as `gs://PROJECT-clips/processed-clips/{ownerUid}/`. Dispatcher and workers check them. Empty: everything in the bucket of results, for every owner."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for place in var.outputs : can(regex("^gs://[^/{},]+/(([^/{},]+|[{]ownerUid[}])/)*$", place))])
    error_message = "A place is gs://BUCKET/, or gs://BUCKET/PREFIX/ with a slash at the end; {ownerUid} stands for a whole part of the prefix."
  }

  validation {
    condition     = alltrue([for place in var.outputs : try(split("/", place)[2], "") == local.results_bucket])
    error_message = "Workers may write only to the bucket of results: each place in outputs begins with gs://${local.results_bucket}/."
  }
}

variable "output_links" {
  description = "How users reach results, as in ../global: auto, firebase, public, signed or none."
  type        = string
  default     = "auto"
  nullable    = false

  validation {
    condition     = contains(["auto", "firebase", "public", "signed", "none"], var.output_links)
    error_message = "output_links is auto, firebase, public, signed or none."
  }
}

variable "firebase_project" {
  description = "Firebase project whose users may call the API with their ID tokens, each for their own batches only. Null: none may. Browsers also need public_api."
  type        = string
  default     = null

  validation {
    condition     = var.firebase_project == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.firebase_project))
    error_message = "firebase_project is a project ID: 6 to 30 lower-case letters, digits and hyphens, starting with a letter."
  }
}

variable "audience" {
  description = "Audience of the OIDC tokens with which the service accounts among requesters and operators call, such as `https://api.example.com`: then the dispatcher also checks them itself, and only operators pause the fleet and redrive dead letters. It becomes an audience of the service, too. Null: without firebase_project, IAM is the only check, and every caller may do everything."
  type        = string
  default     = null

  validation {
    condition     = var.audience == null || can(regex("^[!-+.-~-]{1,250}$", var.audience))
    error_message = "audience is 1 to 250 printable characters without spaces and commas, for example https://api.example.com."
  }

  validation {
    condition     = var.audience == null || anytrue([for member in setunion(var.requesters, var.operators) : startswith(member, "serviceAccount:")])
    error_message = "audience lets service accounts in, and there are none: name one in requesters or operators (serviceAccount:...), or set audience = null."
  }
}

variable "public_api" {
  description = "Whether Cloud Run lets every caller through to the API, as browsers need it. The dispatcher then refuses those without a token that firebase_project or audience accept."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.public_api || var.firebase_project != null || var.audience != null
    error_message = "With public_api alone everybody could do everything: set firebase_project, or audience, or public_api = false."
  }
}

variable "surface" {
  description = "Which routes the API serves: `all`, `requests` (batches, clips, links) or `operations` (the fleet, dead letters)."
  type        = string
  default     = "all"
  nullable    = false

  validation {
    condition     = contains(["all", "requests", "operations"], var.surface)
    error_message = "surface is all, requests or operations."
  }
}

variable "legacy_mirror" {
  description = "Whether the documents of the previous product (wizardProcessingJobs, clipProcessing of wizardProjects) are also kept up to date. They are in the fleet's own database."
  type        = bool
  default     = false

  validation {
    condition     = !var.legacy_mirror || var.database == "(default)"
    error_message = "legacy_mirror writes to the fleet's own database, and the product reads its documents in (default): set database = \"(default)\" in both roots, or legacy_mirror = false."
  }
}

variable "requesters" {
  description = "Members that may request exports over HTTP: the same as in ../global."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.requesters : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "A requester is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "operators" {
  description = "Members that may call the dispatcher's API (pause, cancel, retry, redrive), set the size of the pools, and promote or roll back a release: the same as in ../global."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for member in var.operators : can(regex("^(serviceAccount|group|user):", member))])
    error_message = "An operator is serviceAccount:..., group:... or user:...; never allUsers."
  }
}

variable "l4_quota" {
  description = "L4 quota that Google granted to the project in this region (without zonal redundancy); a new project has 3. With 0, there is no GPU pool."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = var.l4_quota >= 0 && var.l4_quota <= 1000 && floor(var.l4_quota) == var.l4_quota
    error_message = "l4_quota must be a whole number from 0 to 1000."
  }
}

variable "cpu_quota" {
  description = "Quota of vCPUs of Cloud Run in this region (CpuAllocPerProjectRegion). New projects were seen with 20."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.cpu_quota >= 1
    error_message = "cpu_quota is the number of vCPUs that Cloud Run grants in the region: at least 1."
  }
}

variable "memory_quota_gib" {
  description = "Quota of memory of Cloud Run in this region, in GiB (MemAllocPerProjectRegion). New projects were seen with 40."
  type        = number
  default     = 40
  nullable    = false

  validation {
    condition     = var.memory_quota_gib >= 1
    error_message = "memory_quota_gib is the memory that Cloud Run grants in the region, in GiB: at least 1."
  }
}

# The disk of a Cloud Run instance is memory. A slot takes up to 4 GiB for its process, and twice the size of its clip,
# at most 2 GiB (see domain::limits). The worker itself, with its cache of sources, takes up to 2 GiB.
variable "gpu_worker" {
  description = "Shape of a worker with an L4, and the largest number of them. `slots` is the number of clips at once: one H.264 session uses one of the GPU's two encoders, so fewer than 2 slots leave one idle. With the quota for it, 8 vCPU, 32 GiB and 3 slots verify faster."
  type = object({
    cpu           = optional(number, 4)
    memory_gib    = optional(number, 16)
    slots         = optional(number, 2)
    cache_mib     = optional(number, 512)
    max           = optional(number, 2)
    initial_count = optional(number, 0)
    # If the GPU fails its self-test, `auto` continues without it, at a CPU's speed and a GPU's price, and an alert
    # fires; `true` refuses to start.
    gpu_enabled = optional(string, "auto")
  })
  default  = {}
  nullable = false

  validation {
    condition     = lookup({ 4 = 16, 6 = 24, 8 = 32 }, var.gpu_worker.cpu, 0) >= var.gpu_worker.memory_gib && var.gpu_worker.memory_gib >= 16
    error_message = "An L4 needs at least 4 vCPU and 16 GiB, and Cloud Run gives a worker pool at most 16 GiB with 4 vCPU, 24 with 6 and 32 with 8."
  }

  validation {
    condition     = var.gpu_worker.slots >= 1 && var.gpu_worker.slots * 6 <= var.gpu_worker.memory_gib - 2
    error_message = "Each slot takes up to 6 GiB (process and scratch files), and the worker itself needs 2 GiB: use fewer slots or more memory."
  }

  validation {
    condition     = var.gpu_worker.cache_mib >= 16 && var.gpu_worker.cache_mib <= 1024
    error_message = "cache_mib is 16 to 1024: the cache is part of the 2 GiB of the worker itself."
  }

  validation {
    condition     = contains(["auto", "true"], var.gpu_worker.gpu_enabled)
    error_message = "gpu_enabled is auto or true; to work without GPUs, use the CPU pool."
  }

  validation {
    condition     = var.l4_quota == 0 || var.gpu_worker.max >= 1 && var.gpu_worker.max <= var.l4_quota
    error_message = "Not more instances than GPUs: gpu_worker.max is 1 to l4_quota."
  }

  validation {
    condition     = var.gpu_worker.initial_count >= 0 && var.gpu_worker.initial_count <= var.gpu_worker.max
    error_message = "gpu_worker.initial_count is 0 to gpu_worker.max."
  }
}

variable "cpu_worker" {
  description = "Shape of a worker without a GPU, and the largest number of them. The pool starts with no instance; raise its count when GPUs run out."
  type = object({
    cpu           = optional(number, 6)
    memory_gib    = optional(number, 16)
    slots         = optional(number, 2)
    cache_mib     = optional(number, 256)
    max           = optional(number, 2)
    initial_count = optional(number, 0)
  })
  default  = {}
  nullable = false

  validation {
    condition     = lookup({ 2 = 8, 4 = 16, 6 = 24, 8 = 32 }, var.cpu_worker.cpu, 0) >= var.cpu_worker.memory_gib && var.cpu_worker.memory_gib >= 8
    error_message = "Use 8 GiB or more. Cloud Run gives a worker pool at most 8 GiB with 2 vCPU, 16 with 4, 24 with 6 and 32 with 8."
  }

  validation {
    condition     = var.cpu_worker.slots >= 1 && var.cpu_worker.slots * 6 <= var.cpu_worker.memory_gib - 2
    error_message = "Each slot takes up to 6 GiB (process and scratch files), and the worker itself needs 2 GiB: use fewer slots or more memory."
  }

  validation {
    condition     = var.cpu_worker.cache_mib >= 16 && var.cpu_worker.cache_mib <= 1024
    error_message = "cache_mib is 16 to 1024: the cache is part of the 2 GiB of the worker itself."
  }

  validation {
    condition     = var.cpu_worker.max >= 1 && var.cpu_worker.initial_count >= 0 && var.cpu_worker.initial_count <= var.cpu_worker.max
    error_message = "cpu_worker.max is at least 1, and cpu_worker.initial_count 0 to cpu_worker.max."
  }
}

variable "scaler" {
  description = "Settings of the scaler; deploy/scaling.md has the formula. It sets the size of `pool`; with `none`, `control` runs no scaler. With `dry_run` it decides and logs only. `min_schedule` is a minimum by the hour in UTC, such as `mon-fri 07:00-19:00=1`. The maximum is that of the pool: gpu_worker.max or cpu_worker.max. With `overflow`, the CPU pool helps the GPU pool out while the platform refuses its size for want of quota or GPUs."
  type = object({
    pool                   = optional(string, "gpu")
    dry_run                = optional(bool, false)
    min                    = optional(number, 0)
    min_schedule           = optional(string, "")
    backlog_target_seconds = optional(number, 120)
    overflow               = optional(bool, true)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["gpu", "cpu", "none"], var.scaler.pool)
    error_message = "One pool has one scaler: gpu or cpu; none runs no scaler."
  }

  validation {
    condition     = var.scaler.pool != "none" || !contains(var.services, "scaler")
    error_message = "The service scaler needs a pool to scale: scaler.pool is gpu or cpu. To run no scaler, leave it out of services."
  }

  validation {
    condition     = var.scaler.min >= 0 && var.scaler.min <= (var.scaler.pool == "cpu" ? var.cpu_worker.max : var.gpu_worker.max)
    error_message = "Not more workers always than the maximum: scaler.min is at most gpu_worker.max, or cpu_worker.max for the CPU pool."
  }

  validation {
    condition     = var.scaler.pool != "gpu" || length(setintersection(var.services, ["control", "scaler"])) == 0 || var.l4_quota >= 1
    error_message = "The GPU pool needs an l4_quota of at least one; without any, scale the CPU pool: scaler = { pool = \"cpu\" }."
  }

  validation {
    condition     = var.scaler.backlog_target_seconds >= 1 && var.scaler.backlog_target_seconds <= 86400
    error_message = "backlog_target_seconds is 1 to 86400."
  }

  validation {
    condition     = var.scaler.min_schedule == "" || can(regex("^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))? [0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}=[0-9]+(;|$)", var.scaler.min_schedule))
    error_message = "min_schedule is such as `mon-fri 07:00-19:00=1; sat 09:00-12:00=1`, in UTC."
  }
}

variable "prices" {
  description = "Prices in US dollars per second for the estimated costs of clips, such as `vcpu=0.000011244,gib=0.000001235,gpu=0.0001867`. Null: the program's default, list prices of europe-west4."
  type        = string
  default     = null
}

variable "traces" {
  description = "Destination of traces and metrics: the endpoint of a collector for OTLP over gRPC (see deploy/README.md), and the share of traces that is kept. Null: neither."
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

variable "deletion_protection" {
  description = "Whether the services and the pools are protected from `terraform destroy`."
  type        = bool
  default     = true
}

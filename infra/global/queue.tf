# Topics and subscriptions, equal to those that crates/cli/src/topology.rs creates on one machine; tests/infra compares
# the two.
#
# No Pub/Sub schema is attached. Messages on export-requests come in two encodings (JSON and binary), and a schema
# allows only one. The other topics carry messages between programs of one build. A schema is one self-contained file,
# and each revision must be committed before the programs that need it: one more step at which a rollout can stop the
# fleet. It would catch nothing that both sides do not already check when they parse.

locals {
  topics = toset(["export-requests", "clip-jobs", "clip-jobs-dead-letter", "progress-events"])

  subscriptions = merge(
    {
      # A request is handed back when a service that it needs is down: retry soon, but not immediately.
      export-requests-dispatcher = {
        topic = "export-requests", reader = "dispatcher", ack_deadline = 60, backoff = [1, 60], dead_letter = null
      }
      # Short deadline and backoff, so that the clip of a dead worker starts elsewhere within a minute. Running workers
      # extend their leases.
      clip-jobs-worker = {
        topic = "clip-jobs", reader = "worker", ack_deadline = 20, backoff = [1, 30], dead_letter = "clip-jobs-dead-letter"
      }
      clip-jobs-dead-letter-status = {
        topic = "clip-jobs-dead-letter", reader = "status", ack_deadline = 60, backoff = [1, 60], dead_letter = null
      }
      progress-events-status = {
        topic = "progress-events", reader = "status", ack_deadline = 60, backoff = [1, 10], dead_letter = null
      }
    },
    var.scaler_enabled ? {
      progress-events-scaler = {
        topic = "progress-events", reader = "scaler", ack_deadline = 60, backoff = [1, 10], dead_letter = null
      }
    } : {},
  )

  dead_lettered = {
    for name, subscription in local.subscriptions : name => subscription if subscription.dead_letter != null
  }

  # The maximum that Pub/Sub accepts. The limits in domain::limits end a clip long before.
  max_delivery_attempts = 100

  readers = merge([
    for name, subscription in local.subscriptions : {
      for account in local.accounts_of[subscription.reader] : "${account} from ${name}" => { account = account, subscription = name }
    }
  ]...)

  publishers = merge([
    for topic, roles in { clip-jobs = ["dispatcher"], progress-events = ["dispatcher", "worker"] } : {
      for account in flatten([for role in roles : local.accounts_of[role]]) : "${account} to ${topic}" => { account = account, topic = topic }
    }
  ]...)
}

resource "google_pubsub_topic" "this" {
  for_each = local.topics

  name = each.value

  # Messages name people's videos, so they are stored only in these regions, wherever they are published from. With a
  # single one, nothing could be published while it is down.
  message_storage_policy {
    allowed_persistence_regions = var.message_regions
  }

  depends_on = [google_project_service.api]
}

resource "google_pubsub_subscription" "this" {
  for_each = local.subscriptions

  name                 = each.key
  topic                = google_pubsub_topic.this[each.value.topic].name
  ack_deadline_seconds = each.value.ack_deadline
  # Seven days, so that an outage over a long weekend loses no clip.
  message_retention_duration = "604800s"

  # A subscription must not expire while the fleet is idle for a month.
  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = "${each.value.backoff[0]}s"
    maximum_backoff = "${each.value.backoff[1]}s"
  }

  dynamic "dead_letter_policy" {
    for_each = each.value.dead_letter == null ? [] : [each.value.dead_letter]
    content {
      dead_letter_topic     = "projects/${var.project}/topics/${google_pubsub_topic.this[dead_letter_policy.value].name}"
      max_delivery_attempts = local.max_delivery_attempts
    }
  }
}

resource "google_pubsub_subscription_iam_member" "reader" {
  for_each = local.readers

  subscription = google_pubsub_subscription.this[each.value.subscription].name
  role         = "roles/pubsub.subscriber"
  member       = local.account[each.value.account]
}

resource "google_pubsub_topic_iam_member" "publisher" {
  for_each = local.publishers

  topic  = google_pubsub_topic.this[each.value.topic].name
  role   = "roles/pubsub.publisher"
  member = local.account[each.value.account]
}

resource "google_pubsub_topic_iam_member" "requester" {
  for_each = var.requesters

  topic  = google_pubsub_topic.this["export-requests"].name
  role   = "roles/pubsub.publisher"
  member = each.value
}

# Pub/Sub itself forwards dead letters: it publishes them to the dead-letter topic and acknowledges them on the original
# subscription. Without these two permissions it keeps redelivering, and only a metric shows that.
resource "google_pubsub_topic_iam_member" "dead_letter_agent" {
  for_each = local.dead_lettered

  topic  = google_pubsub_topic.this[each.value.dead_letter].name
  role   = "roles/pubsub.publisher"
  member = google_project_service_identity.pubsub.member
}

resource "google_pubsub_subscription_iam_member" "dead_letter_agent" {
  for_each = local.dead_lettered

  subscription = google_pubsub_subscription.this[each.key].name
  role         = "roles/pubsub.subscriber"
  member       = google_project_service_identity.pubsub.member
}

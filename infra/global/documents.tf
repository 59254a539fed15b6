# Firestore: the database of the status documents and its security rules. Its indexes are in indexes.tf.
#
# By default it is a database of our own. Workers then read nothing of the product, and a release of the product's rules
# does not replace ours: rules are released for one database.

locals {
  # A database has one ruleset. That of `(default)` may be the product's.
  releases_rules = coalesce(var.release_firestore_rules, var.database != "(default)")
}

resource "google_firestore_database" "this" {
  count = var.create_database ? 1 : 0

  name                              = var.database
  location_id                       = coalesce(var.firestore_location, var.region)
  type                              = "FIRESTORE_NATIVE"
  concurrency_mode                  = "OPTIMISTIC" # our writes carry preconditions and hold no locks
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.deletion_protection ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = var.deletion_protection ? "ABANDON" : "DELETE"

  depends_on = [google_project_service.api]
}

resource "google_firebaserules_ruleset" "firestore" {
  count = local.releases_rules ? 1 : 0

  source {
    files {
      name    = "firestore.rules"
      content = file("${path.module}/firestore.rules")
    }
  }

  # The old ruleset can only be deleted once the release names the new one.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [google_firestore_database.this]
}

resource "google_firebaserules_release" "firestore" {
  count = local.releases_rules ? 1 : 0

  name         = var.database == "(default)" ? "cloud.firestore" : "cloud.firestore/${var.database}"
  ruleset_name = google_firebaserules_ruleset.firestore[0].name

  lifecycle {
    replace_triggered_by = [google_firebaserules_ruleset.firestore]
  }
}

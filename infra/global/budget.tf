# A budget sends notifications and stops nothing. The limit on costs is the largest size of the pools, in ../region.

resource "google_billing_budget" "monthly" {
  count = var.billing_account == null ? 0 : 1

  billing_account = var.billing_account
  display_name    = "Clipfleet"

  budget_filter {
    projects = ["projects/${local.project_number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  threshold_rules {
    threshold_percent = 0.5
  }
  threshold_rules {
    threshold_percent = 0.9
  }
  # Forecast from the month so far, so that a pool that was left running shows within days.
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }

  all_updates_rule {
    # A budget takes channels of e-mail only, and at most five.
    monitoring_notification_channels = slice(local.emails, 0, min(5, length(local.emails)))
    disable_default_iam_recipients   = false
  }

  depends_on = [google_project_service.api]
}

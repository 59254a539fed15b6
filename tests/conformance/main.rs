//! One test suite for every implementation of the cloud traits: behaviour that a role relies on in the simulation also
//! holds in the local fleet and on Google Cloud.
//!
//! - `memory::` runs in virtual time.
//! - `emulator::` runs against a new `clipfleet-emulator` for each check.
//! - `external::` runs against the servers in `PUBSUB_EMULATOR_HOST`, `FIRESTORE_EMULATOR_HOST` and
//!   `STORAGE_EMULATOR_HOST`. These tests are ignored by default:
//!   `cargo test --test conformance -- --include-ignored external`.
//!
//! A second suite, `clients::`, runs Google's own clients for Python and Node against the emulator.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod backend;
mod clients;
mod documents;
mod objects;
mod queue;
mod restart;

use backend::Backend;

/// Creates one test for each check and backend. Checks `on the wire` do not apply to memory.
macro_rules! suite {
    (
        everywhere { $($area:ident: $($check:ident),+;)+ }
        on the wire { $($wire_area:ident: $($wire_check:ident),+;)+ }
    ) => {
        mod memory {
            $(mod $area { $(
                #[tokio::test(start_paused = true)]
                async fn $check() {
                    crate::$area::$check(&crate::Backend::memory()).await;
                }
            )+ })+
        }
        suite!(@served emulator [] { $($area: $($check),+;)+ $($wire_area: $($wire_check),+;)+ });
        suite!(@served external [#[ignore = "needs the addresses of emulators in the environment"]] {
            $($area: $($check),+;)+ $($wire_area: $($wire_check),+;)+
        });
    };
    (@served $backend:ident $ignored:tt { $($area:ident: $($check:ident),+;)+ }) => {
        mod $backend { $($(
            suite!(@test $backend $ignored $area $check);
        )+)+ }
    };
    (@test $backend:ident [$(#[$ignored:meta])?] $area:ident $check:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[$ignored])?
        async fn $check() {
            let backend = crate::Backend::$backend().await;
            crate::$area::$check(&backend).await;
            backend.stop().await;
        }
    };
}

suite! {
    everywhere {
        queue:
            a_published_message_arrives,
            every_subscription_gets_its_own_copy,
            an_acked_message_is_not_redelivered,
            a_nacked_message_is_redelivered,
            a_dropped_message_is_redelivered,
            a_nacked_message_waits_for_its_backoff,
            at_most_outstanding_unsettled,
            two_streams_share_the_work,
            a_held_message_stays_leased_past_its_deadline,
            an_unsettled_message_returns_after_the_deadline,
            a_message_is_dead_lettered_after_the_last_attempt,
            close_nacks_messages_that_were_not_received,
            a_delivery_can_be_settled_after_close,
            a_thousand_messages_published_together_all_arrive,
            existing_topics_and_subscriptions_can_be_ensured_again,
            a_missing_topic_or_subscription_is_not_found,
            a_name_that_breaks_the_rules_is_invalid,
            an_empty_message_is_invalid;
        objects:
            a_created_object_reads_back,
            an_empty_object_is_valid,
            create_only_if_absent,
            exactly_one_of_many_creators_succeeds,
            read_range_of_a_pinned_generation,
            a_range_beyond_the_end_is_invalid,
            stat_missing_is_not_found,
            a_large_object_round_trips_from_memory,
            a_large_object_round_trips_from_a_file,
            a_large_object_round_trips_from_an_open_file,
            names_can_be_any_text,
            metadata_is_replaced_only_if_it_is_unchanged;
        documents:
            every_value_reads_back,
            documents_arrive_in_the_requested_order,
            any_number_of_documents_can_be_read,
            a_write_replaces_all_fields,
            create_absent_detects_an_existing_document,
            unchanged_precondition_detects_a_conflict,
            commit_is_all_or_nothing,
            every_change_changes_the_version,
            a_write_that_changes_nothing_keeps_the_version,
            concurrent_increments_are_not_lost,
            list_and_find_in_id_order,
            the_latest_documents_come_first,
            selected_fields_are_read,
            a_malformed_commit_is_invalid,
            an_amendment_changes_its_fields_and_no_other;
    }
    on the wire {
        objects:
            signed_url_works_by_plain_http_get,
            links_of_every_kind_work_by_plain_http_get,
            a_changed_token_revokes_a_link;
        documents: databases_are_separate;
    }
}

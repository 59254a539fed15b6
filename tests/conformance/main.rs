//! One suite of behaviour, run against every implementation of the cloud traits: what a role relies on in simulation holds
//! in the local fleet and on Google Cloud alike.
//!
//! - `memory::` on virtual time;
//! - `local::` against a fresh `clipfleet-emulator` for each check;
//! - `elsewhere::` against the servers named by `PUBSUB_EMULATOR_HOST`, `FIRESTORE_EMULATOR_HOST` and `STORAGE_EMULATOR_HOST`.
//!   Reported as ignored, with that reason, unless asked for: `cargo test --test conformance -- --include-ignored elsewhere`.
//!
//! And a second one, in `clients::`: Google's own clients for Python and Node against the local servers.
#![allow(clippy::unwrap_used, reason = "that is how a test fails")]

mod backend;
mod clients;
mod documents;
mod objects;
mod queue;
mod restart;

use backend::Backend;

/// Makes one test of each check and backend. Those `on the wire` make no sense in memory.
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
        suite!(@served local [] { $($area: $($check),+;)+ $($wire_area: $($wire_check),+;)+ });
        suite!(@served elsewhere [#[ignore = "needs the addresses of emulators in the environment"]] {
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
            an_acknowledged_message_does_not_come_again,
            a_handed_back_message_comes_again,
            a_dropped_message_comes_again,
            a_handed_back_message_waits_out_its_backoff,
            at_most_outstanding_unsettled,
            two_streams_share_the_work,
            a_held_message_stays_leased_past_its_deadline,
            an_unsettled_message_returns_after_the_deadline,
            a_dead_letter_is_set_aside_after_the_last_attempt,
            close_hands_back_what_was_not_taken,
            a_delivery_can_be_settled_after_close,
            a_thousand_messages_published_together_all_arrive,
            what_exists_may_be_ensured_again,
            a_missing_topic_or_subscription_is_not_found,
            a_name_out_of_rule_is_invalid,
            a_message_with_nothing_in_it_is_invalid;
        objects:
            what_was_created_reads_back,
            an_empty_object_is_an_object,
            create_only_if_absent,
            of_many_creators_one_wins,
            read_range_of_a_pinned_generation,
            a_range_beyond_the_end_is_invalid,
            stat_missing_is_not_found,
            a_large_object_round_trips_from_memory,
            a_large_object_round_trips_from_a_file,
            names_may_be_any_text;
        documents:
            every_value_reads_back,
            documents_come_in_the_order_asked,
            any_number_of_documents_can_be_asked_for,
            a_write_replaces_all_fields,
            create_absent_detects_a_document_that_is_there,
            unchanged_precondition_detects_a_conflict,
            commit_is_all_or_nothing,
            every_change_changes_the_version,
            a_write_that_changes_nothing_keeps_the_version,
            of_many_increments_none_is_lost,
            list_and_find_in_id_order,
            a_malformed_commit_is_invalid,
            an_amendment_changes_its_fields_and_no_other;
    }
    on the wire {
        objects: download_url_works_by_plain_http_get;
    }
}

//! A view survives its document, and what other roles read of it.

use super::*;
use clipfleet_document::Version;
use clipfleet_domain::{
    failure::{Failure, FieldViolation},
    history::GenerationEnd,
};

fn stored(path: &str, fields: Fields) -> Document {
    Document { path: path.to_owned(), fields, version: Version { seconds: 0, nanos: 0 } }
}

/// What a document with these fields says: whole numbers where the text is one, else texts; instants by name.
fn status(fields: &[(&str, &str)]) -> ClipStatus {
    let value = |name: &str, text: &str| match text.parse::<i64>() {
        Ok(unix_ms) if name.ends_with("At") => Value::instant(unix_ms),
        Ok(number) => Value::Integer(number),
        Err(_) => Value::text(text),
    };
    let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), value(name, text))).collect();
    ClipStatus::from_document(&stored("exportBatches/b1/clips/c1", fields))
}

fn attempt(id: &str, number: u32) -> Attempt {
    let worker = WorkerId::parse("w").unwrap();
    Attempt { id: AttemptId::parse(id).unwrap(), number, started_at_ms: 1_000, worker, sequence: 7 }
}

#[test]
fn a_generation_is_needed_until_it_ends_or_a_later_one_is_requested() {
    let of = |state, generation| status(&[("status", state), ("generation", generation)]);
    assert!(ClipStatus::default().is_needed(0), "no document yet");
    assert!(of("processing", "1").is_needed(1));
    assert!(of("failed", "0").is_needed(1), "the document does not show the retry yet");
    assert!(!of("cancelled", "1").is_needed(1));
    assert!(!of("queued", "2").is_needed(1));
}

#[test]
fn an_attempt_is_active_until_it_or_the_clip_ended() {
    let of = |state, phase| status(&[("status", state), ("phase", phase), ("attemptId", "a1")]);
    assert!(of("processing", "encoding").active().is_some());
    assert!(of("processing", "queued").active().is_none(), "it was handed back");
    assert!(of("cancelled", "encoding").active().is_none());
    assert!(status(&[("status", "queued"), ("phase", "queued")]).active().is_none());
}

#[test]
fn only_a_later_attempt_of_the_same_generation_supersedes() {
    let shown = status(&[
        ("status", "processing"),
        ("phase", "fetching"),
        ("attempt", "2"),
        ("attemptId", "b"),
        ("attemptStartedAt", "1000"),
    ]);
    assert!(shown.supersedes(0, &attempt("z", 1)), "a higher number");
    assert!(shown.supersedes(0, &attempt("a", 2)), "the id decides between equals");
    assert!(!shown.supersedes(0, &attempt("b", 2)), "it is the same one");
    assert!(!shown.supersedes(0, &attempt("c", 2)));
    assert!(!shown.supersedes(0, &attempt("a", 3)));
    assert!(!shown.supersedes(1, &attempt("a", 1)), "another generation");
}

#[test]
fn an_earlier_generation_counts_for_nothing() {
    let shown = status(&[("generation", "1"), ("crashes", "2"), ("lostAttempts", "3"), ("attemptId", "a")]);
    assert_eq!((shown.counts.crashes, shown.counts.lost), (2, 3));
    assert_eq!(shown.clone().of_generation(1), shown);
    assert_eq!(shown.of_generation(2), ClipStatus { generation: 2, ..ClipStatus::default() });
}

/// Bytes of a value as Firestore counts them, names of fields included.
fn bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Integer(_) | Value::Double(_) | Value::Timestamp(_) => 8,
        Value::String(text) => text.len() + 1,
        Value::Array(values) => values.iter().map(bytes).sum(),
        Value::Map(fields) => fields.iter().map(|(name, value)| name.len() + 1 + bytes(value)).sum(),
    }
}

#[test]
fn the_largest_document_that_events_can_make_fits_into_the_store() {
    let long = "\u{1f3ac}".repeat(20_000);
    let details = vec![FieldViolation::new(long.as_str(), long.as_str()); 200];
    let failure = Failure { code: Code::parse(&long), message: long.clone(), retryable: true, details }.bounded();
    let attempt = |number: usize| Attempt {
        id: AttemptId::parse(&format!("{number:0128}")).unwrap(),
        number: u32::MAX,
        started_at_ms: i64::MAX / 2,
        worker: WorkerId::parse(&"w".repeat(128)).unwrap(),
        sequence: u64::MAX,
    };
    let address = "\u{1f3ac}".repeat(2_000);
    let mut view = ClipView {
        attempt: Some(attempt(0)),
        state: State::Completed,
        encoding: Encoding {
            encoder: long.clone(),
            fallback_reason: long.clone(),
            decoder: long.clone(),
            gpu_driver: long.clone(),
        }
        .bounded(),
        output: Some(
            Output {
                uri: address.clone(),
                url: address.clone(),
                manifest: ManifestRef { uri: address.clone(), sha256: long.clone() },
                cover: CoverRef { uri: address.clone(), url: address },
                ..Output::default()
            }
            .bounded(),
        ),
        failure: Some(failure.clone()),
        ..ClipView::default()
    };
    for number in 0..1_000 {
        let end = AttemptEnd { outcome: AttemptOutcome::Crashed, code: Some(failure.code.clone()) };
        view.stats.record(&attempt(number).id, Some(end));
        view.history
            .record(number as u32, GenerationEnd { state: State::Failed, at_ms: 1, failure: Some(failure.clone()) });
    }
    let clip = ClipDocument { batch: context(), clip: ClipId::parse(&"c".repeat(128)).unwrap(), view };
    let fields = clip.to_fields();
    let bytes = bytes(&Value::Map(fields));
    assert!((200_000..1_000_000).contains(&bytes), "{bytes} bytes of 1 MiB");
}

fn context() -> BatchContext {
    BatchContext {
        id: BatchId::parse("b1").unwrap(),
        owner: OwnerUid::parse("u1").unwrap(),
        project: ProjectId::parse("p1").unwrap(),
        size: 3,
    }
}

#[test]
fn a_view_survives_its_document() {
    let attempt = Attempt {
        id: AttemptId::parse("a1").unwrap(),
        number: 2,
        started_at_ms: 1_234,
        worker: WorkerId::parse("w1").unwrap(),
        sequence: 9,
    };
    let processing = ClipView {
        generation: 1,
        state: State::Processing,
        phase: Phase::Encoding,
        percent: 42,
        eta_seconds: Some(3),
        attempt: Some(attempt),
        encoding: Encoding {
            encoder: "x264enc".into(),
            fallback_reason: "no NVENC".into(),
            decoder: "nvh264dec".into(),
            gpu_driver: "580.65".into(),
        },
        created_at_ms: Some(1_000),
        started_at_ms: Some(1_234),
        updated_at_ms: 2_000,
        ..ClipView::default()
    };
    let output = Output {
        uri: "gs://b/o".into(),
        url: "http://x".into(),
        size_bytes: 7,
        duration_ms: 8,
        reused: true,
        timings: Timings { queued_ms: 1, fetch_ms: 2, encode_ms: 3, verify_ms: 4, upload_ms: 5, total_ms: 6 },
        usage: Usage { slot_ms: 6, bytes_read: 7, bytes_written: 8, cost_micro_usd: 9 },
        manifest: ManifestRef { uri: "gs://b/m".into(), sha256: "ab".into() },
        cover: CoverRef { uri: "gs://b/c".into(), url: "https://c".into() },
    };
    let completed = ClipView {
        state: State::Completed,
        output: Some(output),
        eta_seconds: None,
        completed_at_ms: Some(3_000),
        ..processing.clone()
    };
    let failure = Failure::invalid(vec![FieldViolation::new("a", "b")]);
    let failed = ClipView { state: State::Failed, failure: Some(failure.clone()), ..processing.clone() };
    let mut again = processing.clone();
    let failure_codes = [
        (1, Some((AttemptOutcome::Crashed, Some(Code::PipelineCrashed)))),
        (2, Some((AttemptOutcome::Interrupted, None))),
        (3, None),
    ];
    for (number, end) in failure_codes {
        let id = AttemptId::parse(&format!("a{number}")).unwrap();
        again.stats.record(&id, end.map(|(outcome, code)| AttemptEnd { outcome, code }));
    }
    again.history.record(0, GenerationEnd { state: State::Failed, at_ms: 500, failure: Some(failure) });
    again.history.record(2, GenerationEnd { state: State::Cancelled, at_ms: 700, failure: None });
    let new = ClipView { created_at_ms: Some(0), ..ClipView::default() };
    for view in [new, processing, completed, failed, again] {
        let clip = ClipDocument { batch: context(), clip: ClipId::parse("c1").unwrap(), view };
        let document = stored(&clip.path(), clip.to_fields());
        assert_eq!(ClipDocument::from_document(&document).unwrap(), clip);
    }
}

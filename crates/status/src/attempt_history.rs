//! The attempts of a clip's generation and the ends of its earlier generations, as values of its document and back.

use crate::values::{
    as_failure, as_instant, as_integer, as_text, failure_value, instant, integer, maybe, member, text,
};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names::{GENERATION, STATUS};
use clipfleet_domain::{
    bounds::bounded,
    history::{GenerationEnd, History},
    ids::AttemptId,
    limits::MAX_CODE_CHARS,
    rendition::{by_name, name_of},
    state::State,
    attempt_stats::{AttemptOutcome, AttemptEnd, AttemptStats},
};

/// Part of the field `fold`: the attempts by id, each with how it ended and why.
pub(crate) const ATTEMPTS: &str = "attempts";

pub(crate) fn stats_value(stats: &AttemptStats) -> Value {
    let attempt = |(id, end): (&AttemptId, Option<&AttemptEnd>)| {
        let end = end.map(|end| {
            let outcome = ("outcome".to_owned(), text(name_of(&AttemptOutcome::ALL, end.outcome)));
            Value::Map(Fields::from([outcome, ("code".to_owned(), text(&end.code))]))
        });
        (id.to_string(), end.unwrap_or(Value::Null))
    };
    Value::Map(stats.attempts().map(attempt).collect())
}

pub(crate) fn as_stats(value: &Value) -> AttemptStats {
    let mut stats = AttemptStats::default();
    let Value::Map(attempts) = value else { return stats };
    for (id, value) in attempts {
        let outcome = by_name(&AttemptOutcome::ALL, as_text(member(value, "outcome"))).ok();
        let code = || bounded(as_text(member(value, "code")), MAX_CODE_CHARS);
        let end = outcome.map(|outcome| AttemptEnd { outcome, code: code() });
        if let Ok(id) = AttemptId::parse(id) {
            stats.record(&id, end);
        }
    }
    stats
}

/// The codes of the failed attempts, for people.
pub(crate) fn failure_codes_value(stats: &AttemptStats) -> Value {
    let failure_codes = stats.attempts().filter_map(|(_, end)| end);
    Value::Array(failure_codes.filter(|end| !end.code.is_empty()).map(|end| text(&end.code)).collect())
}

pub(crate) fn history_value(history: &History) -> Value {
    Value::Array(history.ends().map(end_value).collect())
}

pub(crate) fn end_value((generation, end): (u32, &GenerationEnd)) -> Value {
    Value::Map(Fields::from([
        (GENERATION.into(), integer(i64::from(generation))),
        (STATUS.into(), text(name_of(&State::ALL, end.state))),
        ("error".into(), end.failure.as_ref().map_or(Value::Null, failure_value)),
        ("endedAt".into(), instant(Some(end.at_ms))),
    ]))
}

pub(crate) fn as_history(value: &Value) -> History {
    let mut history = History::default();
    let Value::Array(ends) = value else { return history };
    ends.iter().filter_map(as_end).for_each(|(generation, end)| history.record(generation, end));
    history
}

pub(crate) fn as_end(value: &Value) -> Option<(u32, GenerationEnd)> {
    let generation = u32::try_from(as_integer(member(value, GENERATION))).ok()?;
    let state = by_name(&State::ALL, as_text(member(value, STATUS))).ok()?;
    let at_ms = as_instant(member(value, "endedAt"))?;
    Some((generation, GenerationEnd { state, at_ms, failure: maybe(member(value, "error")).map(as_failure) }))
}

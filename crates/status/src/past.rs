//! What lies behind a clip, as values of its document and back: the attempts of its generation, and how earlier ones ended.

use crate::values::{
    as_failure, as_instant, as_integer, as_text, failure_value, instant, integer, maybe, member, text,
};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names::{GENERATION, STATUS};
use clipfleet_domain::{
    bounds::bounded,
    history::{Ending, History},
    ids::AttemptId,
    limits::MAX_CODE_CHARS,
    rendition::{by_name, name_of},
    state::State,
    tally::{Ended, Setback, Tally},
};

/// Field of what is folded on: the attempts by id, each with how it ended and why.
pub(crate) const ATTEMPTS: &str = "attempts";

pub(crate) fn tally_value(tally: &Tally) -> Value {
    let attempt = |(id, setback): (&AttemptId, Option<&Setback>)| {
        let setback = setback.map(|setback| {
            let ended = ("ended".to_owned(), text(name_of(&Ended::ALL, setback.ended)));
            Value::Map(Fields::from([ended, ("code".to_owned(), text(&setback.code))]))
        });
        (id.to_string(), setback.unwrap_or(Value::Null))
    };
    Value::Map(tally.attempts().map(attempt).collect())
}

pub(crate) fn as_tally(value: &Value) -> Tally {
    let mut tally = Tally::default();
    let Value::Map(attempts) = value else { return tally };
    for (id, value) in attempts {
        let ended = by_name(&Ended::ALL, as_text(member(value, "ended"))).ok();
        let code = || bounded(as_text(member(value, "code")), MAX_CODE_CHARS);
        let setback = ended.map(|ended| Setback { ended, code: code() });
        if let Ok(id) = AttemptId::parse(id) {
            tally.note(&id, setback);
        }
    }
    tally
}

/// The codes of what went wrong, for people.
pub(crate) fn setbacks_value(tally: &Tally) -> Value {
    let setbacks = tally.attempts().filter_map(|(_, setback)| setback);
    Value::Array(setbacks.filter(|setback| !setback.code.is_empty()).map(|setback| text(&setback.code)).collect())
}

pub(crate) fn history_value(history: &History) -> Value {
    Value::Array(history.endings().map(ending_value).collect())
}

pub(crate) fn ending_value((generation, ending): (u32, &Ending)) -> Value {
    Value::Map(Fields::from([
        (GENERATION.into(), integer(i64::from(generation))),
        (STATUS.into(), text(name_of(&State::ALL, ending.state))),
        ("error".into(), ending.failure.as_ref().map_or(Value::Null, failure_value)),
        ("endedAt".into(), instant(Some(ending.at_ms))),
    ]))
}

pub(crate) fn as_history(value: &Value) -> History {
    let mut history = History::default();
    let Value::Array(endings) = value else { return history };
    endings.iter().filter_map(as_ending).for_each(|(generation, ending)| history.note(generation, ending));
    history
}

pub(crate) fn as_ending(value: &Value) -> Option<(u32, Ending)> {
    let generation = u32::try_from(as_integer(member(value, GENERATION))).ok()?;
    let state = by_name(&State::ALL, as_text(member(value, STATUS))).ok()?;
    let at_ms = as_instant(member(value, "endedAt"))?;
    Some((generation, Ending { state, at_ms, failure: maybe(member(value, "error")).map(as_failure) }))
}

//! What may go wrong on purpose, as rules that people write.

use serde::{Deserialize, Serialize};
use std::fmt;
use tonic::Code;

/// Rules, and the seed of the dice they throw.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Equal seeds throw equal dice; how they fall on concurrent calls depends on who comes first.
    #[serde(default)]
    pub(super) seed: u64,
    /// Looked at in this order; several may strike the same call.
    pub(super) rules: Vec<Rule>,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// What it is about; `*` stands for any text. A call is named as its gRPC method (`google.pubsub.v1.Publisher/Publish`) or as
    /// its HTTP method and path (`GET /storage/v1/b/clips/o/a.mp4`). The faults of delivery go by the subscription's full name
    /// (`projects/p/subscriptions/s`).
    pub(super) on: String,
    /// What happens.
    pub(super) fault: Fault,
    /// How often it happens, 0 to 1.
    #[serde(default = "always")]
    pub(super) probability: f64,
    /// After how many times it stops; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) times: Option<u64>,
}

fn always() -> f64 {
    1.0
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// The call waits this long before anything else.
    Delay { ms: u64 },
    /// The call is refused with this code; nothing was done.
    Refuse { code: ErrorCode },
    /// The connection breaks; nothing was done.
    Cut,
    /// The call is done, and the connection breaks before its answer.
    LoseAnswer,
    /// The connection breaks in the middle of the answer: after at most so many bytes of it, or after this time, whichever comes
    /// first.
    CutAnswer {
        #[serde(default)]
        after_bytes: Option<u64>,
        #[serde(default)]
        after_ms: Option<u64>,
    },
    /// One byte of the answer, `at` bytes from its beginning, is another one. Of a ranged read no checksum tells.
    Corrupt {
        #[serde(default)]
        at: u64,
    },
    /// The message is offered again while its receiver still works on it.
    Duplicate,
    /// Messages are delivered in another order.
    Reorder,
    /// The acknowledgement is confirmed and forgotten.
    LoseAck,
}

/// A gRPC code but OK; on HTTP its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ErrorCode {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Cancelled => Code::Cancelled,
            ErrorCode::Unknown => Code::Unknown,
            ErrorCode::InvalidArgument => Code::InvalidArgument,
            ErrorCode::DeadlineExceeded => Code::DeadlineExceeded,
            ErrorCode::NotFound => Code::NotFound,
            ErrorCode::AlreadyExists => Code::AlreadyExists,
            ErrorCode::PermissionDenied => Code::PermissionDenied,
            ErrorCode::ResourceExhausted => Code::ResourceExhausted,
            ErrorCode::FailedPrecondition => Code::FailedPrecondition,
            ErrorCode::Aborted => Code::Aborted,
            ErrorCode::OutOfRange => Code::OutOfRange,
            ErrorCode::Unimplemented => Code::Unimplemented,
            ErrorCode::Internal => Code::Internal,
            ErrorCode::Unavailable => Code::Unavailable,
            ErrorCode::DataLoss => Code::DataLoss,
            ErrorCode::Unauthenticated => Code::Unauthenticated,
        }
    }
}

/// What is wrong with rules: where, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRules(String);

impl fmt::Display for BadRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rules {
    /// Reads rules from JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, BadRules> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let rules: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            BadRules(if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) })
        })?;
        for (index, rule) in rules.rules.iter().enumerate() {
            if !(0.0..=1.0).contains(&rule.probability) {
                return Err(BadRules(format!(
                    "rules[{index}].probability: {} is not within 0 and 1",
                    rule.probability
                )));
            }
            if rule.fault == (Fault::CutAnswer { after_bytes: None, after_ms: None }) {
                return Err(BadRules(format!("rules[{index}].fault.cut_answer: give after_bytes, after_ms or both")));
            }
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_rule_is_named_with_its_place() {
        let bad = |json: &str| Rules::parse(json.as_bytes()).unwrap_err().to_string();
        let unknown = bad(r#"{"rules": [{"on": "*", "fault": {"refuse": {"code": "SORRY"}}}]}"#);
        assert!(unknown.starts_with("rules[0].fault.refuse.code: unknown variant `SORRY`"), "{unknown}");
        let often = bad(r#"{"rules": [{"on": "*", "fault": "cut", "probability": 2}]}"#);
        assert_eq!(often, "rules[0].probability: 2 is not within 0 and 1");
        let misspelt = bad(r#"{"rules": [{"on": "*", "fault": "cut", "time": 2}]}"#);
        assert!(misspelt.contains("unknown field `time`"), "{misspelt}");
        let endless = bad(r#"{"rules": [{"on": "*", "fault": {"cut_answer": {}}}]}"#);
        assert_eq!(endless, "rules[0].fault.cut_answer: give after_bytes, after_ms or both");
        assert!(bad("nonsense").contains("expected"));
    }

    #[test]
    fn every_fault_reads_back_as_it_was_written() {
        let text = r#"{"seed":3,"rules":[
            {"on":"*","fault":{"delay":{"ms":5}},"probability":0.5},
            {"on":"google.pubsub.v1.Publisher/Publish","fault":{"refuse":{"code":"UNAVAILABLE"}},"times":2},
            {"on":"*","fault":"cut"},{"on":"*","fault":"lose_answer"},
            {"on":"*","fault":{"cut_answer":{"after_bytes":10,"after_ms":20}}},
            {"on":"*","fault":{"corrupt":{"at":4}}},
            {"on":"*","fault":"duplicate"},{"on":"*","fault":"reorder"},{"on":"*","fault":"lose_ack"}]}"#;
        let rules = Rules::parse(text.as_bytes()).unwrap();
        let again = Rules::parse(&serde_json::to_vec(&rules).unwrap()).unwrap();
        assert_eq!(rules.rules.len(), 9);
        assert!(rules.rules.iter().zip(&again.rules).all(|(one, other)| one.fault == other.fault));
    }
}

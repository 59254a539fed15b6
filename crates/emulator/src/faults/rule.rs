//! Fault rules, as users write them in JSON.

use serde::{Deserialize, Serialize};
use std::fmt;
use tonic::Code;

/// Rules, and the seed of their random draws.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Equal seeds give equal draws. With concurrent calls, the assignment of draws to calls depends on their order.
    #[serde(default)]
    pub(super) seed: u64,
    /// The rules are evaluated in this order; several may strike the same call.
    pub(super) rules: Vec<Rule>,
}

/// One fault, and when it strikes.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// The name that this rule matches; `*` stands for any text. A call is named by its gRPC method
    /// (`google.pubsub.v1.Publisher/Publish`) or by its HTTP method and path (`GET /storage/v1/b/clips/o/a.mp4`).
    /// Delivery faults match the subscription's full name (`projects/p/subscriptions/s`).
    pub(super) on: String,
    /// The fault.
    pub(super) fault: Fault,
    /// The probability that the fault strikes, 0 to 1.
    #[serde(default = "always")]
    pub(super) probability: f64,
    /// How often the fault strikes at most; unlimited if absent.
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
    /// The call is delayed before anything else.
    Delay { ms: u64 },
    /// The call is rejected with this code; it has no effect.
    Refuse { code: ErrorCode },
    /// The connection breaks; the call has no effect.
    Cut,
    /// The call takes effect, and the connection breaks before the response.
    LoseAnswer,
    /// The connection breaks within the response: after at most this many bytes or after this time, whichever comes
    /// first.
    CutAnswer {
        #[serde(default)]
        after_bytes: Option<u64>,
        #[serde(default)]
        after_ms: Option<u64>,
    },
    /// One byte of the response, `at` bytes from its beginning, is changed. No checksum covers a ranged read.
    Corrupt {
        #[serde(default)]
        at: u64,
    },
    /// The message is delivered again while its receiver still works on it.
    Duplicate,
    /// Messages are delivered in another order.
    Reorder,
    /// The acknowledgement is confirmed but dropped.
    LoseAck,
}

/// A gRPC code other than OK. HTTP calls get the corresponding status.
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

/// What is wrong with the rules: the path of the field and the expected value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidRules(String);

impl fmt::Display for InvalidRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rules {
    /// Parses rules from JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, InvalidRules> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let rules: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            InvalidRules(if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) })
        })?;
        for (index, rule) in rules.rules.iter().enumerate() {
            if !(0.0..=1.0).contains(&rule.probability) {
                return Err(InvalidRules(format!(
                    "rules[{index}].probability: {} is not within 0 and 1",
                    rule.probability
                )));
            }
            if rule.fault == (Fault::CutAnswer { after_bytes: None, after_ms: None }) {
                return Err(InvalidRules(format!(
                    "rules[{index}].fault.cut_answer: give after_bytes, after_ms or both"
                )));
            }
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_rule_is_reported_with_its_path() {
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
    fn every_fault_round_trips_through_json() {
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

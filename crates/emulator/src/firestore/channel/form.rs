//! What a browser sends: parameters in the URL, and messages ("maps") in a form.

use crate::{limits, url};
use std::collections::HashMap;
use tonic::Status;

/// The parameters of a request's URL.
pub(super) struct Parameters(Vec<(String, String)>);

/// A request for arrays.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BackChannel {
    /// The number of the last array that the browser received.
    pub(super) last_array: u64,
    /// Whether the response ends after the first arrays, because a proxy buffers responses until they end.
    pub(super) once: bool,
    /// How long the browser waits for a response, in milliseconds, if it specifies that.
    pub(super) wait_ms: Option<u64>,
}

/// Messages, and the number of the first.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Messages {
    pub(super) first: u64,
    pub(super) texts: Vec<String>,
}

impl Parameters {
    /// Reads a query string.
    pub(super) fn parse(query: &str) -> Self {
        Self(url::query(query))
    }

    /// The session ID; none in a handshake.
    pub(super) fn session(&self) -> Option<&str> {
        self.get("SID").filter(|id| *id != "null")
    }

    /// Whether the browser ends the session.
    pub(super) fn terminates(&self) -> bool {
        self.get("TYPE") == Some("terminate")
    }

    /// Whether a handshake asks for the session ID in a header, too, where Google's load balancers expect it.
    pub(super) fn requests_session_header(&self) -> bool {
        self.get("X-HTTP-Session-Id").is_some()
    }

    /// Rejects every version of the protocol but the only one in use.
    pub(super) fn check_version(&self) -> Result<(), Status> {
        match self.get("VER") {
            Some("8") => Ok(()),
            other => Err(invalid("VER", other, "8, the version of WebChannel that is spoken here")),
        }
    }

    /// The number of the last array that the browser received, if it sends one.
    pub(super) fn acknowledged(&self) -> Result<Option<u64>, Status> {
        self.number("AID")
    }

    /// The parameters of a request for arrays.
    pub(super) fn back_channel(&self) -> Result<BackChannel, Status> {
        if self.get("RID") != Some("rpc") {
            return Err(invalid("RID", self.get("RID"), "rpc in a GET request"));
        }
        if let Some(kind) = self.get("TYPE").filter(|kind| *kind != "xmlhttp") {
            return Err(invalid("TYPE", Some(kind), "xmlhttp or terminate"));
        }
        let last_array =
            self.acknowledged()?.ok_or_else(|| invalid("AID", None, "the number of the last array received"))?;
        Ok(BackChannel { last_array, once: self.get("CI") == Some("1"), wait_ms: self.number("TO")? })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        let parse = |text: &str| number(text).ok_or_else(|| invalid(name, Some(text), "a number"));
        self.get(name).map(parse).transpose()
    }
}

impl Messages {
    /// Reads a form: `count=2&ofs=7&req0___data__=...&req1___data__=...`.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Status> {
        let body = std::str::from_utf8(body).map_err(|_| Status::invalid_argument("the form is not UTF-8"))?;
        let mut fields: HashMap<_, _> = url::query(body).into_iter().collect();
        let mut take = |name: &str| fields.remove(name);
        let Some(text) = take("count") else { return Ok(Self::default()) };
        let max = limits::MAX_CHANNEL_MESSAGES;
        let expected = format!("a number up to {max}");
        let count = number(&text)
            .filter(|count| *count <= max as u64)
            .ok_or_else(|| invalid("count", Some(&text), &expected))?;
        let text = take("ofs").unwrap_or_else(|| "0".into());
        let first = number(&text).ok_or_else(|| invalid("ofs", Some(&text), "the number of the first message"))?;
        let message = |index| {
            let name = format!("req{index}___data__");
            take(&name).ok_or_else(|| invalid(&name, None, "a message, as the form's count promises"))
        };
        Ok(Self { first, texts: (0..count).map(message).collect::<Result<_, _>>()? })
    }
}

/// Parses a number that browsers can represent exactly.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number < 1 << 53)
}

fn invalid(name: &str, value: Option<&str>, expected: &str) -> Status {
    let value = value.map_or_else(
        || "missing".to_owned(),
        |value| format!("\"{}\"", value.escape_debug().take(80).collect::<String>()),
    );
    Status::invalid_argument(format!("the parameter {name} is {value}; expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_the_sdk_is_read() {
        let form = "headers=X-Goog-Api-Client%3Agl-js%2F%0D%0A&count=2&ofs=3\
                    &req0___data__=%7B%22a%22%3A%22%C3%BC%22%7D&req1___data__=%7B%7D";
        let messages = Messages::parse(form.as_bytes()).unwrap();
        assert_eq!(messages, Messages { first: 3, texts: vec![r#"{"a":"ü"}"#.into(), "{}".into()] });
        assert_eq!(Messages::parse(b"").unwrap(), Messages::default());
        assert_eq!(Messages::parse(b"count=0").unwrap(), Messages::default());
    }

    #[test]
    fn an_inconsistent_form_is_rejected_with_the_parameter_name() {
        for (form, named) in [
            ("count=2&ofs=0&req0___data__=%7B%7D", "req1___data__ is missing"),
            ("count=1001", "count is \"1001\""),
            ("count=-1", "count is \"-1\""),
            ("count=1&ofs=99999999999999999999&req0___data__=x", "ofs is"),
            ("count=1&req0_type=_badmap", "req0___data__ is missing"),
        ] {
            let rejected = Messages::parse(form.as_bytes()).unwrap_err();
            assert!(rejected.message().contains(named), "{form}: {}", rejected.message());
        }
        assert!(Messages::parse(b"count=\xff").is_err());
    }

    #[test]
    fn a_request_for_arrays_names_the_last_array() {
        let parse = |query| Parameters::parse(query).back_channel();
        assert_eq!(
            parse("SID=s&RID=rpc&AID=4&CI=0&TYPE=xmlhttp").unwrap(),
            BackChannel { last_array: 4, once: false, wait_ms: None }
        );
        assert_eq!(
            parse("SID=s&RID=rpc&AID=0&CI=1&TO=5000&TYPE=xmlhttp").unwrap(),
            BackChannel { last_array: 0, once: true, wait_ms: Some(5_000) }
        );
        for query in ["RID=rpc", "RID=7&AID=0", "RID=rpc&AID=x", "RID=rpc&AID=0&TYPE=html", "RID=rpc&AID=0&TO=soon"] {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}

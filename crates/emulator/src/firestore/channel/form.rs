//! What a browser says: parameters in the address, and messages ("maps") in a form.

use crate::{limits, url};
use std::collections::HashMap;
use tonic::Status;

/// The parameters of a request's address.
pub(super) struct Parameters(Vec<(String, String)>);

/// Which arrays the asker has, and how it wants the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BackChannel {
    /// The number of the last array that it has.
    pub(super) has: u64,
    /// Whether the answer ends after the first arrays, because something on the way holds answers back until they end.
    pub(super) once: bool,
    /// How long it waits for an answer, if it says so, in milliseconds.
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

    /// The session meant; none in a handshake.
    pub(super) fn session(&self) -> Option<&str> {
        self.get("SID").filter(|id| *id != "null")
    }

    /// Whether the session is to end.
    pub(super) fn terminates(&self) -> bool {
        self.get("TYPE") == Some("terminate")
    }

    /// Whether a handshake asks for a session id in a header, too: Google's load balancers look for it there.
    pub(super) fn wants_session_header(&self) -> bool {
        self.get("X-HTTP-Session-Id").is_some()
    }

    /// Refuses versions of the protocol other than the only one in use.
    pub(super) fn check_version(&self) -> Result<(), Status> {
        match self.get("VER") {
            Some("8") => Ok(()),
            other => Err(bad("VER", other, "8, the version of WebChannel that is spoken here")),
        }
    }

    /// The last array that the asker has, if it says so.
    pub(super) fn acknowledged(&self) -> Result<Option<u64>, Status> {
        self.number("AID")
    }

    /// The parameters of a request for arrays.
    pub(super) fn back_channel(&self) -> Result<BackChannel, Status> {
        if self.get("RID") != Some("rpc") {
            return Err(bad("RID", self.get("RID"), "rpc in a GET request"));
        }
        if let Some(kind) = self.get("TYPE").filter(|kind| *kind != "xmlhttp") {
            return Err(bad("TYPE", Some(kind), "xmlhttp or terminate"));
        }
        let has = self.acknowledged()?.ok_or_else(|| bad("AID", None, "the number of the last array received"))?;
        Ok(BackChannel { has, once: self.get("CI") == Some("1"), wait_ms: self.number("TO")? })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Status> {
        let parse = |text: &str| number(text).ok_or_else(|| bad(name, Some(text), "a number"));
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
        let most = limits::CHANNEL_MESSAGES;
        let wanted = format!("a number up to {most}");
        let count =
            number(&text).filter(|count| *count <= most as u64).ok_or_else(|| bad("count", Some(&text), &wanted))?;
        let text = take("ofs").unwrap_or_else(|| "0".into());
        let first = number(&text).ok_or_else(|| bad("ofs", Some(&text), "the number of the first message"))?;
        let message = |index| {
            let name = format!("req{index}___data__");
            take(&name).ok_or_else(|| bad(&name, None, "a message, as the form's count promises"))
        };
        Ok(Self { first, texts: (0..count).map(message).collect::<Result<_, _>>()? })
    }
}

/// A number that browsers can count to.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number < 1 << 53)
}

fn bad(name: &str, value: Option<&str>, wanted: &str) -> Status {
    let value = value.map_or_else(
        || "missing".to_owned(),
        |value| format!("\"{}\"", value.escape_debug().take(80).collect::<String>()),
    );
    Status::invalid_argument(format!("the parameter {name} is {value}; expected {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_the_sdk_is_read() {
        let form = "headers=X-Goog-Api-Client%3Agl-js%2F%0D%0A&count=2&ofs=3&req0___data__=%7B%22a%22%3A%22%C3%BC%22%7D&req1___data__=%7B%7D";
        let messages = Messages::parse(form.as_bytes()).unwrap();
        assert_eq!(messages, Messages { first: 3, texts: vec![r#"{"a":"ü"}"#.into(), "{}".into()] });
        assert_eq!(Messages::parse(b"").unwrap(), Messages::default());
        assert_eq!(Messages::parse(b"count=0").unwrap(), Messages::default());
    }

    #[test]
    fn a_form_that_breaks_its_word_is_refused_by_name() {
        for (form, named) in [
            ("count=2&ofs=0&req0___data__=%7B%7D", "req1___data__ is missing"),
            ("count=1001", "count is \"1001\""),
            ("count=-1", "count is \"-1\""),
            ("count=1&ofs=99999999999999999999&req0___data__=x", "ofs is"),
            ("count=1&req0_type=_badmap", "req0___data__ is missing"),
        ] {
            let refused = Messages::parse(form.as_bytes()).unwrap_err();
            assert!(refused.message().contains(named), "{form}: {}", refused.message());
        }
        assert!(Messages::parse(b"count=\xff").is_err());
    }

    #[test]
    fn a_request_for_arrays_says_what_it_has() {
        let parse = |query| Parameters::parse(query).back_channel();
        assert_eq!(
            parse("SID=s&RID=rpc&AID=4&CI=0&TYPE=xmlhttp").unwrap(),
            BackChannel { has: 4, once: false, wait_ms: None }
        );
        assert_eq!(
            parse("SID=s&RID=rpc&AID=0&CI=1&TO=5000&TYPE=xmlhttp").unwrap(),
            BackChannel { has: 0, once: true, wait_ms: Some(5_000) }
        );
        for query in ["RID=rpc", "RID=7&AID=0", "RID=rpc&AID=x", "RID=rpc&AID=0&TYPE=html", "RID=rpc&AID=0&TO=soon"] {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}

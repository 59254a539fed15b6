//! The shared token of a fleet that several people use (`clipfleet up --token`): every request needs it, but for the
//! files of the web page, which asks for it. Programs send it as `Authorization: Bearer`; browsers, whose pictures and
//! videos cannot, exchange it for a cookie.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};

/// The variable that holds it, for servers and clients alike.
pub(crate) const TOKEN_VARIABLE: &str = "CLIPFLEET_TOKEN";

/// Where a token is exchanged for a cookie.
const SESSION: &str = "/v1/session";

/// How long browsers keep the cookie, seconds.
const SESSION_SECONDS: u32 = 30 * 24 * 3_600;

/// Characters of a token: nobody guesses sixteen, even many times a second.
const MIN_CHARS: usize = 16;

/// A shared token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SharedToken(String);

impl SharedToken {
    /// Parses the value of a setting; `None` if it is empty. The error reads after the setting's name, and does not
    /// repeat the secret.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, String> {
        let is_valid = text.len() >= MIN_CHARS && text.chars().all(|c| c.is_ascii_graphic());
        match text {
            "" => Ok(None),
            _ if is_valid => Ok(Some(Self(text.to_owned()))),
            _ => Err(format!(
                "must have at least {MIN_CHARS} characters without spaces and accents, for example the output of \
                 `openssl rand -hex 16`; got {}",
                text.chars().count()
            )),
        }
    }

    /// Lets only requests with the token reach a server's routes.
    pub(crate) fn protect(self, routes: Router) -> Router {
        let gate = Arc::new(Gate::new(&self.0));
        let sessions = Router::new().route(SESSION, post(open_session)).with_state(Arc::clone(&gate));
        routes.layer(from_fn_with_state(gate, check)).merge(sessions)
    }
}

impl fmt::Debug for SharedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedToken")
    }
}

/// Compares tokens by their hashes, so that the time of a comparison tells nothing.
struct Gate {
    token: [u8; 32],
    /// Name and value of the cookie. Browsers send cookies to all ports of a host, so that each fleet needs a name of
    /// its own.
    cookie: (String, String),
}

impl Gate {
    fn new(token: &str) -> Self {
        let hash = hex::encode(Sha256::digest(format!("clipfleet session {token}")));
        let (name, value) = hash.split_at(8);
        Self { token: Sha256::digest(token).into(), cookie: (format!("clipfleet-{name}"), value.to_owned()) }
    }

    fn is_token(&self, given: &str) -> bool {
        <[u8; 32]>::from(Sha256::digest(given)) == self.token
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let bearer = headers.get(header::AUTHORIZATION).map(text);
        let bearer = bearer.as_deref().and_then(|given| given.split_once(' '));
        let by_token =
            bearer.is_some_and(|(scheme, given)| scheme.eq_ignore_ascii_case("bearer") && self.is_token(given.trim()));
        let (name, value) = &self.cookie;
        let by_cookie = || {
            let cookies: Vec<String> = headers.get_all(header::COOKIE).iter().map(text).collect();
            let mut pairs = cookies.iter().flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
            pairs.any(|(known, given)| known.trim() == name && Sha256::digest(given.trim()) == Sha256::digest(value))
        };
        by_token || by_cookie()
    }
}

/// Files of the page hold no data, and without them nobody could enter the token.
fn is_page(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        && (path == "/" || path == "/console" || path.starts_with("/console/"))
}

async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if is_page(request.method(), request.uri().path()) || gate.admits(request.headers()) {
        return next.run(request).await;
    }
    refused("this fleet has a token: send it as Authorization: Bearer TOKEN, or open the web page to enter it")
}

#[derive(Deserialize)]
struct Session {
    token: String,
}

async fn open_session(State(gate): State<Arc<Gate>>, Json(session): Json<Session>) -> Response {
    if !gate.is_token(session.token.trim()) {
        return refused("that is not the token of this fleet");
    }
    let (name, value) = &gate.cookie;
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_SECONDS}");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

fn refused(message: &str) -> Response {
    let error = json!({"error": {"code": "unauthenticated", "message": message, "details": []}});
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], Json(error)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use tower::ServiceExt as _;

    const TOKEN: &str = "correct-horse-battery";

    fn server() -> Router {
        let routes = Router::new()
            .route("/v1/batches", get(|| async { "batches" }).post(|| async { "accepted" }))
            .route("/console/{name}", get(|| async { "page" }))
            .route("/storage/v1/b/media/o/a.mp4", get(|| async { "bytes" }));
        SharedToken::parse(TOKEN).unwrap().unwrap().protect(routes)
    }

    async fn send(request: axum::http::request::Builder, body: &'static str) -> Response {
        server().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }

    async fn status(method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        send(request, "").await.status().as_u16()
    }

    async fn session(body: &'static str) -> Response {
        send(Request::post(SESSION).header("content-type", "application/json"), body).await
    }

    #[tokio::test]
    async fn only_the_page_is_served_without_the_token() {
        assert_eq!(status("GET", "/console/main.js", &[]).await, 200);
        for (method, path) in [
            ("GET", "/v1/batches"),
            ("POST", "/v1/batches"),
            ("GET", "/storage/v1/b/media/o/a.mp4"),
            ("POST", "/console/main.js"),
        ] {
            assert_eq!(status(method, path, &[]).await, 401, "{method} {path}");
        }
        for path in ["/nothing", "//v1/batches", "/console/../v1/batches", "/console/%2e%2e/v1/batches"] {
            assert!([401, 404].contains(&status("GET", path, &[]).await), "{path}");
        }
    }

    #[tokio::test]
    async fn the_token_opens_everything_and_other_tokens_nothing() {
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(status("GET", "/v1/batches", &[("authorization", &bearer)]).await, 200);
        assert_eq!(status("GET", "/v1/batches", &[("authorization", &bearer.to_lowercase())]).await, 200);
        for wrong in ["Bearer correct-horse-batter", "Bearer ", "Bearer", TOKEN, "Basic correct-horse-battery"] {
            assert_eq!(status("GET", "/v1/batches", &[("authorization", wrong)]).await, 401, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_browser_exchanges_the_token_for_a_cookie_that_scripts_cannot_read() {
        let wrong = session(r#"{"token": "wrong-horse-battery"}"#).await;
        assert_eq!((wrong.status().as_u16(), wrong.headers().contains_key("set-cookie")), (401, false));
        let opened = session(r#"{"token": "correct-horse-battery"}"#).await;
        assert_eq!(opened.status(), 204);
        let cookie = opened.headers()["set-cookie"].to_str().unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN),
            "{cookie}"
        );
        let pair = cookie.split(';').next().unwrap();
        let several = format!("other=1; {pair}");
        assert_eq!(status("GET", "/storage/v1/b/media/o/a.mp4", &[("cookie", &several)]).await, 200);
        let (name, _) = pair.split_once('=').unwrap();
        for wrong in [format!("{name}="), format!("{name}={}", "0".repeat(56)), format!("x{pair}")] {
            assert_eq!(status("GET", "/v1/batches", &[("cookie", &wrong)]).await, 401, "{wrong}");
        }
    }

    #[test]
    fn a_token_that_could_be_guessed_is_refused_without_being_repeated() {
        assert_eq!(SharedToken::parse(""), Ok(None));
        for weak in ["secret", "fifteen-letters", "with spaces in the middle", "mit-umlauten-äöü"] {
            let error = SharedToken::parse(weak).unwrap_err();
            assert!(error.contains("openssl rand") && !error.contains(weak), "{error}");
        }
        assert!(!format!("{:?}", SharedToken::parse(TOKEN)).contains(TOKEN));
    }
}

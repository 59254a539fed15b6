//! The API as callers with tokens see it, over real HTTP requests. Tokens are made here by hand (RFC 7515), not by the
//! library that verifies them.

use super::{Authentication, Callers};
use crate::{Api, Dispatch, Surface, routes};
use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding},
};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, header},
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clipfleet_cloud::{
    Body as Bytes, Cloud, NewObject, ObjectName, Precondition, SubscriptionSpec, Value, Write, fields_of, memory,
};
use clipfleet_contract::names;
use clipfleet_domain::access::AccessPolicy;
use clipfleet_service::clock::Clock;
use serde_json::{Value as JsonValue, json};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

const PROJECT: &str = "shorts";
const AUDIENCE: &str = "https://clipfleet.example";

/// A key of an issuer. Making one takes a second.
struct Signer {
    id: &'static str,
    pair: KeyPair,
}

static FIREBASE: LazyLock<Signer> = LazyLock::new(|| Signer::new("firebase-1"));
static GOOGLE: LazyLock<Signer> = LazyLock::new(|| Signer::new("google-1"));
/// Of nobody whom the fleet trusts.
static STRANGER: LazyLock<Signer> = LazyLock::new(|| Signer::new("firebase-1"));

impl Signer {
    fn new(id: &'static str) -> Self {
        Self { id, pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    /// The public key, as an issuer publishes it (RFC 7517).
    fn jwk(&self) -> JsonValue {
        let der = self.pair.public_key().as_der().unwrap();
        let der = der.as_ref();
        // SubjectPublicKeyInfo of 2,048 bits: the modulus follows 33 bytes, the exponent ends it.
        assert_eq!(der.len(), 294);
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id, "n": text(&der[33..289]), "e": text(&der[291..])})
    }

    fn sign(&self, header: &JsonValue, claims: &JsonValue, how: &'static dyn RsaEncoding) -> String {
        let part = |value: &JsonValue| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(how, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &JsonValue) -> String {
        self.sign(&json!({"alg": "RS256", "typ": "JWT", "kid": self.id}), claims, &RSA_PKCS1_SHA256)
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn owner_claims(uid: &str) -> JsonValue {
    json!({
        "iss": format!("https://securetoken.google.com/{PROJECT}"), "aud": PROJECT, "sub": uid, "user_id": uid,
        "iat": now() - 5, "exp": now() + 3_600, "auth_time": now() - 60,
    })
}

fn owner(uid: &str) -> String {
    FIREBASE.token(&owner_claims(uid))
}

fn account_claims(email: &str) -> JsonValue {
    json!({
        "iss": "https://accounts.google.com", "aud": AUDIENCE, "sub": "1234567890", "email": email,
        "email_verified": true, "iat": now() - 5, "exp": now() + 3_600,
    })
}

fn account(email: &str) -> String {
    GOOGLE.token(&account_claims(email))
}

/// An issuer's address, with the number of times that its keys were fetched.
async fn publish(keys: Vec<JsonValue>) -> (String, Arc<AtomicU32>) {
    let fetched = Arc::new(AtomicU32::new(0));
    let (counter, listener) = (Arc::clone(&fetched), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let answer = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        ([(header::CACHE_CONTROL, "public, max-age=3600")], Json(json!({"keys": keys})))
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", get(answer))).await });
    (url, fetched)
}

struct Server {
    routes: Router,
    cloud: Cloud,
    fetched: Arc<AtomicU32>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: JsonValue,
}

impl Server {
    /// With a completed batch of user u1 (`b1`) and a queued one (`b2`), and a batch of u2.
    async fn start(surface: Surface) -> Self {
        let (firebase, fetched) = publish(vec![FIREBASE.jwk()]).await;
        let (google, _) = publish(vec![GOOGLE.jwk()]).await;
        let callers = Callers {
            firebase_project: Some(PROJECT.into()),
            audience: Some(AUDIENCE.into()),
            requesters: vec!["backend@shorts.iam.gserviceaccount.com".into()],
            operators: vec!["Ops@shorts.example".into()],
        };
        let authentication = Authentication::with_keys(&callers, &firebase, &google).unwrap();
        let cloud = memory::cloud();
        for topic in [names::CLIP_JOBS, names::PROGRESS_EVENTS] {
            cloud.queue.ensure_topic(topic).await.unwrap();
            let ack_deadline = Duration::from_secs(60);
            let (name, topic) = (topic.to_owned(), topic.to_owned());
            let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
            cloud.queue.ensure_subscription(&spec).await.unwrap();
        }
        for bucket in ["uploads", "results"] {
            cloud.objects.ensure_bucket(bucket).await.unwrap();
        }
        for (bucket, object) in
            [("uploads", "u1/a.mp4"), ("uploads", "u2/a.mp4"), ("results", "u1/c1.mp4"), ("results", "u2/c1.mp4")]
        {
            let new = NewObject::default();
            cloud.objects.create(&ObjectName::new(bucket, object), new, Bytes::Bytes("video".into())).await.unwrap();
        }
        let sources = vec!["gs://uploads/{ownerUid}/".parse().unwrap()];
        let access = AccessPolicy::new(sources, vec!["gs://results/{ownerUid}/".parse().unwrap()]).unwrap();
        let dispatch = Arc::new(Dispatch::new(cloud.clone(), access, Clock::system()));
        let server = Self { routes: routes(dispatch, Api { surface, authentication }), cloud, fetched };
        for (batch, uid) in [("b1", "u1"), ("b2", "u1"), ("b3", "u2")] {
            if surface != Surface::Operations {
                let accepted = server.send("POST", "/v1/batches", &owner(uid), Some(request(batch, uid))).await;
                assert_eq!(accepted.status, 202, "{}", accepted.body);
            }
        }
        server.complete("b1", "u1").await;
        server
    }

    /// Writes the documents that the status service would write.
    async fn complete(&self, batch: &str, uid: &str) {
        let uri = format!("gs://results/{uid}/c1.mp4");
        let fields = |id: &str| {
            [
                ("ownerUid", Value::text(uid)),
                ("projectId", Value::text("p1")),
                ("batchId", Value::text(batch)),
                ("clipId", Value::text(id)),
                ("status", Value::text("completed")),
                ("outputUri", Value::text(uri.as_str())),
                ("createdAt", Value::instant(1_000)),
            ]
        };
        let put = |path: String, id| Write { path, fields: fields_of(fields(id)), precondition: Precondition::None };
        let path = format!("exportBatches/{batch}");
        let writes = vec![put(path.clone(), ""), put(format!("{path}/clips/c1"), "c1")];
        self.cloud.documents.commit(writes).await.unwrap();
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: Option<JsonValue>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request =
            if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.routes.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(JsonValue::Null);
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn status(&self, method: &str, path: &str, token: &str) -> u16 {
        self.send(method, path, token, None).await.status
    }
}

fn request(batch: &str, uid: &str) -> JsonValue {
    json!({
        "batchId": batch, "ownerUid": uid, "projectId": "p1", "source": {"uri": format!("gs://uploads/{uid}/a.mp4")},
        "clips": [{"clipId": "c1", "startMs": 0, "endMs": 1000}],
    })
}

/// Every verb on every object of an owner: as the owner themselves may use it, and what another owner is told.
const OBJECTS: [(&str, &str, u16, u16); 10] = [
    ("GET", "/v1/batches/b1", 200, 404),
    ("GET", "/v1/batches/b2", 200, 404),
    ("GET", "/v1/batches/b1/clips.zip", 200, 404),
    ("GET", "/v1/batches/b1/clips/c1:links", 200, 404),
    ("GET", "/v1/batches/b2/clips/c1:links", 409, 404),
    ("POST", "/v1/batches/b2:cancel", 202, 404),
    ("POST", "/v1/batches/b2:retry", 202, 404),
    ("POST", "/v1/batches/b2/clips/c1:cancel", 202, 404),
    // Its document is the status service's to write, which does not run here.
    ("POST", "/v1/batches/b2/clips/c1:retry", 409, 404),
    ("GET", "/v1/batches/missing", 404, 404),
];

const OPERATIONS: [(&str, &str); 8] = [
    ("GET", "/v1/fleet"),
    ("GET", "/v1/fleet/work"),
    ("POST", "/v1/fleet:pause"),
    ("POST", "/v1/fleet:resume"),
    ("GET", "/v1/dead-letters"),
    ("GET", "/v1/dead-letters/b1"),
    ("POST", "/v1/dead-letters/b1:redrive"),
    ("POST", "/v1/dead-letters/b1/clips/c1:redrive"),
];

#[tokio::test]
async fn an_owner_uses_their_own_batches_which_do_not_exist_for_others() {
    let server = Server::start(Surface::All).await;
    for (method, path, own, foreign) in OBJECTS {
        // First the other one, so that nothing they do has an effect that is taken for the owner's own.
        let refused = server.send(method, path, &owner("u2"), None).await;
        assert_eq!(refused.status, foreign, "{method} {path} of another: {}", refused.body);
        let missing = path.replace("b1", "missing").replace("b2", "missing");
        let unknown = server.send(method, &missing, &owner("u2"), None).await.body["error"]["code"].clone();
        assert_eq!(refused.body["error"]["code"], unknown, "{method} {path}: a batch of another looks like none");
        let answer = server.send(method, path, &owner("u1"), None).await;
        assert_eq!(answer.status, own, "{method} {path}: {}", answer.body);
    }
}

#[tokio::test]
async fn requesters_act_for_every_owner_and_operators_also_operate() {
    let server = Server::start(Surface::All).await;
    let (backend, operator) = (account("backend@shorts.iam.gserviceaccount.com"), account("ops@shorts.example"));
    for (method, path, own, _) in OBJECTS {
        assert_eq!(server.status(method, path, &backend).await, own, "{method} {path}");
    }
    let accepted = server.send("POST", "/v1/batches", &backend, Some(request("b4", "u2"))).await;
    assert_eq!(accepted.status, 202, "{}", accepted.body);
    for (method, path) in OPERATIONS {
        for token in [owner("u1"), backend.clone()] {
            let answer = server.send(method, path, &token, None).await;
            assert_eq!((answer.status, &answer.body["error"]["code"]), (403, &json!("forbidden")), "{method} {path}");
        }
        let status = server.status(method, path, &operator).await;
        assert!([200, 202, 404, 409].contains(&status), "{method} {path}: {status}");
    }
    let stranger = server.send("GET", "/v1/batches/b1", &account("someone@else.example"), None).await;
    assert_eq!(stranger.status, 403);
    assert!(stranger.body["error"]["message"].as_str().unwrap().contains("someone@else.example"));
}

#[tokio::test]
async fn an_owner_requests_only_for_themselves_and_from_their_own_sources() {
    let server = Server::start(Surface::All).await;
    let send = async |token: &str, body: JsonValue| server.send("POST", "/v1/batches", token, Some(body)).await;
    let forged = send(&owner("u2"), request("b5", "u1")).await;
    assert_eq!((forged.status, &forged.body["error"]["code"]), (403, &json!("forbidden")));
    // An id that another owner has used is taken, and nothing of theirs is shown.
    let taken = send(&owner("u2"), request("b1", "u2")).await;
    assert_eq!(taken.status, 409);
    assert!(!taken.body.to_string().contains("u1"), "{}", taken.body);

    let mut body = request("b6", "u2");
    body["ownerUid"].take();
    let without = body.as_object_mut().unwrap();
    without.remove("ownerUid");
    assert_eq!(send(&owner("u2"), body.clone()).await.status, 202, "an owner need not name themselves");
    for (field, uri) in [
        ("source.uri", "gs://uploads/u1/a.mp4"),
        ("source.uri", "gs://results/u1/c1.mp4"),
        ("source.uri", "gs://results/u2/c1.mp4"),
        ("output.prefix", "gs://results/u1/"),
        ("output.prefix", "gs://results/u1/deep/"),
        ("output.prefix", "gs://uploads/u2/"),
    ] {
        // For the backend, too: it names the owner whose places are checked.
        for token in [owner("u2"), account("backend@shorts.iam.gserviceaccount.com")] {
            let mut body = request("b7", "u2");
            match field {
                "source.uri" => body["source"]["uri"] = json!(uri),
                _ => body["output"] = json!({"prefix": uri}),
            }
            let refused = send(&token, body).await;
            assert_eq!(refused.status, 400, "{field} {uri}: {}", refused.body);
            assert_eq!(refused.body["error"]["details"][0]["field"], field, "{uri}");
        }
    }
}

#[tokio::test]
async fn a_list_shows_only_the_callers_batches() {
    let server = Server::start(Surface::All).await;
    server.complete("b3", "u2").await;
    let ids = async |query: &str, token: &str| {
        let answer = server.send("GET", &format!("/v1/batches{query}"), token, None).await;
        let batches = answer.body["batches"].as_array().cloned().unwrap_or_default();
        let ids: Vec<_> = batches.iter().map(|batch| batch["batchId"].as_str().unwrap().to_owned()).collect();
        (answer.status, ids)
    };
    assert_eq!(ids("", &owner("u1")).await, (200, vec!["b1".to_owned()]));
    assert_eq!(ids("?ownerUid=u2", &owner("u2")).await, (200, vec!["b3".to_owned()]));
    assert_eq!(ids("?ownerUid=u1", &owner("u2")).await, (403, Vec::new()));
    assert_eq!(ids("", &account("ops@shorts.example")).await.1.len(), 2);
}

#[tokio::test]
async fn tokens_that_prove_nothing_are_refused_with_the_reason() {
    let server = Server::start(Surface::All).await;
    let with = |claims: JsonValue, change: JsonValue| {
        let mut claims = claims;
        for (name, value) in change.as_object().unwrap() {
            match value {
                JsonValue::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                value => claims[name] = value.clone(),
            }
        }
        claims
    };
    let firebase = |change| FIREBASE.token(&with(owner_claims("u1"), change));
    let google = |change| GOOGLE.token(&with(account_claims("ops@shorts.example"), change));
    let header = |header: JsonValue| FIREBASE.sign(&header, &owner_claims("u1"), &RSA_PKCS1_SHA256);
    let unsigned = |signature: &str| {
        let token = owner("u1");
        format!("{}.{signature}", token.rsplit_once('.').unwrap().0)
    };
    let none = {
        let part = |value: JsonValue| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT"})), part(owner_claims("u1")))
    };
    let symmetric =
        FIREBASE.sign(&json!({"alg": "HS256", "kid": "firebase-1"}), &owner_claims("u1"), &RSA_PKCS1_SHA256);
    let sha512 = FIREBASE.sign(&json!({"alg": "RS512", "kid": "firebase-1"}), &owner_claims("u1"), &RSA_PKCS1_SHA512);
    for (token, reason) in [
        (String::new(), "has no token"),
        ("not-a-token".to_owned(), "no known issuer"),
        (firebase(json!({"aud": "another-project"})), "another audience"),
        (firebase(json!({"iss": "https://securetoken.google.com/another-project"})), "no known issuer"),
        (firebase(json!({"iss": null})), "no known issuer"),
        (firebase(json!({"exp": now() - 60})), "has expired"),
        (firebase(json!({"exp": null})), "lacks one of"),
        (firebase(json!({"iat": now() + 600})), "issued in the future"),
        (firebase(json!({"nbf": now() + 600})), "not valid yet"),
        (firebase(json!({"auth_time": null})), "signed in"),
        (firebase(json!({"sub": ""})), "sub"),
        (firebase(json!({"sub": "../u1"})), "sub"),
        (firebase(json!({"sub": null})), "lacks one of"),
        (google(json!({"aud": "https://another.example"})), "another audience"),
        (google(json!({"email_verified": false})), "no verified e-mail"),
        (google(json!({"email": null})), "no verified e-mail"),
        // Signed by Google, but for the users of the Firebase project, and the other way round.
        (google(json!({"iss": format!("https://securetoken.google.com/{PROJECT}"), "aud": PROJECT})), "names a key"),
        (firebase(json!({"iss": "https://accounts.google.com", "aud": AUDIENCE})), "names a key"),
        (header(json!({"alg": "RS256"})), "names no key"),
        (header(json!({"alg": "RS256", "kid": "firebase-0"})), "names a key"),
        (STRANGER.token(&owner_claims("u1")), "invalid signature"),
        (none, "no known issuer"),
        (symmetric, "RS256"),
        (sha512, "RS256"),
        // As Cloud Run passes on a token that it has verified itself.
        (unsigned("SIGNATURE_REMOVED_BY_GOOGLE"), "invalid signature"),
        (unsigned(""), "invalid signature"),
    ] {
        let answer = server.send("GET", "/v1/batches/b1", &token, None).await;
        let error = &answer.body["error"];
        assert_eq!((answer.status, &error["code"]), (401, &json!("unauthenticated")), "{reason}: {error}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(error["message"].as_str().unwrap().contains(reason), "{reason}: {error}");
    }
    for scheme in ["Basic dTE6", "Bearer", ""] {
        let request = Request::get("/v1/batches/b1").header("authorization", scheme).body(Body::empty()).unwrap();
        assert_eq!(server.routes.clone().oneshot(request).await.unwrap().status(), 401, "{scheme}");
    }
    assert_eq!(server.status("GET", "/v1/batches/b1", &owner("u1")).await, 200, "and a good one is taken");
    let skewed = firebase(json!({"iat": now() + 5, "exp": now() - 5}));
    assert_eq!(server.status("GET", "/v1/batches/b1", &skewed).await, 200, "clocks differ by seconds");
}

#[tokio::test]
async fn keys_are_fetched_once_and_unknown_ones_do_not_make_the_fleet_ask_each_time() {
    let server = Server::start(Surface::All).await;
    for _ in 0..3 {
        assert_eq!(server.status("GET", "/v1/batches/b1", &owner("u1")).await, 200);
        let unknown = FIREBASE.sign(&json!({"alg": "RS256", "kid": "x"}), &owner_claims("u1"), &RSA_PKCS1_SHA256);
        assert_eq!(server.status("GET", "/v1/batches/b1", &unknown).await, 401);
    }
    assert_eq!(server.fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn without_keys_no_caller_is_let_in_and_all_may_try_again() {
    let callers = Callers { firebase_project: Some(PROJECT.into()), ..Callers::default() };
    // Nothing listens there.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/keys");
    let authentication = Authentication::with_keys(&callers, &url, &url).unwrap();
    let dispatch = Arc::new(Dispatch::new(memory::cloud(), AccessPolicy::of_buckets("media", &[]), Clock::system()));
    let routes = routes(dispatch, Api { surface: Surface::All, authentication });
    let request = Request::get("/v1/batches").header("authorization", format!("Bearer {}", owner("u1")));
    let response = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn a_surface_serves_only_its_own_routes() {
    let operator = account("ops@shorts.example");
    let (requests, operations) = (Server::start(Surface::Requests).await, Server::start(Surface::Operations).await);
    assert_eq!(requests.status("GET", "/v1/batches/b1", &operator).await, 200);
    assert_eq!(operations.status("GET", "/v1/batches/b1", &operator).await, 404);
    assert_eq!(requests.status("GET", "/v1/fleet", &operator).await, 404);
    assert_eq!(operations.status("GET", "/v1/fleet", &operator).await, 200);
}

#[tokio::test]
async fn links_are_made_when_asked_for_and_for_an_hour() {
    let server = Server::start(Surface::All).await;
    let answer = server.send("GET", "/v1/batches/b1/clips/c1:links", &owner("u1"), None).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body["outputUrl"], "memory://results/u1/c1.mp4?lifetime=3600");
    assert!(answer.body["expireTime"].as_str().unwrap().contains('T') && answer.body["coverUrl"].is_null());
    let action = server.send("GET", "/v1/batches/b1/clips/c1", &owner("u1"), None).await;
    assert_eq!((action.status, &action.body["error"]["code"]), (404, &json!("no_such_route")));
    server.cloud.objects.delete(&ObjectName::new("results", "u1/c1.mp4")).await.unwrap();
    let gone = server.send("GET", "/v1/batches/b1/clips/c1:links", &owner("u1"), None).await;
    assert_eq!((gone.status, &gone.body["error"]["code"]), (404, &json!("output_deleted")));
}

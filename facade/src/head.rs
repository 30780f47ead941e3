//! What the head of a request says: credentials and directives to hand on, the deadline, the kind of body; and
//! what the mesh's metadata says in the head of an answer.

use std::time::Duration;

use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE},
};
use penstock_proto::metadata::{ANSWER, STEERING};
use tonic::metadata::MetadataMap;

use crate::{api::Api, error::Error};

/// Asks for an earlier deadline: seconds, or a number with `s` or `ms`.
pub(crate) const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");

/// Where Anthropic's clients put the key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Longest credential that is handed on: a JWT with many claims fits. Longer ones are as good as none.
const CREDENTIAL_MAX_BYTES: usize = 4 << 10;

/// What a client may store of an answer: tenants' data, so nothing (B14).
pub(crate) const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");

/// What is handed on to the mesh.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    authorization: Option<HeaderValue>,
    cache_control: Vec<HeaderValue>,
    /// What the caller says about the way of the request: judged behind gRPC.
    steering: Vec<(&'static str, HeaderValue)>,
}

impl Forwarded {
    /// Takes what is handed on out of a request's headers. A credential that cannot be one is left out: the
    /// mesh says what it says to all who have none.
    ///
    /// # Errors
    /// There are two credentials: whoever reads next might take the other one.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let (mut tokens, mut keys) = (headers.get_all(AUTHORIZATION).iter(), headers.get_all(API_KEY).iter());
        // An empty key is what clients send that have a token instead.
        let key = keys.next().filter(|key| !key.is_empty()).and_then(bearer);
        let token = tokens.next().cloned();
        let differ = matches!((&token, &key), (Some(token), Some(key)) if token != key);
        if differ || tokens.next().is_some() || keys.next().is_some() {
            return Err(Error::Header(
                "there is more than one credential: give one Authorization or X-Api-Key header",
            ));
        }
        let mut authorization = token.or(key).filter(|value| {
            value.len() <= CREDENTIAL_MAX_BYTES && std::str::from_utf8(value.as_bytes()).is_ok()
        });
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        let steering = STEERING
            .into_iter()
            .flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value.clone())));
        Ok(Self {
            authorization,
            cache_control: headers.get_all(CACHE_CONTROL).iter().cloned().collect(),
            steering: steering.collect(),
        })
    }

    /// Whether there is a credential at all: what it is worth the mesh says.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn expect_credential(&self) -> Result<(), Error> {
        self.authorization.as_ref().map(drop).ok_or(Error::NoCredential)
    }

    /// Puts it into the metadata of a call.
    pub(crate) fn put(self, metadata: &mut MetadataMap) {
        let headers: &mut HeaderMap = metadata.as_mut();
        if let Some(authorization) = self.authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
        for directive in self.cache_control {
            headers.append(CACHE_CONTROL, directive);
        }
        for (name, value) in self.steering {
            headers.append(name, value);
        }
    }
}

/// A key as the mesh takes it. `None`: it cannot be one.
fn bearer(key: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&[b"Bearer ", key.as_bytes()].concat()).ok()
}

/// The time that a request may take: what it asks for, at most `max`.
///
/// # Errors
/// The header is there and says nothing sane.
pub(crate) fn timeout(headers: &HeaderMap, max: Duration) -> Result<Duration, Error> {
    let Some(value) = headers.get(REQUEST_TIMEOUT) else { return Ok(max) };
    match value.to_str().ok().and_then(parse_timeout) {
        Some(asked) => Ok(asked.min(max)),
        None => Err(Error::Header("X-Request-Timeout is not a time such as 30, 30s or 500ms")),
    }
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1.0),
    };
    // Plain decimals only: no sign, exponent, infinity.
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let seconds = number.parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok().filter(|timeout| !timeout.is_zero())
}

/// Checks that the body is what the route takes: JSON, as it is.
///
/// # Errors
/// It says that it is something else, or compressed.
pub(crate) fn expect_json(api: Api, headers: &HeaderMap) -> Result<(), Error> {
    // Ollama's own documents send everything with curl's default, a form.
    if api != Api::Ollama
        && let Some(kind) = headers.get(CONTENT_TYPE)
        && !is_json(kind)
    {
        return Err(Error::Unsupported("the content type must be application/json"));
    }
    let identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(identity) {
        return Err(Error::Unsupported("the body must not be compressed: no content encoding is supported"));
    }
    Ok(())
}

fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Copies what an answer's metadata may tell a client.
pub(crate) fn copy_answer(metadata: &MetadataMap, headers: &mut HeaderMap) {
    for (name, value) in AsRef::<HeaderMap>::as_ref(metadata) {
        if ANSWER.contains(&name.as_str()) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    fn handed_on(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut metadata = MetadataMap::new();
        Forwarded::read(&headers(pairs)).unwrap().put(&mut metadata);
        metadata.into_headers()
    }

    /// A13, B1.
    #[test]
    fn one_sane_credential_is_handed_on_and_nothing_else() {
        let key = "Bearer two words é".as_bytes();
        let sent = handed_on(&[
            ("authorization", key),
            ("api-key", b"x"),
            ("cookie", b"y"),
            ("cache-control", b"no-store"),
            ("x-penstock-session", b"s"),
            ("x-penstock-tags", b"eu"),
            ("x-penstock-max-cost", b"0.5"),
            ("x-penstock-max-latency", b"500"),
            ("x-penstock-deployment", b"gpu-a"),
            ("x-penstock-tenant", b"other"),
            ("x-penstock-tokens", b"1"),
            ("x-penstock-queue", b"no"),
        ]);
        assert_eq!(sent.len(), 6, "{sent:?}");
        for (name, value) in STEERING.into_iter().zip(["s", "eu", "0.5", "500"]) {
            assert_eq!(sent[name], value, "{name}");
        }
        assert_eq!(sent[AUTHORIZATION].as_bytes(), key);
        assert_eq!(sent[CACHE_CONTROL], "no-store");
        assert!(handed_on(&[("authorization", &[b'x'; CREDENTIAL_MAX_BYTES + 1])]).is_empty());
        assert!(handed_on(&[("authorization", b"Bearer \xff")]).is_empty());
        assert!(Forwarded::read(&headers(&[("authorization", b"a"), ("authorization", b"a")])).is_err());
    }

    /// A13, B12. Anthropic's clients send an empty key beside a token.
    #[test]
    fn a_key_is_as_good_as_a_token() {
        let token: (_, &[u8]) = ("authorization", b"Bearer k");
        let key = |key: &'static [u8]| ("x-api-key", key);
        for sent in [&[token][..], &[key(b"k")], &[token, key(b"k")], &[key(b""), token]] {
            assert_eq!(handed_on(sent)[AUTHORIZATION], "Bearer k", "{sent:?}");
            let read = Forwarded::read(&headers(sent)).unwrap();
            assert!(!format!("{read:?}").contains("Bearer"), "{read:?}");
        }
        assert!(Forwarded::read(&headers(&[key(b"")])).unwrap().expect_credential().is_err());
        for sent in [[token, key(b"other")], [key(b"k"), key(b"k")], [key(b""), key(b"k")]] {
            assert!(Forwarded::read(&headers(&sent)).is_err(), "{sent:?}");
        }
    }

    #[test]
    fn a_timeout_is_sane_and_capped() {
        let max = Duration::from_secs(60);
        let timeout = |value: &[u8]| timeout(&headers(&[("x-request-timeout", value)]), max).ok();
        assert_eq!(super::timeout(&HeaderMap::new(), max).ok(), Some(max));
        for (value, expected) in [
            (&b"30"[..], 30_000),
            (b"30s", 30_000),
            (b" 1.5 ", 1_500),
            (b"500ms", 500),
            (b"99999999999", 60_000),
        ] {
            assert_eq!(timeout(value), Some(Duration::from_millis(expected)), "{value:?}");
        }
        for value in
            [&b""[..], b"0", b"0ms", b"-1", b"+1", b"1e3", b"inf", b"NaN", b"s", b"ms", b".", b"1m", b"\xff"]
        {
            assert_eq!(timeout(value), None, "{value:?}");
        }
    }

    /// A1, A4.
    #[test]
    fn only_plain_json_is_taken() {
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"] {
            assert!(
                expect_json(Api::Completions, &headers(&[("content-type", kind.as_bytes())])).is_ok(),
                "{kind}"
            );
        }
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "text/x+json"]
        {
            assert!(
                expect_json(Api::Completions, &headers(&[("content-type", kind.as_bytes())])).is_err(),
                "{kind}"
            );
        }
        assert!(expect_json(Api::Completions, &HeaderMap::new()).is_ok());
        assert!(expect_json(Api::Completions, &headers(&[("content-encoding", b"Identity")])).is_ok());
        assert!(
            expect_json(Api::Ollama, &headers(&[("content-type", b"application/x-www-form-urlencoded")]))
                .is_ok()
        );
        assert!(expect_json(Api::Ollama, &headers(&[("content-encoding", b"gzip")])).is_err());
        for coding in ["gzip", "br", "identity, gzip", "x"] {
            assert!(
                expect_json(Api::Completions, &headers(&[("content-encoding", coding.as_bytes())])).is_err(),
                "{coding}"
            );
        }
    }
}

//! Notices by HTTP POST: JSON of our own, or what Slack takes. Signed if there is a secret, never redirected.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{
    StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::{
    config::{Format, WebhookConfig},
    error::{Error, Failure},
    notice::Notice,
};

/// The header of the signature: `sha256=` and HMAC-SHA-256 of the body in hex, as GitHub's webhooks have it.
const SIGNATURE: &str = "x-penstock-signature";

/// A webhook and the client that reaches it.
#[derive(Debug)]
pub(crate) struct Webhook {
    client: Client,
    config: WebhookConfig,
}

impl Webhook {
    pub(crate) fn new(config: WebhookConfig, timeout: Duration) -> Result<Self, Error> {
        // Fails only if another part of the process chose a provider already: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // The system's certificates are read only if they are needed: a container may have none.
        let builder = if config.is_https { Client::builder() } else { Client::builder().tls_certs_only([]) };
        let client = builder
            .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(timeout)
            // Notices are rare: a connection that waits for the next one is dead by then.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(Error::Http)?;
        Ok(Self { client, config })
    }

    pub(crate) async fn deliver(&self, notice: &Notice) -> Result<(), Failure> {
        let body = match self.config.format {
            Format::Json => notice.json(),
            Format::Slack => notice.slack(),
        };
        let body = Bytes::from(body.map_err(|_| Failure::lasting("the notice cannot be written"))?);
        let request = self.client.post(self.config.url.expose_secret());
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = match &self.config.secret {
            Some(secret) => request.header(SIGNATURE, signature(secret, &body)),
            None => request,
        };
        match request.body(body).send().await {
            Ok(answer) => verdict(&answer),
            Err(error) => Err(of_transport(&error)),
        }
    }
}

fn verdict(answer: &Response) -> Result<(), Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let what = format!("answered with status {}", status.as_u16());
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if !passing {
        return Err(Failure::lasting(what));
    }
    let value = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = value.and_then(|value| retry_after(value, SystemTime::now()));
    Err(Failure { retry_after, ..Failure::passing(what) })
}

/// What went wrong, without the address that stands in the error.
fn of_transport(error: &reqwest::Error) -> Failure {
    Failure::passing(match () {
        () if error.is_timeout() => "did not answer in time",
        () if error.is_connect() => "cannot be connected to",
        () => "the connection broke",
    })
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let seconds = value.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()))
}

fn signature(secret: &SecretString, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return String::new(); // keys of any length are taken
    };
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    bytes.iter().fold("sha256=".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&"Jefe".to_owned().into(), b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_767);
        let seconds = |value| retry_after(value, now).map(|span| span.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "gone by");
        assert_eq!(seconds("soon"), None);
    }
}

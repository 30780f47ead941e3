//! Notices by e-mail over SMTP: one letter to all recipients, as an automatic one, by a connection of its own.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::header::{ContentType, Header, HeaderName, HeaderValue},
    transport::smtp::{
        authentication::Credentials,
        client::{Tls as Mode, TlsParameters},
    },
};
use secrecy::ExposeSecret as _;

use crate::{
    config::{EmailConfig, Privacy},
    error::{Error, Failure},
    notice::Notice,
};

/// How long a subject may be.
const SUBJECT_MAX: usize = 150;

/// A mail server and the client that reaches it.
#[derive(Debug)]
pub(crate) struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    config: EmailConfig,
    /// For a whole delivery: the client's own timeout is for each step.
    timeout: Duration,
}

impl Email {
    pub(crate) fn new(name: &str, config: EmailConfig, timeout: Duration) -> Result<Self, Error> {
        // Fails only if another part of the process chose a provider already: as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let of_name = |error| Error::Email(name.to_owned(), error);
        let mode = match config.tls {
            Privacy::None => Mode::None,
            Privacy::Starttls => Mode::Required(TlsParameters::new(config.server.clone()).map_err(of_name)?),
            Privacy::Tls => Mode::Wrapper(TlsParameters::new(config.server.clone()).map_err(of_name)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.server.as_str())
            .port(config.port)
            .tls(mode)
            .timeout(Some(timeout));
        if let Some((user, password)) = &config.login {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self { transport: builder.build(), config, timeout })
    }

    pub(crate) async fn deliver(&self, notice: &Notice) -> Result<(), Failure> {
        let letter = self.letter(notice).map_err(|_| Failure::lasting("the letter cannot be written"))?;
        match tokio::time::timeout(self.timeout, self.transport.send(letter)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(of_transport(&error)),
            Err(_) => Err(Failure::passing("did not answer in time")),
        }
    }

    fn letter(&self, notice: &Notice) -> Result<Message, lettre::error::Error> {
        let subject: String = format!("[penstock] {}", notice.summary()).chars().take(SUBJECT_MAX).collect();
        let domain = self.config.from.email.domain();
        let mut letter = Message::builder()
            .from(self.config.from.clone())
            .subject(subject)
            // The same for every attempt: mail systems know a repetition by it.
            .message_id(Some(format!("<{}@{domain}>", notice.id())))
            // RFC 3834: nobody's holiday notice answers this.
            .header(AutoSubmitted)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.config.to {
            letter = letter.to(to.clone());
        }
        letter.body(notice.text())
    }
}

/// What went wrong, without what the server said: it may repeat what it was told.
fn of_transport(error: &lettre::transport::smtp::Error) -> Failure {
    if error.is_permanent() {
        let code = error.status().map(|code| format!(" with {code}")).unwrap_or_default();
        return Failure::lasting(format!("refused the letter{code}"));
    }
    Failure::passing(match () {
        () if error.is_timeout() => "did not answer in time",
        () if error.is_transient() => "cannot take the letter now",
        () if error.is_client() => "does not offer what is configured: STARTTLS, or the way to log in",
        () if error.is_tls() => "no private connection comes about: is its certificate known here?",
        () => "cannot be connected to, or the connection broke",
    })
}

/// `Auto-Submitted: auto-generated`.
#[derive(Clone, Debug)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

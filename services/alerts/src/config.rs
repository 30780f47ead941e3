//! Configuration of alerts, section `[alerts]`: how long a state must last, and who is told.

use std::{collections::HashSet, time::Duration};

use lettre::{Address, message::Mailbox};
use penstock_chassis::config::{Document, Section};
use penstock_proto::status::v1::State;
use reqwest::Url;
use secrecy::SecretString;

use crate::{debounce::Patience, mailbox::Filter, notice::Kind};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The words for what a component is.
const KINDS: [(&str, Kind); 6] = [
    ("process", Kind::Process),
    ("part", Kind::Part),
    ("store", Kind::Store),
    ("service", Kind::Service),
    ("deployment", Kind::Deployment),
    ("model", Kind::Model),
];

/// The configuration of alerts.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a state must last before it is told.
    pub patience: Patience,
    pub(crate) targets: Vec<Target>,
}

/// Someone who is told.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) filter: Filter,
    pub(crate) max_per_hour: usize,
    /// For one attempt.
    pub(crate) timeout: Duration,
    pub(crate) way: Way,
}

/// How a target is reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    Webhook(WebhookConfig),
    Email(EmailConfig),
}

/// A webhook. Its address is a secret as a whole: whoever knows it may post there.
#[derive(Clone, Debug)]
pub(crate) struct WebhookConfig {
    pub(crate) url: SecretString,
    pub(crate) is_https: bool,
    pub(crate) format: Format,
    /// What notices are signed with.
    pub(crate) secret: Option<SecretString>,
}

/// How a notice is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Slack,
}

/// A mail server, and who writes to whom.
#[derive(Clone, Debug)]
pub(crate) struct EmailConfig {
    pub(crate) server: String,
    pub(crate) port: u16,
    pub(crate) tls: Privacy,
    pub(crate) login: Option<(String, SecretString)>,
    pub(crate) from: Mailbox,
    pub(crate) to: Vec<Mailbox>,
}

/// How the way to the mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// From the first byte on.
    Tls,
    /// After a plain greeting; no mail goes without it.
    Starttls,
    /// Not at all.
    None,
}

impl Config {
    /// Reads the section `[alerts]`; mistakes are noted in the document. `sends`: this process is the one that
    /// sends them, so that it needs the secrets.
    pub fn read(document: &mut Document, sends: bool) -> Self {
        let mut section = document.section("alerts");
        section.needs_secrets(sends);
        let patience = Patience {
            // A restart of a service is over by then; nobody has to be woken for it.
            after: section.duration("after", 10 * SECOND, Duration::ZERO..=HOUR),
            // An engine may load a model at the start.
            grace: section.duration("grace", 30 * SECOND, Duration::ZERO..=HOUR),
        };
        let mut names = HashSet::new();
        let mut targets = Vec::new();
        for (index, mut table) in section.tables("webhooks").into_iter().enumerate() {
            let target = Target::read(&mut table, format!("webhook-{}", index + 1), &mut names, webhook);
            targets.extend(target);
        }
        for (index, mut table) in section.tables("emails").into_iter().enumerate() {
            let target = Target::read(&mut table, format!("email-{}", index + 1), &mut names, email);
            targets.extend(target);
        }
        Self { patience, targets }
    }
}

impl Target {
    fn read(
        section: &mut Section,
        usual_name: String,
        names: &mut HashSet<String>,
        way: impl FnOnce(&mut Section) -> Option<Way>,
    ) -> Option<Self> {
        let name = section.string("name").unwrap_or(usual_name);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            section.mistake("name", "must be 1 to 64 letters, digits, dots, dashes or underscores");
        } else if !names.insert(name.clone()) {
            section.mistake("name", format!("\"{name}\" is the name of another target, too"));
        }
        let states = [("degraded", State::Degraded), ("down", State::Down)];
        let min_state = section.choice("min_state", &states, State::Degraded);
        let filter = Filter { kinds: kinds(section), min_state };
        // One a minute: more is read by nobody, and chat systems refuse more than one a second.
        let max_per_hour = section.integer("max_per_hour", 60, 1..=3600);
        // Chat systems and mail servers answer within a second or two.
        let timeout = section.duration("timeout", 5 * SECOND, Duration::from_millis(100)..=60 * SECOND);
        let max_per_hour = usize::try_from(max_per_hour).unwrap_or(usize::MAX);
        Some(Self { way: way(section)?, name, filter, max_per_hour, timeout })
    }
}

fn kinds(section: &mut Section) -> Vec<Kind> {
    if !section.has("kinds") {
        // A lost deployment shows in the models that stand on it.
        return KINDS.iter().map(|(_, kind)| *kind).filter(|kind| *kind != Kind::Deployment).collect();
    }
    let words = section.strings("kinds");
    if words.is_empty() {
        section.mistake("kinds", "must not be empty: leave it out for everything but deployments");
    }
    let mut kinds = Vec::new();
    for word in words {
        match KINDS.iter().find(|(known, _)| *known == word) {
            Some((_, kind)) => kinds.push(*kind),
            None => {
                let known = KINDS.map(|(word, _)| format!("\"{word}\"")).join(", ");
                section.mistake("kinds", format!("holds \"{word}\"; must be of {known}"));
            }
        }
    }
    kinds
}

/// `None`: a mistake was noted, or the secret is not for this process.
fn webhook(section: &mut Section) -> Option<Way> {
    let formats = [("json", Format::Json), ("slack", Format::Slack)];
    let format = section.choice("format", &formats, Format::Json);
    let secret = section.secret_from_env("secret_env").map(SecretString::from);
    let (key, url) = match (section.has("url"), section.has("url_env")) {
        (true, true) => {
            section.mistake("url_env", "stands beside url; only one of them may");
            let _ = (section.string("url"), section.string("url_env"));
            return None;
        }
        (false, false) => {
            section.mistake("url", "is required; url_env names a variable that holds it");
            return None;
        }
        (true, false) => ("url", section.string("url")?),
        (false, true) => ("url_env", section.secret_from_env("url_env")?),
    };
    // Never the value in the message: it is a secret.
    let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match Url::parse(&url) {
        Ok(parsed) if is_http(&parsed) => {
            let is_https = parsed.scheme() == "https";
            Some(Way::Webhook(WebhookConfig { url: url.into(), is_https, format, secret }))
        }
        _ => {
            section.mistake(key, "must be an address such as \"https://chat.example/hooks/…\"");
            None
        }
    }
}

fn email(section: &mut Section) -> Option<Way> {
    let server = section.required_string("server");
    let words = [("tls", Privacy::Tls), ("starttls", Privacy::Starttls), ("none", Privacy::None)];
    let tls = section.choice("tls", &words, Privacy::Starttls);
    let usual_port = match tls {
        Privacy::Tls => 465,
        Privacy::Starttls => 587,
        Privacy::None => 25,
    };
    let port = u16::try_from(section.integer("port", usual_port, 1..=65_535)).unwrap_or(u16::MAX);
    let user = section.string("user");
    let has_password = section.has("password_env");
    let password = section.secret_from_env("password_env");
    if user.is_some() != has_password {
        section.mistake("user", "and password_env belong together: give both or none");
    }
    if tls == Privacy::None && has_password && !is_this_machine(&server) {
        section.mistake("tls", "must not be \"none\" with a password: anyone on the way could read it");
    }
    let from = section.required_string("from");
    let from = mailbox(section, "from", &from);
    if !section.has("to") {
        section.mistake("to", "is required: a list of addresses");
    }
    let to = section.strings("to");
    if to.len() > 100 {
        section.mistake("to", "must be 100 addresses at most: use a mailing list");
    }
    let to: Vec<Mailbox> = to.iter().filter_map(|one| mailbox(section, "to", one)).collect();
    if has_password && password.is_none() || server.is_empty() || to.is_empty() {
        return None;
    }
    let login = user.zip(password.map(SecretString::from));
    Some(Way::Email(EmailConfig { server, port, tls, login, from: from?, to }))
}

fn is_this_machine(server: &str) -> bool {
    server == "localhost" || server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// `a@b.example` or `Name <a@b.example>`. Noted as a mistake if it is neither.
fn mailbox(section: &Section, key: &str, text: &str) -> Option<Mailbox> {
    if text.is_empty() && key == "from" {
        return None; // noted already
    }
    let parsed =
        text.parse::<Mailbox>().or_else(|_| text.parse::<Address>().map(|one| Mailbox::new(None, one)));
    if parsed.is_err() {
        section.mistake(key, format!("\"{text}\" is no mail address such as \"ops@example.com\""));
    }
    parsed.ok()
}

#[cfg(test)]
mod tests;

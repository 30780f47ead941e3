//! What a target is told: the changes, and how they read as text, as JSON and as a message for Slack. Nothing in it
//! comes from an upstream; names and details lose what could break a line, and are bounded.

use std::{collections::BTreeMap, time::SystemTime};

use penstock_proto::status::v1::{self, Component, State};
use serde::Serialize;
use uuid::Uuid;

/// Characters of a name or a detail at most.
const TEXT_MAX: usize = 500;
/// Changes that are listed one by one at most: nobody reads more, and chat systems cut long messages.
const LISTED_MAX: usize = 50;
/// Names in a summary, for each state.
const NAMED_MAX: usize = 3;
/// What the process as a whole is called.
const WHOLE: &str = "penstock";

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Everything that this process stands on, taken together.
    Process,
    /// A part of a process.
    Part,
    /// Where state is kept.
    Store,
    /// Another service.
    Service,
    /// One model on one engine.
    Deployment,
    /// What callers ask for.
    Model,
}

impl Kind {
    pub(crate) fn of(component: &Component) -> Self {
        match component.kind() {
            _ if component.name.is_empty() => Self::Process,
            v1::Kind::Unspecified | v1::Kind::Part => Self::Part,
            v1::Kind::Store => Self::Store,
            v1::Kind::Service => Self::Service,
            v1::Kind::Deployment => Self::Deployment,
            v1::Kind::Model => Self::Model,
        }
    }
}

/// A change of state that has lasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) from: State,
    /// UNSPECIFIED: nobody reports it any more.
    pub(crate) to: State,
    pub(crate) detail: String,
    pub(crate) since: SystemTime,
}

/// The word for a state.
pub(crate) fn word(state: State) -> &'static str {
    match state {
        State::Unspecified => "UNKNOWN",
        State::Up => "UP",
        State::Degraded => "DEGRADED",
        State::Down => "DOWN",
    }
}

/// What a component is called.
pub(crate) fn title(name: &str) -> String {
    if name.is_empty() { WHOLE.to_owned() } else { clean(name) }
}

/// The text without what could break a line or a header, and not too long.
pub(crate) fn clean(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A notice for one target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Notice {
    /// The same for every attempt to deliver it: receivers can tell repetitions by it.
    id: String,
    at: String,
    status: Status,
    summary: String,
    changes: Vec<Listed>,
    /// Changes that are not listed: there are too many.
    not_listed: usize,
    /// Changes since the last notice that were taken back, or could not be delivered.
    skipped: u64,
    service: String,
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Something has got worse.
    Firing,
    /// Everything in the notice has got better.
    Resolved,
}

#[derive(Clone, Debug, Serialize)]
struct Listed {
    component: String,
    kind: Kind,
    from: &'static str,
    to: &'static str,
    detail: String,
    since: String,
}

/// Who sends notices.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) service: String,
    pub(crate) version: String,
}

impl Notice {
    /// A notice of these changes, by name.
    pub(crate) fn new(
        changes: &BTreeMap<String, Change>,
        skipped: u64,
        now: SystemTime,
        sender: &Sender,
    ) -> Self {
        let time = |at: SystemTime| humantime::format_rfc3339_millis(at).to_string();
        let worse = changes.values().any(|change| is_worse(change.from, change.to));
        let listed = changes.iter().take(LISTED_MAX).map(|(name, change)| Listed {
            component: title(name),
            kind: change.kind,
            from: word(change.from),
            to: word(change.to),
            detail: change.detail.clone(),
            since: time(change.since),
        });
        Self {
            id: Uuid::now_v7().to_string(),
            at: time(now),
            status: if worse { Status::Firing } else { Status::Resolved },
            summary: summary(changes),
            changes: listed.collect(),
            not_listed: changes.len().saturating_sub(LISTED_MAX),
            skipped,
            service: sender.service.clone(),
            version: sender.version.clone(),
        }
    }

    /// A name that no other notice has.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// One line: `DOWN: auth, model/a; UP: cache`.
    pub(crate) fn summary(&self) -> &str {
        &self.summary
    }

    /// As JSON.
    ///
    /// # Errors
    /// None that can happen: everything in it is text or a number.
    pub(crate) fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// As an incoming webhook of Slack takes it; Mattermost, Rocket.Chat and Discord (`/slack`) do, too.
    ///
    /// # Errors
    /// None that can happen, as in `json`.
    pub(crate) fn slack(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = format!("*{}*\n", escaped(&self.summary));
        for change in &self.changes {
            text.push_str(&format!("• {}\n", escaped(&change.line())));
        }
        text.push_str(&escaped(&self.rest()));
        serde_json::to_vec(&serde_json::json!({ "text": text.trim_end() }))
    }

    /// As the text of a letter.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.summary);
        for change in &self.changes {
            text.push_str(&format!("- {}\n  since {}\n", change.line(), change.since));
        }
        let rest = self.rest();
        if !rest.is_empty() {
            text.push_str(&format!("\n{rest}"));
        }
        text.push_str(&format!(
            "\nPenstock {} ({}) at {}, notice {}\n",
            self.version, self.service, self.at, self.id
        ));
        text
    }

    fn rest(&self) -> String {
        let mut rest = String::new();
        if self.not_listed > 0 {
            rest.push_str(&format!("{} more are not listed.\n", self.not_listed));
        }
        if self.skipped > 0 {
            let skipped = self.skipped;
            rest.push_str(&format!(
                "{skipped} changes before this were not told: they were taken back or could not be delivered.\n"
            ));
        }
        rest
    }
}

impl Listed {
    fn line(&self) -> String {
        let colon = if self.detail.is_empty() { "" } else { ": " };
        format!("{} is {} (was {}){colon}{}", self.component, self.to, self.from, self.detail)
    }
}

/// Whether the change is one for the worse. What nobody reports any more is gone on purpose.
pub(crate) fn is_worse(from: State, to: State) -> bool {
    to > from
}

/// `DOWN: auth, model/a and 3 more; UP: cache`.
fn summary(changes: &BTreeMap<String, Change>) -> String {
    let mut parts = Vec::new();
    for state in [State::Down, State::Degraded, State::Up, State::Unspecified] {
        let names: Vec<&String> =
            changes.iter().filter(|(_, change)| change.to == state).map(|(name, _)| name).collect();
        if names.is_empty() {
            continue;
        }
        let named: Vec<String> = names.iter().take(NAMED_MAX).map(|name| title(name)).collect();
        let more = match names.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        parts.push(format!("{}: {}{more}", word(state), named.join(", ")));
    }
    parts.join("; ")
}

/// As Slack wants it: nothing of it can become a mention or a link.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn change(from: State, to: State, detail: &str) -> Change {
        let since = UNIX_EPOCH + Duration::from_secs(1);
        Change { kind: Kind::Service, from, to, detail: detail.into(), since }
    }

    fn notice(changes: &[(&str, Change)], skipped: u64) -> Notice {
        let changes = changes.iter().map(|(name, change)| ((*name).to_owned(), change.clone())).collect();
        let sender = Sender { service: "facade".into(), version: "1.2.3".into() };
        Notice::new(&changes, skipped, UNIX_EPOCH + Duration::from_secs(90), &sender)
    }

    #[test]
    fn json_has_the_documented_keys() {
        let down = change(State::Up, State::Down, "cannot be asked");
        let told = notice(&[("auth", down), ("", change(State::Up, State::Degraded, ""))], 2);
        let mut json: serde_json::Value = serde_json::from_slice(&told.json().unwrap()).unwrap();
        assert!(!json["id"].take().as_str().unwrap().is_empty());
        let expected = serde_json::json!({
            "id": null, "at": "1970-01-01T00:01:30.000Z", "status": "firing",
            "summary": "DOWN: auth; DEGRADED: penstock", "skipped": 2, "not_listed": 0,
            "service": "facade", "version": "1.2.3",
            "changes": [
                {"component": "penstock", "kind": "service", "from": "UP", "to": "DEGRADED", "detail": "",
                 "since": "1970-01-01T00:00:01.000Z"},
                {"component": "auth", "kind": "service", "from": "UP", "to": "DOWN",
                 "detail": "cannot be asked", "since": "1970-01-01T00:00:01.000Z"},
            ],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn only_recoveries_are_resolved_and_half_a_recovery_is_one() {
        for (from, to, status) in [
            (State::Down, State::Up, Status::Resolved),
            (State::Down, State::Degraded, Status::Resolved),
            (State::Down, State::Unspecified, Status::Resolved),
            (State::Degraded, State::Down, Status::Firing),
        ] {
            assert_eq!(notice(&[("auth", change(from, to, ""))], 0).status, status, "{from:?} {to:?}");
        }
        let both = [("a", change(State::Down, State::Up, "")), ("b", change(State::Up, State::Degraded, ""))];
        assert_eq!(notice(&both, 0).status, Status::Firing);
    }

    #[test]
    fn nothing_in_slack_can_become_a_mention_or_a_link() {
        let told = notice(&[("model/<!channel>", change(State::Up, State::Down, "a & b <http://x|y>"))], 0);
        let json: serde_json::Value = serde_json::from_slice(&told.slack().unwrap()).unwrap();
        let text = json["text"].as_str().unwrap();
        assert!(!text.contains('<') && text.contains("model/&lt;!channel&gt;"), "{text}");
        assert!(text.contains("a &amp; b &lt;http://x|y&gt;"), "{text}");
        assert_eq!(json.as_object().unwrap().len(), 1);
    }

    #[test]
    fn names_cannot_break_lines_and_long_lists_are_cut() {
        assert_eq!(title("model/a\r\nBcc: x"), "model/a  Bcc: x");
        let names: Vec<String> = (0..60).map(|n| format!("model/{n:02}")).collect();
        let down = change(State::Up, State::Down, "");
        let changes: Vec<_> = names.iter().map(|name| (name.as_str(), down.clone())).collect();
        let told = notice(&changes, 0);
        assert_eq!((told.changes.len(), told.not_listed), (50, 10));
        assert_eq!(told.summary(), "DOWN: model/00, model/01, model/02 and 57 more");
        assert!(told.text().contains("10 more are not listed"), "{}", told.text());
    }
}

//! Prints keys: as aligned text for people, as JSON for programs.

use std::time::{Duration, SystemTime};

use penstock_proto::{
    auth::v1::{Key, Principal},
    ratelimit::v1::{Limit, Unit},
};
use serde_json::{Value, json};

use crate::{caller::moment, table::table};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) json: bool,
    pub(super) now: SystemTime,
}

impl Style {
    /// A key with its new secret.
    pub(super) fn secret(self, key: &Key, secret: &str) -> String {
        if self.json {
            let mut value = as_json(key);
            if let Some(members) = value.as_object_mut() {
                members.insert("secret".to_owned(), secret.into());
            }
            return lines(&value);
        }
        let text = self.key(key);
        format!("{text}secret      {secret}\n\nKeep the secret: it is not shown again.\n")
    }

    /// One key.
    pub(super) fn key(self, key: &Key) -> String {
        if self.json {
            return lines(&as_json(key));
        }
        let principal = principal(key);
        let mut labels: Vec<_> =
            principal.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
        labels.sort();
        let limits: Vec<_> = principal.limits.iter().map(limit).collect();
        let rows = [
            ("id", principal.key_id.clone()),
            ("name", principal.name.clone()),
            ("tenant", principal.tenant.clone()),
            ("scopes", principal.scopes.join(", ")),
            (
                "models",
                if principal.allowed_models.is_empty() {
                    "all".to_owned()
                } else {
                    principal.allowed_models.join(", ")
                },
            ),
            ("limits", if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }),
            ("metadata", if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }),
            ("state", self.state(key)),
            ("created", moment(key.created_at).unwrap_or_default()),
            ("expires", moment(principal.expires_at).unwrap_or_else(|| "never".to_owned())),
        ];
        rows.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect()
    }

    /// Every key on a line of its own.
    pub(super) fn list(self, keys: &[Key]) -> String {
        if self.json {
            return lines(&Value::Array(keys.iter().map(as_json).collect()));
        }
        let mut rows =
            vec![["ID", "NAME", "TENANT", "SCOPES", "STATE", "CREATED", "EXPIRES"].map(str::to_owned)];
        rows.extend(keys.iter().map(|key| {
            let principal = principal(key);
            [
                principal.key_id.clone(),
                principal.name.clone(),
                principal.tenant.clone(),
                principal.scopes.join(","),
                self.state(key),
                moment(key.created_at).unwrap_or_default(),
                moment(principal.expires_at).unwrap_or_else(|| "never".to_owned()),
            ]
        }));
        table(&rows)
    }

    fn state(self, key: &Key) -> String {
        let expired = principal(key)
            .expires_at
            .and_then(|end| SystemTime::try_from(end).ok())
            .is_some_and(|end| end <= self.now);
        match (moment(key.revoked_at), expired) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "valid",
        }
        .to_owned()
    }
}

fn principal(key: &Key) -> Principal {
    key.principal.clone().unwrap_or_default()
}

fn as_json(key: &Key) -> Value {
    let principal = principal(key);
    let limits: Vec<_> = principal.limits.iter().map(limit_as_json).collect();
    json!({
        "key_id": principal.key_id,
        "name": principal.name,
        "tenant": principal.tenant,
        "scopes": principal.scopes,
        "allowed_models": principal.allowed_models,
        "limits": limits,
        "metadata": principal.metadata,
        "created_at": moment(key.created_at),
        "expires_at": moment(principal.expires_at),
        "revoked_at": moment(key.revoked_at),
    })
}

fn limit_as_json(limit: &Limit) -> Value {
    json!({ "unit": unit(limit), "limit": limit.limit, "per": period(limit), "burst": limit.burst })
}

/// As it is written on the command line.
fn limit(limit: &Limit) -> String {
    let burst = limit.burst.map_or_else(String::new, |burst| format!("/{burst}"));
    format!("{}={}/{}{burst}", unit(limit), limit.limit, period(limit))
}

fn unit(limit: &Limit) -> &'static str {
    match limit.unit() {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
        Unit::Unspecified => "unknown",
    }
}

fn period(limit: &Limit) -> String {
    let span = limit.per.and_then(|per| Duration::try_from(per).ok()).unwrap_or_default();
    humantime::format_duration(span).to_string()
}

fn lines(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn key(name: &str) -> Key {
        let per = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let principal = Principal {
            key_id: "abc".into(),
            tenant: "acme".into(),
            name: name.into(),
            scopes: vec!["admin".into(), "inference".into()],
            limits: vec![Limit { unit: Unit::Requests.into(), limit: 60, per, burst: Some(10) }],
            expires_at: Some(Timestamp { seconds: 1000, nanos: 0 }),
            metadata: [("team".to_owned(), "blue".to_owned())].into(),
            ..Principal::default()
        };
        Key { principal: Some(principal), created_at: Some(Timestamp::default()), revoked_at: None }
    }

    fn style(json: bool, seconds: u64) -> Style {
        Style { json, now: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    #[test]
    fn a_list_is_aligned() {
        let mut revoked = key("ä longer name");
        revoked.revoked_at = Some(Timestamp::default());
        assert_eq!(
            style(false, 1000).list(&[key("a"), revoked]),
            "ID   NAME           TENANT  SCOPES           STATE    CREATED               EXPIRES\n\
             abc  a              acme    admin,inference  expired  1970-01-01T00:00:00Z  1970-01-01T00:16:40Z\n\
             abc  ä longer name  acme    admin,inference  revoked  1970-01-01T00:00:00Z  1970-01-01T00:16:40Z\n"
        );
    }

    #[test]
    fn a_key_is_shown_whole() {
        let text = style(false, 0).secret(&key("a"), "sk-x");
        for line in
            ["models      all", "limits      requests=60/1m/10", "metadata    team=blue", "state       valid"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert_eq!(text.matches("sk-x").count(), 1);
    }

    #[test]
    fn json_is_json() {
        let value: Value = serde_json::from_str(&style(true, 0).secret(&key("a"), "sk-x")).unwrap();
        assert_eq!(value["secret"], "sk-x");
        assert_eq!(value["limits"][0], json!({"unit": "requests", "limit": 60, "per": "1m", "burst": 10}));
        assert_eq!(
            (&value["expires_at"], &value["revoked_at"]),
            (&json!("1970-01-01T00:16:40Z"), &Value::Null)
        );
        let list: Value = serde_json::from_str(&style(true, 0).list(&[key("a"), key("b")])).unwrap();
        assert_eq!((&list[1]["name"], &list[1]["secret"]), (&json!("b"), &Value::Null));
    }

    #[test]
    fn moments_out_of_range_do_not_panic() {
        for seconds in [i64::MIN, -1, 253_402_300_800, i64::MAX] {
            let mut key = key("a");
            key.created_at = Some(Timestamp { seconds, nanos: 0 });
            style(false, 0).key(&key);
        }
    }
}

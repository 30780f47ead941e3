//! A key as it is kept: who it stands for, how long it is good, and the keyed hashes of its secrets. Moments
//! are arguments: nothing here reads a clock.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use crate::pepper::Digest;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Call models.
    Inference,
    /// Manage keys.
    Admin,
}

impl Scope {
    /// Every scope.
    pub(crate) const ALL: [Scope; 2] = [Scope::Inference, Scope::Admin];

    /// Its name on the wire and in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Scope::Inference => "inference",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub(crate) fn parse(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Requests.
    Requests,
    /// Tokens, prompt and completion together.
    Tokens,
}

/// A limit of a key. Kept here, enforced by the rate-limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// What is counted.
    pub(crate) unit: Unit,
    /// How many per period.
    pub(crate) limit: u64,
    /// The period.
    pub(crate) per: Duration,
    /// Depth of the bucket; `None`: as `limit`.
    pub(crate) burst: Option<u64>,
}

/// Whom a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Public id of the key.
    pub(crate) key_id: String,
    /// Owner: the boundary for cache, limits and objects.
    pub(crate) tenant: String,
    /// Name for people.
    pub(crate) name: String,
    /// What the caller may do.
    pub(crate) scopes: Vec<Scope>,
    /// Models that the caller may use; empty: all.
    pub(crate) allowed_models: Vec<String>,
    /// Limits of this key.
    pub(crate) limits: Vec<Limit>,
    /// When the key ends; `None`: never.
    pub(crate) expires_at: Option<SystemTime>,
    /// Labels for accounting.
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Principal {
    /// Whether the caller may do this.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// A secret that was replaced and is still good for a while.
#[derive(Clone, Debug)]
pub(crate) struct FormerSecret {
    /// Its keyed hash.
    pub(crate) digest: Digest,
    /// From when on it is refused.
    pub(crate) until: SystemTime,
}

/// A key.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Whom it stands for.
    pub(crate) principal: Principal,
    /// When it was made.
    pub(crate) created_at: SystemTime,
    /// When it was revoked; `None`: it was not.
    pub(crate) revoked_at: Option<SystemTime>,
    /// Keyed hash of the secret.
    pub(crate) secret: Digest,
    /// Secrets in their grace period.
    pub(crate) former: Vec<FormerSecret>,
}

/// Why a key is not good (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// No credential that could be one.
    Malformed,
    /// No key has this id, or the admin key is another one.
    Unknown,
    /// The id is right, the secret is not.
    WrongSecret,
    /// The key was revoked.
    Revoked,
    /// The key has expired.
    Expired,
    /// The secret was replaced and its grace period is over.
    Replaced,
}

impl Record {
    /// Whether the key is neither revoked nor expired.
    ///
    /// # Errors
    /// The cause.
    pub(crate) fn check_alive(&self, now: SystemTime) -> Result<(), Refusal> {
        if self.revoked_at.is_some() {
            Err(Refusal::Revoked)
        } else if self.principal.expires_at.is_some_and(|end| end <= now) {
            Err(Refusal::Expired)
        } else {
            Ok(())
        }
    }

    /// Until when the secret with this digest is good; `None`: for ever.
    ///
    /// # Errors
    /// It is not good now.
    pub(crate) fn verify(&self, digest: &Digest, now: SystemTime) -> Result<Option<SystemTime>, Refusal> {
        // Every comparison is made, whatever the others say: time must not tell which secret was near.
        let current = self.secret.matches(digest);
        let mut former = None;
        for secret in &self.former {
            if secret.digest.matches(digest) {
                former = Some(secret.until);
            }
        }
        let until = match (current, former) {
            (true, _) => None,
            (false, Some(until)) if until > now => Some(until),
            (false, Some(_)) => return Err(Refusal::Replaced),
            (false, None) => return Err(Refusal::WrongSecret),
        };
        self.check_alive(now)?;
        Ok(until.into_iter().chain(self.principal.expires_at).min())
    }

    /// Whether the key may manage keys now.
    pub(crate) fn is_live_admin(&self, now: SystemTime) -> bool {
        self.principal.may(Scope::Admin) && self.check_alive(now).is_ok()
    }

    /// Puts another secret in place. Whatever was good before stays so for `grace` at most: a rotation
    /// without grace ends the secrets of earlier rotations, too.
    pub(crate) fn rotate(&mut self, secret: Digest, grace: Duration, now: SystemTime) {
        let replaced = std::mem::replace(&mut self.secret, secret);
        let until = now.checked_add(grace).unwrap_or(now);
        for former in &mut self.former {
            former.until = former.until.min(until);
        }
        self.former.push(FormerSecret { digest: replaced, until });
        self.former.retain(|former| former.until > now);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pepper::Pepper;

    pub(crate) fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    pub(crate) fn record(id: &str) -> Record {
        Record {
            principal: Principal {
                key_id: id.into(),
                tenant: "acme".into(),
                name: "a name".into(),
                scopes: vec![Scope::Inference],
                allowed_models: vec!["llama*".into()],
                limits: vec![Limit {
                    unit: Unit::Tokens,
                    limit: 10,
                    per: Duration::from_secs(60),
                    burst: Some(20),
                }],
                expires_at: Some(at(1000)),
                metadata: BTreeMap::from([("team".into(), "blue".into())]),
            },
            created_at: at(1),
            revoked_at: None,
            secret: digest("secret"),
            former: Vec::new(),
        }
    }

    fn digest(secret: &str) -> Digest {
        thread_local!(static PEPPER: Pepper = Pepper::generate().unwrap());
        PEPPER.with(|pepper| pepper.digest(secret.as_bytes()))
    }

    #[test]
    fn expiry_is_exclusive_and_bounds_the_verdict() {
        let record = record("a");
        assert_eq!(record.verify(&digest("secret"), at(999)), Ok(Some(at(1000))));
        assert_eq!(record.verify(&digest("secret"), at(1000)), Err(Refusal::Expired));
        assert_eq!(record.verify(&digest("other"), at(1000)), Err(Refusal::WrongSecret));
    }

    #[test]
    fn a_former_secret_is_good_for_its_grace_period() {
        let mut record = record("a");
        record.principal.expires_at = None;
        record.rotate(digest("second"), Duration::from_secs(10), at(100));
        assert_eq!(record.verify(&digest("secret"), at(109)), Ok(Some(at(110))));
        assert_eq!(record.verify(&digest("secret"), at(110)), Err(Refusal::Replaced));
        assert_eq!(record.verify(&digest("second"), at(1_000_000)), Ok(None));
    }

    #[test]
    fn a_rotation_never_prolongs_and_one_without_grace_ends_all() {
        let mut record = record("a");
        record.rotate(digest("second"), Duration::from_secs(10), at(100));
        record.rotate(digest("third"), Duration::from_secs(100), at(105));
        assert_eq!(record.verify(&digest("secret"), at(109)), Ok(Some(at(110))));
        assert_eq!(record.verify(&digest("secret"), at(111)), Err(Refusal::Replaced));
        record.rotate(digest("fourth"), Duration::ZERO, at(106));
        assert!(record.former.is_empty());
        assert_eq!(record.verify(&digest("third"), at(106)), Err(Refusal::WrongSecret));
        assert_eq!(record.verify(&digest("fourth"), at(106)), Ok(Some(at(1000))));
    }

    #[test]
    fn revocation_wins_over_everything_but_the_secret() {
        let mut record = record("a");
        record.principal.scopes.push(Scope::Admin);
        assert!(record.is_live_admin(at(5)));
        record.revoked_at = Some(at(5));
        assert_eq!(record.verify(&digest("secret"), at(5)), Err(Refusal::Revoked));
        assert!(!record.is_live_admin(at(5)));
    }
}

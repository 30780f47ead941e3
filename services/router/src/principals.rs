//! Who is asking: the credential of a call becomes a principal, by the auth service or from memory. What is
//! remembered is dropped at once when a key changes; while nobody tells of changes nothing new is remembered.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_chassis::{CallContext, Channel, Tasks};
use penstock_proto::{
    Error, Reason,
    auth::v1::{AuthenticateRequest, Principal, WatchRevocationsRequest, auth_client::AuthClient},
    error::INVALID_API_KEY,
    metadata::AUTHORIZATION,
};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use tonic::{Status, metadata::MetadataMap};

/// Longest credential that is looked at, in bytes: JWTs are long, an attack is longer.
const CREDENTIAL_MAX_BYTES: usize = 4096;
/// Most principals remembered: a few hundred bytes each.
const MEMO_MAX: usize = 10_000;
/// The pause before revocations are watched again.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// Turns credentials into principals.
#[derive(Clone, Debug)]
pub(crate) struct Principals {
    auth: AuthClient<Channel>,
    timeout: Duration,
    memo: Arc<Mutex<Memo>>,
}

impl Principals {
    pub(crate) fn start(auth: &Channel, timeout: Duration, tasks: &Tasks) -> Self {
        let principals = Self { auth: AuthClient::new(auth.clone()), timeout, memo: Arc::default() };
        let (watcher, stopping) = (principals.clone(), tasks.stopping());
        tasks.spawn("revocations", async move {
            stopping.run_until_cancelled(watcher.watch()).await;
        });
        principals
    }

    /// The principal of a call's credential.
    pub(crate) async fn of(
        &self,
        context: &CallContext,
        metadata: &MetadataMap,
    ) -> Result<Arc<Principal>, Status> {
        let credential = credential(metadata)?;
        let digest: [u8; 32] = Sha256::digest(credential).into();
        let (known, generation) = {
            let memo = self.memo();
            (memo.get(&digest, Instant::now()), memo.generation)
        };
        if let Some(principal) = known {
            return Ok(principal);
        }
        let request = AuthenticateRequest { credential: credential.to_owned() };
        let request = context.with_timeout(self.timeout).request(request);
        let answer =
            self.auth.clone().authenticate(request).await.map_err(|status| refused(context, &status))?;
        let answer = answer.into_inner();
        let Some(principal) = answer.principal.filter(|principal| !principal.tenant.is_empty()) else {
            // B6: a yes without an identity is not a yes.
            return Err(Error::new(Reason::Internal, "the verdict has no principal").into());
        };
        let principal = Arc::new(principal);
        let valid_for = answer.valid_for.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default();
        self.memo().insert(digest, &principal, Instant::now() + valid_for, generation);
        Ok(principal)
    }

    fn memo(&self) -> std::sync::MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(self) {
        loop {
            let request = WatchRevocationsRequest {};
            if let Ok(events) = self.auth.clone().watch_revocations(request).await {
                let mut events = events.into_inner();
                while let Some(Ok(event)) = events.next().await {
                    self.memo().revoked(&event.key_id);
                }
            }
            // Events may be missed from here on: what is remembered stands until its time is up, nothing is
            // added, and all of it goes when the watch is back.
            self.memo().live = false;
            sleep(WATCH_PAUSE).await;
        }
    }
}

/// What the caller is told if auth says no, or says nothing.
fn refused(context: &CallContext, status: &Status) -> Status {
    let error = Error::from(status);
    match error.reason {
        Reason::InvalidApiKey => error.into(),
        // Auth's budget is smaller than the caller's: only the caller's own deadline is the caller's.
        Reason::DeadlineExceeded if context.remaining().is_some_and(|left| left.is_zero()) => error.into(),
        _ => Error::new(Reason::ServiceUnavailable, "the auth service cannot be asked")
            .with_retry_after(Duration::from_secs(1))
            .into(),
    }
}

/// The bearer token of a call. One and the same error for every way of having none.
fn credential(metadata: &MetadataMap) -> Result<&str, Status> {
    let missing = || Status::from(Error::new(Reason::InvalidApiKey, INVALID_API_KEY));
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    // An admin key may hold any text: UTF-8, not only ASCII.
    let value =
        values.next().and_then(|value| std::str::from_utf8(value.as_bytes()).ok()).ok_or_else(missing)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    // As auth does it, and HTTP with the white space around a credential.
    let token = token.trim();
    let sane =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= CREDENTIAL_MAX_BYTES;
    if sane && values.next().is_none() { Ok(token) } else { Err(missing()) }
}

#[derive(Debug, Default)]
struct Memo {
    /// By the full digest of the credential: a prefix is never enough (B3).
    principals: HashMap<[u8; 32], (Arc<Principal>, Instant)>,
    /// Counts revocations, so that a verdict given before one is not remembered after it.
    generation: u64,
    /// Whether revocations are being told.
    live: bool,
}

impl Memo {
    fn get(&self, digest: &[u8; 32], now: Instant) -> Option<Arc<Principal>> {
        let (principal, until) = self.principals.get(digest)?;
        (*until > now).then(|| Arc::clone(principal))
    }

    fn insert(&mut self, digest: [u8; 32], principal: &Arc<Principal>, until: Instant, generation: u64) {
        if !self.live || generation != self.generation {
            return;
        }
        if self.principals.len() >= MEMO_MAX {
            let now = Instant::now();
            self.principals.retain(|_, (_, until)| *until > now);
            if self.principals.len() >= MEMO_MAX {
                self.principals.clear();
            }
        }
        self.principals.insert(digest, (Arc::clone(principal), until));
    }

    /// A key has changed; no key: the watch has just begun, and anything may have changed before.
    fn revoked(&mut self, key_id: &str) {
        self.generation += 1;
        if key_id.is_empty() && !self.live {
            self.live = true;
            self.principals.clear();
        }
        self.principals.retain(|_, (principal, _)| principal.key_id != key_id);
    }
}

/// Whether a principal may use a model, asked for by `asked` (the model's name or an alias of it).
pub(crate) fn may_use(principal: &Principal, asked: &str, name: &str) -> bool {
    let matches = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix) || asked.starts_with(prefix),
        None => pattern == name || pattern == asked,
    };
    principal.allowed_models.is_empty() || principal.allowed_models.iter().any(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(key_id: &str) -> Arc<Principal> {
        Arc::new(Principal { key_id: key_id.into(), tenant: "t".into(), ..Principal::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_key_is_forgotten_at_once_and_others_are_not() {
        let later = Instant::now() + Duration::from_secs(30);
        let mut memo = Memo::default();
        memo.insert([0; 32], &principal("early"), later, 0);
        assert!(memo.get(&[0; 32], Instant::now()).is_none(), "nobody tells of revocations yet");
        memo.revoked("");
        memo.insert([1; 32], &principal("one"), later, memo.generation);
        memo.insert([2; 32], &principal("two"), later, memo.generation);
        memo.revoked("one");
        assert!(memo.get(&[1; 32], Instant::now()).is_none());
        assert!(memo.get(&[2; 32], Instant::now()).is_some());
        assert!(memo.get(&[2; 32], later).is_none(), "its time is up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_from_before_a_revocation_is_not_remembered_after_it() {
        let mut memo = Memo::default();
        memo.revoked("");
        let before = memo.generation;
        memo.revoked("one");
        memo.insert([1; 32], &principal("one"), Instant::now() + Duration::from_secs(30), before);
        assert!(memo.get(&[1; 32], Instant::now()).is_none());
    }

    /// B1: every way of having no credential gets the same answer.
    #[test]
    fn every_way_of_having_no_credential_gets_the_same_answer() {
        let long = format!("Bearer {}", "x".repeat(CREDENTIAL_MAX_BYTES + 1));
        let mut answers: Vec<String> = vec![];
        for value in
            [None, Some("Bearer "), Some("Bearer"), Some("Basic abc"), Some("abc"), Some(long.as_str())]
        {
            let mut metadata = MetadataMap::new();
            if let Some(value) = value {
                metadata.insert(AUTHORIZATION, value.parse().unwrap());
            }
            answers.push(format!("{:?}", credential(&metadata).unwrap_err()));
        }
        let mut two = MetadataMap::new();
        two.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        two.append(AUTHORIZATION, "Bearer b".parse().unwrap());
        answers.push(format!("{:?}", credential(&two).unwrap_err()));
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        let mut lower_case = MetadataMap::new();
        lower_case.insert(AUTHORIZATION, "bearer a b".parse().unwrap());
        assert_eq!(credential(&lower_case).unwrap(), "a b");
    }

    #[test]
    fn allowed_models_are_names_aliases_or_prefixes() {
        let restricted = |models: &[&str]| Principal {
            allowed_models: models.iter().map(ToString::to_string).collect(),
            ..Principal::default()
        };
        assert!(may_use(&restricted(&[]), "m", "m"));
        assert!(may_use(&restricted(&["m"]), "alias", "m"));
        assert!(may_use(&restricted(&["alias"]), "alias", "m"));
        assert!(may_use(&restricted(&["llama*"]), "llama3", "llama3"));
        assert!(!may_use(&restricted(&["llama"]), "llama3", "llama3"));
    }
}

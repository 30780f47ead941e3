//! The gRPC face of the store: decode, look up or store, encode.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_proto::{
    Violation,
    cache::v1::{
        Entry, EntryKey, InvalidateRequest, InvalidateResponse, LookupRequest, LookupResponse, StatsRequest,
        StatsResponse, StoreRequest, StoreResponse, cache_server::Cache,
    },
    inference::v1::GenerateChunk,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::{
    error::Error,
    metrics::Counts,
    store::{Key, Store},
};

/// Longest name of a tenant, in bytes.
const TENANT_MAX_BYTES: usize = 256;
/// Violations reported at most: an answer must not grow with the number of mistakes.
const VIOLATIONS_MAX: usize = 100;

#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) store: Arc<Store>,
    pub(crate) counts: Counts,
}

#[tonic::async_trait]
impl Cache for Service {
    async fn lookup(&self, request: Request<LookupRequest>) -> Result<Response<LookupResponse>, Status> {
        let LookupRequest { key, max_age } = request.into_inner();
        let mut violations = Vec::new();
        let key = key_from(key, &mut violations);
        let max_age = span_from("max_age", max_age, &mut violations);
        let key = checked(key, violations)?;
        let Some(hit) = self.store.lookup(&key, max_age, Instant::now()) else {
            self.counts.misses.inc();
            return Ok(Response::new(LookupResponse { entry: None }));
        };
        let answer = GenerateChunk::decode(hit.answer).map_err(Error::Unreadable)?;
        self.counts.hits.inc();
        let entry = Entry { answer: Some(answer), age: hit.age.try_into().ok() };
        Ok(Response::new(LookupResponse { entry: Some(entry) }))
    }

    async fn store(&self, request: Request<StoreRequest>) -> Result<Response<StoreResponse>, Status> {
        let StoreRequest { key, answer, ttl } = request.into_inner();
        let mut violations = Vec::new();
        let key = key_from(key, &mut violations);
        check_whole(answer.as_ref(), &mut violations);
        let ttl = span_from("ttl", ttl, &mut violations);
        if ttl == Some(Duration::ZERO) {
            violations.push(Violation::new("ttl", "must be more than 0"));
        }
        let key = checked(key, violations)?;
        let answer = answer.unwrap_or_default().encode_to_vec().into();
        let stored = self.store.store(key, answer, ttl, Instant::now());
        if stored {
            self.counts.stores.inc();
        }
        Ok(Response::new(StoreResponse { stored }))
    }

    async fn invalidate(
        &self,
        request: Request<InvalidateRequest>,
    ) -> Result<Response<InvalidateResponse>, Status> {
        let InvalidateRequest { tenant } = request.into_inner();
        if tenant.as_deref() == Some("") {
            let violation = Violation::new("tenant", "must not be empty; leave it out to forget all");
            return Err(Error::Invalid(vec![violation]).into());
        }
        self.store.invalidate(tenant);
        Ok(Response::new(InvalidateResponse {}))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        self.store.sweep();
        let size = self.store.size();
        Ok(Response::new(StatsResponse {
            hits: self.counts.hits.get(),
            misses: self.counts.misses.get(),
            entries: size.entries,
            bytes: size.bytes,
        }))
    }
}

fn key_from(key: Option<EntryKey>, violations: &mut Vec<Violation>) -> Option<Key> {
    let Some(EntryKey { tenant, fingerprint }) = key else {
        violations.push(Violation::new("key", "is required"));
        return None;
    };
    if tenant.is_empty() {
        violations.push(Violation::new("key.tenant", "is required"));
    } else if tenant.len() > TENANT_MAX_BYTES {
        violations.push(Violation::new("key.tenant", format!("is longer than {TENANT_MAX_BYTES} bytes")));
    }
    match fingerprint.as_ref().try_into() {
        Ok(fingerprint) => Some(Key { tenant: tenant.into(), fingerprint }),
        Err(_) => {
            violations.push(Violation::new("key.fingerprint", "must be 32 bytes"));
            None
        }
    }
}

/// Only a whole answer may be given out again: at least one choice, and none that goes on.
fn check_whole(answer: Option<&GenerateChunk>, violations: &mut Vec<Violation>) {
    let Some(answer) = answer else {
        violations.push(Violation::new("answer", "is required"));
        return;
    };
    if answer.choices.is_empty() {
        violations.push(Violation::new("answer.choices", "must have at least one choice"));
    }
    let goes_on = answer
        .choices
        .iter()
        .enumerate()
        .filter(|(_, choice)| choice.finish_reason.as_deref().is_none_or(str::is_empty));
    for (index, _) in goes_on.take(VIOLATIONS_MAX) {
        let field = format!("answer.choices[{index}].finish_reason");
        violations.push(Violation::new(field, "is required: the answer is not whole"));
    }
}

fn span_from(
    field: &str,
    span: Option<prost_types::Duration>,
    violations: &mut Vec<Violation>,
) -> Option<Duration> {
    let span = Duration::try_from(span?);
    if span.is_err() {
        violations.push(Violation::new(field, "must not be negative"));
    }
    span.ok()
}

fn checked(key: Option<Key>, violations: Vec<Violation>) -> Result<Key, Error> {
    match key {
        Some(key) if violations.is_empty() => Ok(key),
        _ => Err(Error::Invalid(violations)),
    }
}

#[cfg(test)]
mod tests;

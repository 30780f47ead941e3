//! From the domain to the contract.

use std::time::{Duration, SystemTime};

use penstock_proto::{auth::v1, ratelimit};

use crate::{
    keyring::Verdict,
    record::{Limit, Principal, Record, Unit},
};

pub(super) fn verdict(verdict: Verdict, memo_ttl: Duration, now: SystemTime) -> v1::AuthenticateResponse {
    let left = verdict.until.map(|until| until.duration_since(now).unwrap_or_default());
    let valid_for = left.map_or(memo_ttl, |left| left.min(memo_ttl));
    v1::AuthenticateResponse {
        principal: Some(principal(verdict.principal)),
        valid_for: Some(duration(valid_for)),
    }
}

pub(super) fn key(record: &Record) -> v1::Key {
    v1::Key {
        principal: Some(principal(record.principal.clone())),
        created_at: Some(record.created_at.into()),
        revoked_at: record.revoked_at.map(Into::into),
    }
}

fn principal(principal: Principal) -> v1::Principal {
    v1::Principal {
        key_id: principal.key_id,
        tenant: principal.tenant,
        name: principal.name,
        scopes: principal.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        allowed_models: principal.allowed_models,
        limits: principal.limits.iter().map(limit).collect(),
        expires_at: principal.expires_at.map(Into::into),
        metadata: principal.metadata.into_iter().collect(),
    }
}

fn limit(limit: &Limit) -> ratelimit::v1::Limit {
    let unit = match limit.unit {
        Unit::Requests => ratelimit::v1::Unit::Requests,
        Unit::Tokens => ratelimit::v1::Unit::Tokens,
    };
    ratelimit::v1::Limit {
        unit: unit.into(),
        limit: limit.limit,
        per: Some(duration(limit.per)),
        burst: limit.burst,
    }
}

/// Every span of ours is far below what protobuf can say.
fn duration(span: Duration) -> prost_types::Duration {
    span.try_into().unwrap_or_default()
}

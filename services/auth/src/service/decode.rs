//! From the contract to the domain. What protobuf can say and a key cannot is a violation.

use std::time::{Duration, SystemTime};

use penstock_proto::{auth::v1, metadata::AUTHORIZATION, ratelimit};
use secrecy::SecretString;
use tonic::metadata::MetadataMap;

use crate::{
    Error,
    check::{Check, Given, RawLimit},
    keyring::{DEFAULT_TENANT, Draft, Edit},
    record::Unit,
};

/// The bearer token of a call: exactly one, the scheme in any case (RFC 9110, section 11.1). The
/// router reads it in the same way.
pub(super) fn credential(metadata: &MetadataMap) -> Result<SecretString, Error> {
    let mut values = metadata.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Error::Unauthenticated) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Error::Unauthenticated)?;
    let (scheme, token) = text.split_once(' ').ok_or(Error::Unauthenticated)?;
    // Spaces within it are its own: an admin key may hold them.
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Error::Unauthenticated);
    }
    Ok(SecretString::from(token))
}

pub(super) fn key_id(id: String) -> Result<String, Error> {
    let mut check = Check::default();
    check.key_id(&id);
    check.finish().map_err(Error::Invalid)?;
    Ok(id)
}

pub(super) fn create(request: v1::CreateRequest, now: SystemTime) -> Result<Draft, Error> {
    let mut check = Check::default();
    let draft = Draft {
        name: check.name(request.name),
        tenant: check.tenant(request.tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned())),
        scopes: check.scopes(&request.scopes),
        allowed_models: check.models(request.allowed_models),
        limits: check.limits(&raw_limits(&request.limits)),
        expires_at: check.expires_at(time(request.expires_at), now),
        metadata: check.metadata(request.metadata),
    };
    check.finish().map_err(Error::Invalid)?;
    Ok(draft)
}

pub(super) fn update(request: v1::UpdateRequest) -> Result<(String, Edit), Error> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    let edit = Edit {
        name: request.name.map(|name| check.name(name)),
        allowed_models: request.allowed_models.map(|allowed| check.models(allowed.models)),
        limits: request.limits.map(|limits| check.limits(&raw_limits(&limits.limits))),
    };
    check.finish().map_err(Error::Invalid)?;
    Ok((request.key_id, edit))
}

pub(super) fn rotate(request: v1::RotateRequest) -> Result<(String, Duration), Error> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    let grace = check.grace_period(duration(request.grace_period));
    check.finish().map_err(Error::Invalid)?;
    Ok((request.key_id, grace))
}

fn raw_limits(limits: &[ratelimit::v1::Limit]) -> Vec<RawLimit> {
    limits
        .iter()
        .map(|limit| RawLimit {
            unit: match limit.unit() {
                ratelimit::v1::Unit::Requests => Some(Unit::Requests),
                ratelimit::v1::Unit::Tokens => Some(Unit::Tokens),
                ratelimit::v1::Unit::Unspecified => None,
            },
            limit: limit.limit,
            per: duration(limit.per),
            burst: limit.burst,
        })
        .collect()
}

fn duration(span: Option<prost_types::Duration>) -> Given<Duration> {
    match span.map(Duration::try_from) {
        None => Given::Absent,
        Some(Ok(span)) => Given::Value(span),
        Some(Err(_)) => Given::Nonsense,
    }
}

fn time(stamp: Option<prost_types::Timestamp>) -> Given<SystemTime> {
    match stamp.map(SystemTime::try_from) {
        None => Given::Absent,
        Some(Ok(moment)) => Given::Value(moment),
        Some(Err(_)) => Given::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn token(values: &[&'static str]) -> Option<String> {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(AUTHORIZATION, value.parse().unwrap());
        }
        credential(&metadata).ok().map(|token| token.expose_secret().to_owned())
    }

    /// B1, A13
    #[test]
    fn one_bearer_token_is_taken() {
        assert_eq!(token(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(token(&["bearer  with some spaces "]).as_deref(), Some("with some spaces"));
        assert_eq!(token(&["BEARER abc"]).as_deref(), Some("abc"));
        for wrong in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer   "],
            &["abc"],
            &["Basic abc"],
            &["Bearer\tabc"],
            &[" Bearer abc"],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert_eq!(token(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_span_or_moment_panics(seconds: i64, nanos: i32) {
            let now = SystemTime::UNIX_EPOCH;
            let per = Some(prost_types::Duration { seconds, nanos });
            let limit = ratelimit::v1::Limit { unit: 1, limit: 1, per, burst: None };
            let request = v1::CreateRequest {
                name: "a".into(),
                limits: vec![limit],
                expires_at: Some(prost_types::Timestamp { seconds, nanos }),
                ..Default::default()
            };
            if let Ok(draft) = create(request, now) {
                let _ = prost_types::Timestamp::from(draft.expires_at.unwrap());
            }
            let _ = rotate(v1::RotateRequest { key_id: "a".into(), grace_period: per });
        }
    }
}

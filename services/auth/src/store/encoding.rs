//! How a record is written: a version byte, a CRC-32, then a message of its own, apart from the contract's, so
//! that neither binds the other. What is not understood is an error, never a guess (F5).

use std::time::{Duration, SystemTime};

use prost::Message as _;

use crate::{
    pepper::Digest,
    record::{FormerSecret, Limit, Principal, Record, Scope, Unit},
};

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;

/// The bytes of a record.
pub(super) fn encode(record: &Record) -> Vec<u8> {
    let principal = &record.principal;
    let stored = StoredKey {
        id: principal.key_id.clone(),
        tenant: principal.tenant.clone(),
        name: principal.name.clone(),
        scopes: principal.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        allowed_models: principal.allowed_models.clone(),
        limits: principal.limits.iter().map(StoredLimit::of).collect(),
        expires_at: principal.expires_at.map(Into::into),
        metadata: principal.metadata.clone(),
        created_at: Some(record.created_at.into()),
        revoked_at: record.revoked_at.map(Into::into),
        secret: record.secret.as_bytes().to_vec(),
        former: record.former.iter().map(StoredSecret::of).collect(),
    }
    .encode_to_vec();
    let mut bytes = Vec::with_capacity(stored.len() + 5);
    bytes.push(VERSION);
    bytes.extend(crc32fast::hash(&stored).to_be_bytes());
    bytes.extend(stored);
    bytes
}

/// The record in `bytes`.
///
/// # Errors
/// What is wrong with them.
pub(super) fn decode(bytes: &[u8]) -> Result<Record, String> {
    let (version, rest) = bytes.split_first().ok_or("a record is empty")?;
    if *version != VERSION {
        return Err(format!("a record has version {version}, and this Penstock knows only {VERSION}"));
    }
    let (checksum, stored) = rest.split_first_chunk::<4>().ok_or("a record is cut short")?;
    if crc32fast::hash(stored).to_be_bytes() != *checksum {
        return Err("a record's checksum is wrong".to_owned());
    }
    let stored = StoredKey::decode(stored).map_err(|_| "a record is not readable")?;
    stored.into_record().ok_or_else(|| "a record holds a value that no key has".to_owned())
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredKey {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    tenant: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    scopes: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    allowed_models: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    limits: Vec<StoredLimit>,
    #[prost(message, optional, tag = "7")]
    expires_at: Option<prost_types::Timestamp>,
    #[prost(btree_map = "string, string", tag = "8")]
    metadata: std::collections::BTreeMap<String, String>,
    #[prost(message, optional, tag = "9")]
    created_at: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "10")]
    revoked_at: Option<prost_types::Timestamp>,
    #[prost(bytes = "vec", tag = "11")]
    secret: Vec<u8>,
    #[prost(message, repeated, tag = "12")]
    former: Vec<StoredSecret>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredLimit {
    /// 1: requests, 2: tokens.
    #[prost(uint32, tag = "1")]
    unit: u32,
    #[prost(uint64, tag = "2")]
    limit: u64,
    #[prost(uint64, tag = "3")]
    per_millis: u64,
    #[prost(uint64, optional, tag = "4")]
    burst: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredSecret {
    #[prost(bytes = "vec", tag = "1")]
    digest: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    until: Option<prost_types::Timestamp>,
}

impl StoredKey {
    fn into_record(self) -> Option<Record> {
        Some(Record {
            principal: Principal {
                key_id: self.id,
                tenant: self.tenant,
                name: self.name,
                scopes: self.scopes.iter().map(|scope| Scope::parse(scope)).collect::<Option<_>>()?,
                allowed_models: self.allowed_models,
                limits: self.limits.into_iter().map(StoredLimit::into_limit).collect::<Option<_>>()?,
                expires_at: optional_time(self.expires_at)?,
                metadata: self.metadata,
            },
            created_at: time(self.created_at?)?,
            revoked_at: optional_time(self.revoked_at)?,
            secret: Digest::of_bytes(&self.secret)?,
            former: self.former.into_iter().map(StoredSecret::into_former).collect::<Option<_>>()?,
        })
    }
}

impl StoredLimit {
    fn of(limit: &Limit) -> Self {
        Self {
            unit: match limit.unit {
                Unit::Requests => 1,
                Unit::Tokens => 2,
            },
            limit: limit.limit,
            per_millis: u64::try_from(limit.per.as_millis()).unwrap_or(u64::MAX),
            burst: limit.burst,
        }
    }

    fn into_limit(self) -> Option<Limit> {
        let unit = match self.unit {
            1 => Unit::Requests,
            2 => Unit::Tokens,
            _ => return None,
        };
        Some(Limit {
            unit,
            limit: self.limit,
            per: Duration::from_millis(self.per_millis),
            burst: self.burst,
        })
    }
}

impl StoredSecret {
    fn of(former: &FormerSecret) -> Self {
        Self { digest: former.digest.as_bytes().to_vec(), until: Some(former.until.into()) }
    }

    fn into_former(self) -> Option<FormerSecret> {
        Some(FormerSecret { digest: Digest::of_bytes(&self.digest)?, until: time(self.until?)? })
    }
}

fn time(stamp: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(stamp).ok()
}

/// `None`: there is a moment, and it is out of range. Never "for ever" instead.
fn optional_time(stamp: Option<prost_types::Timestamp>) -> Option<Option<SystemTime>> {
    match stamp {
        None => Some(None),
        Some(stamp) => time(stamp).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::tests::{at, record};

    #[test]
    fn a_record_survives() {
        let mut record = record("a");
        record.rotate(record.secret.clone(), Duration::from_secs(9), at(3));
        record.revoked_at = Some(at(7));
        assert_eq!(format!("{:?}", decode(&encode(&record)).unwrap()), format!("{record:?}"));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = encode(&record("a"));
        bytes[0] = 2;
        assert!(decode(&bytes).unwrap_err().contains("version 2"));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_an_error() {
        let bytes = encode(&record("a"));
        for length in 0..bytes.len() {
            decode(&bytes[..length]).unwrap_err();
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            decode(&flipped).unwrap_err();
        }
    }

    #[test]
    fn an_unknown_scope_or_unit_is_an_error_and_not_left_out() {
        for change in [
            |key: &mut StoredKey| key.scopes.push("root".into()),
            |key: &mut StoredKey| key.limits[0].unit = 9,
            |key: &mut StoredKey| key.secret.clear(),
            |key: &mut StoredKey| key.created_at = None,
        ] {
            let bytes = encode(&record("a"));
            let mut stored = StoredKey::decode(&bytes[5..]).unwrap();
            change(&mut stored);
            assert!(stored.into_record().is_none());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}

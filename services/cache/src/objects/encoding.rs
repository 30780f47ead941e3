//! How heads and contents are written: a version byte, a CRC-32, then the bytes. What is not understood is an
//! error, never a guess (F5). The head is a message of its own, apart from the contract's.

use prost::Message as _;

use super::Head;

/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;
/// What stands before the bytes.
pub(super) const SEAL_BYTES: usize = 5;

/// `bytes` under a seal.
pub(super) fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(bytes.len() + SEAL_BYTES);
    sealed.push(VERSION);
    sealed.extend(crc32fast::hash(bytes).to_be_bytes());
    sealed.extend(bytes);
    sealed
}

/// The bytes under a seal.
///
/// # Errors
/// What is wrong with them.
pub(super) fn unseal(sealed: &[u8]) -> Result<&[u8], String> {
    let (version, rest) = sealed.split_first().ok_or("it is empty")?;
    if *version != VERSION {
        return Err(format!("it has version {version}, and this Penstock knows only {VERSION}"));
    }
    let (checksum, bytes) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
    if crc32fast::hash(bytes).to_be_bytes() == *checksum {
        Ok(bytes)
    } else {
        Err("its checksum is wrong".to_owned())
    }
}

/// The bytes of a head.
pub(super) fn encode(head: &Head) -> Vec<u8> {
    let pair = |(key, value): &(String, String)| StoredPair { key: key.clone(), value: value.clone() };
    let metadata = head.metadata.iter().map(pair).collect();
    seal(&StoredHead { created: head.created, model: head.model.clone(), metadata }.encode_to_vec())
}

/// The head in `sealed`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(sealed: &[u8]) -> Result<Head, String> {
    let head = StoredHead::decode(unseal(sealed)?).map_err(|_| "its head is not readable")?;
    let metadata = head.metadata.into_iter().map(|pair| (pair.key, pair.value)).collect();
    Ok(Head { created: head.created, model: head.model, metadata })
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredHead {
    #[prost(uint64, tag = "1")]
    created: u64,
    #[prost(string, tag = "2")]
    model: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<StoredPair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredPair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> Head {
        Head {
            created: 7,
            model: "m".into(),
            metadata: vec![("k".into(), "v".into()), ("".into(), "é".into())],
        }
    }

    #[test]
    fn a_head_survives() {
        assert_eq!(decode(&encode(&head())), Ok(head()));
        assert_eq!(decode(&encode(&Head::default())), Ok(Head::default()));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = encode(&head());
        bytes[0] = 2;
        assert!(decode(&bytes).unwrap_err().contains("version 2"));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_an_error() {
        let bytes = encode(&head());
        for length in 0..bytes.len() {
            decode(&bytes[..length]).unwrap_err();
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            decode(&flipped).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_their_seal_and_garbage_never_panics(bytes: Vec<u8>) {
            let sealed = seal(&bytes);
            prop_assert_eq!(unseal(&sealed), Ok(bytes.as_slice()));
            let _ = decode(&bytes);
        }
    }
}

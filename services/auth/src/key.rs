//! The form of a key: `sk-penstock-<public id>-<secret><checksum>`, recognisable to secret scanners. The
//! checksum finds typing mistakes without a look-up. Whether a key is a good one is not known here.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// What every key begins with.
pub(crate) const PREFIX: &str = "sk-penstock-";
/// Longest credential that is looked at, in bytes. Admin keys may be of any form, so it leaves room for long
/// passphrases; anything beyond is refused before it is hashed (B1).
pub(crate) const CREDENTIAL_MAX_BYTES: usize = 512;

/// RFC 4648 base32 in lower case: survives being read aloud, and a changed case is a changed character.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 60 bits: two of a hundred thousand keys collide once in 10^8 meshes, and then another one is drawn.
const ID_CHARS: usize = 12;
/// 256 bits in groups of 5.
const SECRET_CHARS: usize = 52;
/// 32 bits in groups of 5.
const CHECKSUM_CHARS: usize = 7;

/// Random bytes that one public id takes.
pub(crate) const ID_RANDOM: usize = 8;
/// Random bytes that one secret takes: 256 bits.
pub(crate) const SECRET_RANDOM: usize = 32;

/// A new public id.
pub(crate) fn new_id(random: [u8; ID_RANDOM]) -> String {
    let mut id = String::with_capacity(ID_CHARS + 1);
    push_base32(&mut id, &random);
    id.truncate(ID_CHARS);
    id
}

/// The key with this public id and a new secret.
pub(crate) fn new_key(id: &str, random: [u8; SECRET_RANDOM]) -> SecretString {
    // Room for all of it, so that no piece of a secret is left in memory by growing.
    let mut text = String::with_capacity(PREFIX.len() + id.len() + 1 + SECRET_CHARS + CHECKSUM_CHARS);
    text.push_str(PREFIX);
    text.push_str(id);
    text.push('-');
    push_base32(&mut text, &random);
    let checksum = checksum(&text);
    text.push_str(&checksum);
    SecretString::from(text)
}

/// A presented credential, short enough to be hashed.
pub(crate) struct Credential {
    text: SecretString,
    id: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Credential {
    /// Takes a credential apart; `None` if it is empty or too long to be one.
    pub(crate) fn of(text: SecretString) -> Option<Self> {
        let length = text.expose_secret().len();
        if length == 0 || length > CREDENTIAL_MAX_BYTES {
            return None;
        }
        let id = public_id(text.expose_secret()).map(str::to_owned);
        Some(Self { text, id })
    }

    /// The public id, if the credential has the form of a key and its checksum is right.
    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// What is hashed: the credential as a whole (B3).
    pub(crate) fn text(&self) -> &SecretString {
        &self.text
    }
}

/// The public id of a well-formed key.
fn public_id(text: &str) -> Option<&str> {
    let (id, rest) = text.strip_prefix(PREFIX)?.split_once('-')?;
    let well_formed = id.len() == ID_CHARS
        && rest.len() == SECRET_CHARS + CHECKSUM_CHARS
        && id.bytes().chain(rest.bytes()).all(|byte| ALPHABET.contains(&byte));
    if !well_formed {
        return None;
    }
    let (before, presented) = text.split_at_checked(text.len() - CHECKSUM_CHARS)?;
    // Compared as text: 7 characters hold 35 bits, so decoding would take several spellings of one checksum.
    (checksum(before) == presented).then_some(id)
}

fn checksum(text: &str) -> String {
    let mut out = String::with_capacity(CHECKSUM_CHARS);
    push_base32(&mut out, &crc32fast::hash(text.as_bytes()).to_be_bytes());
    out
}

/// Appends `bytes` in groups of 5 bits, the last one filled up with zeros.
fn push_base32(out: &mut String, bytes: &[u8]) {
    let mut buffer = 0_u16;
    let mut bits = 0;
    let mut push = |group: u16| {
        if let Some(letter) = ALPHABET.get(usize::from(group & 31)) {
            out.push(char::from(*letter));
        }
    };
    for byte in bytes {
        buffer = (buffer << 8) | u16::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(buffer >> bits);
        }
    }
    if bits > 0 {
        push(buffer << (5 - bits));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id_of(text: &str) -> Option<String> {
        Credential::of(SecretString::from(text.to_owned()))?.id().map(str::to_owned)
    }

    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (bytes, text) in
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foob", "mzxw6yq"), ("fooba", "mzxw6ytb")]
        {
            let mut out = String::new();
            push_base32(&mut out, bytes.as_bytes());
            assert_eq!(out, text);
        }
    }

    #[test]
    fn what_is_too_long_or_empty_is_no_credential_at_all() {
        assert!(Credential::of(SecretString::from("")).is_none());
        assert!(Credential::of(SecretString::from("x".repeat(CREDENTIAL_MAX_BYTES))).is_some());
        assert!(Credential::of(SecretString::from("x".repeat(CREDENTIAL_MAX_BYTES + 1))).is_none());
    }

    #[test]
    fn nothing_prints_the_secret() {
        let key = new_key("abcdefghijkl", [7; SECRET_RANDOM]);
        let text = key.expose_secret().to_owned();
        let printed = format!("{key:?} {:?}", Credential::of(key.clone()));
        assert!(printed.contains("abcdefghijkl"));
        assert!(!printed.contains(&text[30..]), "{printed}");
    }

    proptest! {
        #[test]
        fn a_new_key_parses_to_its_id(id: [u8; ID_RANDOM], secret: [u8; SECRET_RANDOM]) {
            let id = new_id(id);
            prop_assert_eq!(id.len(), ID_CHARS);
            let key = new_key(&id, secret);
            prop_assert_eq!(id_of(key.expose_secret()), Some(id));
        }

        #[test]
        fn any_single_changed_character_is_refused(
            secret: [u8; SECRET_RANDOM], place: prop::sample::Index, other in any::<char>(),
        ) {
            let key = new_key(&new_id([1; ID_RANDOM]), secret);
            let mut letters: Vec<char> = key.expose_secret().chars().collect();
            let place = place.index(letters.len());
            prop_assume!(letters[place] != other);
            letters[place] = other;
            prop_assert_eq!(id_of(&letters.into_iter().collect::<String>()), None);
        }

        #[test]
        fn any_single_changed_letter_of_the_alphabet_is_refused(
            secret: [u8; SECRET_RANDOM], place: prop::sample::Index, other in 0..32_usize,
        ) {
            let key = new_key(&new_id([1; ID_RANDOM]), secret);
            let mut letters = key.expose_secret().as_bytes().to_vec();
            let place = place.index(letters.len());
            prop_assume!(letters[place] != ALPHABET[other]);
            letters[place] = ALPHABET[other];
            prop_assert_eq!(id_of(std::str::from_utf8(&letters).unwrap()), None);
        }

        #[test]
        fn dropped_and_swapped_characters_are_refused(secret: [u8; SECRET_RANDOM], place: prop::sample::Index) {
            let key = new_key(&new_id([1; ID_RANDOM]), secret);
            let text = key.expose_secret().to_owned();
            let place = place.index(text.len() - 1);
            let mut dropped = text.clone();
            dropped.remove(place);
            prop_assert_eq!(id_of(&dropped), None);
            let mut swapped = text.as_bytes().to_vec();
            swapped.swap(place, place + 1);
            prop_assume!(swapped != text.as_bytes());
            prop_assert_eq!(id_of(std::str::from_utf8(&swapped).unwrap()), None);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,600}") {
            prop_assert_eq!(id_of(&text), None);
        }

        #[test]
        fn arbitrary_text_in_the_shape_of_a_key_never_panics(text in "sk-penstock-[a-z2-7]{12}-[a-z2-7]{50,60}") {
            let _ = id_of(&text);
        }
    }
}

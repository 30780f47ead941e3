//! The pepper: the key under which secrets are hashed. It lies in a file of its own, so that a stolen copy of
//! the store alone does not even allow guessing. Losing it makes every stored key worthless.

use std::{
    fmt, fs,
    io::{self, Read as _, Write as _},
    path::Path,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::Error;

/// Bytes of a pepper: as many as the hash puts out.
const PEPPER_BYTES: usize = 32;
/// What is hashed to recognise the pepper that a store was filled with. No key begins like this.
const FINGERPRINT_OF: &[u8] = b"penstock: which pepper is this";

/// A keyed hash (HMAC-SHA-256) of a whole secret.
#[derive(Clone)]
pub(crate) struct Digest([u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

impl Digest {
    /// A digest that was stored.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// What is to be stored.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same, in constant time and over all of it (B3, B4).
    pub(crate) fn matches(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// The key of the keyed hash.
pub(crate) struct Pepper {
    bytes: SecretBox<[u8; PEPPER_BYTES]>,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

impl Pepper {
    fn of(bytes: [u8; PEPPER_BYTES]) -> Self {
        // HMAC fills a short key up with zeros; doing it here makes the constructor infallible.
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = from;
        }
        Self { bytes: SecretBox::new(Box::new(bytes)), mac: Hmac::new(&block) }
    }

    /// A new one.
    ///
    /// # Errors
    /// The operating system gives no random bytes.
    pub(crate) fn generate() -> Result<Self, Error> {
        let mut bytes = [0; PEPPER_BYTES];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        Ok(Self::of(bytes))
    }

    /// The keyed hash of a secret.
    pub(crate) fn digest(&self, secret: &[u8]) -> Digest {
        Digest(self.mac.clone().chain_update(secret).finalize().into_bytes().into())
    }

    /// Tells this pepper from others without giving it away.
    pub(crate) fn fingerprint(&self) -> Digest {
        self.digest(FINGERPRINT_OF)
    }

    /// Reads the pepper in `file`; `None` if there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub(crate) fn load(file: &Path) -> Result<Option<Self>, Error> {
        let unreadable = |source| Error::Pepper { file: file.to_owned(), source };
        let opened = match fs::File::open(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(unreadable)?,
        };
        let mut bytes = Vec::with_capacity(PEPPER_BYTES + 1);
        opened.take(PEPPER_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let bytes = <[u8; PEPPER_BYTES]>::try_from(bytes).map_err(|_| {
            let message = format!("it does not hold exactly {PEPPER_BYTES} bytes");
            unreadable(io::Error::new(io::ErrorKind::InvalidData, message))
        })?;
        Ok(Some(Self::of(bytes)))
    }

    /// Writes the pepper to `file`, readable by its owner only. The file appears whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, file: &Path) -> Result<(), Error> {
        self.write(file).map_err(|source| Error::Pepper { file: file.to_owned(), source })
    }

    fn write(&self, file: &Path) -> io::Result<()> {
        let draft = file.with_extension("pepper.new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut opened = options.open(&draft)?;
        opened.write_all(self.bytes.expose_secret())?;
        opened.sync_all()?;
        fs::rename(&draft, file)?;
        match file.parent() {
            // Without this the name may be lost in a power cut, while keys hashed with it are not.
            Some(directory) => fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_rfc_4231_and_depend_on_the_pepper() {
        let mut key = [0; PEPPER_BYTES];
        key[..4].copy_from_slice(b"Jefe");
        let pepper = Pepper::of(key);
        let digest = pepper.digest(b"what do ya want for nothing?");
        assert_eq!(digest.as_bytes()[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert!(digest.matches(&pepper.digest(b"what do ya want for nothing?")));
        assert!(!digest.matches(&Pepper::generate().unwrap().digest(b"what do ya want for nothing?")));
    }

    #[test]
    fn digests_that_share_a_beginning_do_not_match() {
        let digest = Pepper::generate().unwrap().digest(b"secret");
        for place in 0..32 {
            let mut bytes = digest.0;
            bytes[place] ^= 1;
            assert!(!digest.matches(&Digest(bytes)));
        }
    }

    #[test]
    fn is_saved_for_its_owner_alone_and_loaded_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("auth.pepper");
        assert!(Pepper::load(&file).unwrap().is_none());
        let pepper = Pepper::generate().unwrap();
        pepper.save(&file).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let loaded = Pepper::load(&file).unwrap().unwrap();
        assert!(loaded.fingerprint().matches(&pepper.fingerprint()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_another_length_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("auth.pepper");
        for length in [0, PEPPER_BYTES - 1, PEPPER_BYTES + 1, 10_000] {
            fs::write(&file, vec![7; length]).unwrap();
            let error = Pepper::load(&file).unwrap_err();
            assert!(error.to_string().contains("auth.pepper"), "{error}");
        }
    }

    #[test]
    fn nothing_is_printed() {
        let pepper = Pepper::of(*b"canarycanarycanarycanarycanaryca");
        assert_eq!(format!("{pepper:?} {:?}", pepper.fingerprint()), "Pepper(..) Digest(..)");
    }
}

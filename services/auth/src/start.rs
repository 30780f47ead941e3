//! Opens what the service stands on: the data directory, the store, the pepper. Refuses to start, with the
//! reason and the remedy, rather than start with less.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use secrecy::SecretString;

use crate::{
    Error,
    keyring::Keyring,
    pepper::Pepper,
    store::{EmbeddedKeyStore, KeyStore as _},
};

/// Name of the store in the data directory.
const STORE_FILE: &str = "keys.redb";
/// Name of the pepper in the data directory.
const PEPPER_FILE: &str = "auth.pepper";

/// Opens the keyring in `directory`, and makes the first key if there is no way in. Blocks.
pub(crate) fn open(
    directory: &Path,
    admin_key: Option<&SecretString>,
    now: SystemTime,
) -> Result<(Keyring, Option<SecretString>), Error> {
    make_private(directory)
        .map_err(|source| Error::DataDirectory { directory: directory.to_owned(), source })?;
    let store_file = directory.join(STORE_FILE);
    // First, since it takes the lock: two processes must not both make a pepper.
    let store = EmbeddedKeyStore::open(&store_file)?;
    let contents = store.load()?;
    let pepper_file = directory.join(PEPPER_FILE);
    let wrong = |pepper: PathBuf| Error::WrongPepper { store: store_file.clone(), pepper };
    let pepper = match (Pepper::load(&pepper_file)?, &contents.pepper) {
        (Some(pepper), Some(fingerprint)) if pepper.fingerprint().matches(fingerprint) => pepper,
        (_, Some(_)) => return Err(wrong(pepper_file)),
        // A start that was cut between the pepper and the store, or a pepper that was put there on purpose.
        (Some(pepper), None) => {
            tracing::warn!(store = %store_file.display(), "there is a pepper, and the key store is a new one");
            store.set_pepper(&pepper.fingerprint())?;
            pepper
        }
        (None, None) => {
            let pepper = Pepper::generate()?;
            pepper.save(&pepper_file)?;
            store.set_pepper(&pepper.fingerprint())?;
            pepper
        }
    };
    let keyring = Keyring::new(Box::new(store), contents, pepper, admin_key);
    let first_key = keyring.create_first(now)?;
    if !keyring.has_admin(now) {
        tracing::warn!("no admin key is valid, so nobody can manage keys: set PENSTOCK_ADMIN_KEY");
    }
    Ok((keyring, first_key))
}

/// Makes the directory, for its owner alone. One that is there stays as it is.
fn make_private(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::record::tests::at;

    fn reopen(directory: &Path) -> Result<(Keyring, Option<SecretString>), Error> {
        open(directory, None, at(1))
    }

    #[test]
    fn the_first_start_makes_everything_and_the_second_finds_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let (first, key) = reopen(&directory).unwrap();
        let key = key.unwrap();
        drop(first);
        let (second, none) = reopen(&directory).unwrap();
        assert!(none.is_none());
        second.authenticate(key, at(2)).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn no_secret_reaches_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let (keyring, key) = reopen(directory.path()).unwrap();
        drop(keyring);
        let key = key.unwrap();
        // The id and its dash are public; a good part of the secret must not be found anywhere.
        let secret = key.expose_secret().as_bytes()[30..62].to_vec();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }

    #[test]
    fn a_lost_or_foreign_pepper_refuses_the_start_and_keeps_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let pepper = directory.path().join(PEPPER_FILE);
        let key = reopen(directory.path()).unwrap().1.unwrap();
        let kept = fs::read(&pepper).unwrap();
        fs::remove_file(&pepper).unwrap();
        assert!(matches!(reopen(directory.path()), Err(Error::WrongPepper { .. })));
        assert!(!pepper.exists());
        fs::write(&pepper, [7; 32]).unwrap();
        let error = reopen(directory.path()).unwrap_err();
        assert!(error.to_string().contains("backup"), "{error}");
        fs::write(&pepper, kept).unwrap();
        reopen(directory.path()).unwrap().0.authenticate(key, at(2)).unwrap();
    }

    /// F12: two processes on one directory.
    #[test]
    fn a_second_process_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _first = reopen(directory.path()).unwrap();
        assert!(matches!(reopen(directory.path()), Err(Error::StoreInUse { .. })));
    }

    /// F12: no place to write.
    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        for directory in [file.clone(), file.join("below")] {
            let error = reopen(&directory).unwrap_err();
            assert!(matches!(error, Error::DataDirectory { .. }), "{error:?}");
            assert!(error.to_string().contains("data_dir"), "{error}");
        }
    }
}

//! Opens the file of the embedded store. Refuses, with the reason and the remedy, rather than open what is
//! damaged or somebody else's.

use std::{fs, io, mem::ManuallyDrop, panic::AssertUnwindSafe, path::Path};

use redb::{Database, DatabaseError, StorageError, backends::InMemoryBackend};

use super::{Medium, Opener};
use crate::Error;

/// Name of the store in the data directory.
const STORE_FILE: &str = "objects.redb";
/// Pages that redb keeps in memory; its own default is 1 GiB. Enough for the inner pages of a full store.
pub(super) const PAGE_CACHE_BYTES: usize = 8 << 20;

/// What opens the store, with or without a check of every page.
pub(super) fn opener(medium: &Medium) -> Result<Opener, Error> {
    match medium {
        Medium::Memory => Ok(Box::new(|_| {
            let builder = &mut Database::builder();
            let made = builder.set_cache_size(PAGE_CACHE_BYTES).create_with_backend(InMemoryBackend::new());
            made.map_err(|error| Error::Store(Box::new(error)))
        })),
        Medium::Directory(directory) => {
            make_private(directory)
                .map_err(|source| Error::DataDirectory { directory: directory.clone(), source })?;
            let file = directory.join(STORE_FILE);
            Ok(Box::new(move |check| open(&file, check)))
        }
    }
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

fn open(file: &Path, check: bool) -> Result<Database, Error> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let cannot = |source| Error::StoreOpen { file: file.to_owned(), source };
    let opened = options.open(file).map_err(|error| cannot(error.into()))?;
    // redb panics over some kinds of damage, even while it closes. So a file is taken on trust only after a
    // check, and one that fails it is never closed: the descriptor leaks, and the process ends anyway.
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let database = Database::builder().set_cache_size(PAGE_CACHE_BYTES).create_file(opened)?;
        let mut database = ManuallyDrop::new(database);
        if check && !database.check_integrity()? {
            tracing::warn!(file = %file.display(), "the store of objects was damaged and has been repaired");
        }
        Ok(ManuallyDrop::into_inner(database))
    }));
    let corrupt = |detail: String| Error::StoreCorrupt { file: file.to_owned(), detail };
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(Error::StoreInUse { file: file.to_owned() }),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() != io::ErrorKind::InvalidData =>
        {
            Err(cannot(error.into()))
        }
        Ok(Err(error)) => Err(corrupt(error.to_string())),
        Err(_) => Err(corrupt("it makes no sense to the database".to_owned())),
    }
}

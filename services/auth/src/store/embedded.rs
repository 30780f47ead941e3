//! The embedded store: one redb file. Every commit is durable (fsync) before it returns, and a process that is
//! killed in the middle of one finds the state before it. The file is locked by the process that has it open.

use std::{
    fmt,
    mem::ManuallyDrop,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition,
};

use super::{Contents, KeyStore, encoding};
use crate::{Error, pepper::Digest, record::Record};

/// Public id → record, as `encoding` has it.
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
/// What there is to know about the store itself.
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
/// The fact that holds the pepper's fingerprint.
const PEPPER: &str = "pepper";
/// The fact that is written to see whether it can be.
const PROBE: &str = "probe";
/// What a probe writes, in bytes: more than a key takes. Less would fit into room that the file has left, and say of
/// a full disk that it can be written.
const PROBE_BYTES: usize = 64 << 10;
/// Pages that redb keeps in memory. Keys are read once, at the start, so it needs hardly any; redb's own
/// default is 1 GiB.
const PAGE_CACHE_BYTES: usize = 1 << 20;

/// A file of keys.
pub(crate) struct EmbeddedKeyStore {
    file: PathBuf,
    // `None` after an I/O error: redb refuses a database that had one (a full disk, say) until it is reopened.
    database: Mutex<Option<Database>>,
}

impl fmt::Debug for EmbeddedKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedKeyStore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl EmbeddedKeyStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// Another process has it open, it is damaged, or it cannot be read and written.
    pub(crate) fn open(file: &Path) -> Result<Self, Error> {
        let database = open(file, Check::Integrity)?;
        Ok(Self { file: file.to_owned(), database: Mutex::new(Some(database)) })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Error> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out, so that an error or a panic in the work leaves none behind and the next call reopens.
        let database = match slot.take() {
            Some(database) => database,
            None => open(&self.file, Check::Nothing).map_err(|error| Error::Write(Box::new(error)))?,
        };
        let done = work(&database).map_err(|error| Error::Write(Box::new(error)))?;
        *slot = Some(database);
        Ok(done)
    }

    fn write(&self, table: TableDefinition<'_, &str, &[u8]>, key: &str, value: &[u8]) -> Result<(), Error> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.open_table(table)?.insert(key, value)?;
            transaction.commit()?;
            Ok(())
        })
    }

    fn corrupt(&self, detail: impl fmt::Display) -> Error {
        Error::StoreCorrupt { file: self.file.clone(), detail: detail.to_string() }
    }
}

impl KeyStore for EmbeddedKeyStore {
    fn load(&self) -> Result<Contents, Error> {
        let raw = self.with(|database| {
            // Made if they are missing, so that a fresh file is no special case.
            let transaction = database.begin_write()?;
            transaction.open_table(KEYS)?;
            transaction.open_table(FACTS)?;
            transaction.commit()?;
            let transaction = database.begin_read()?;
            let mut keys = Vec::new();
            for entry in transaction.open_table(KEYS)?.iter()? {
                let (id, value) = entry?;
                keys.push((id.value().to_owned(), value.value().to_vec()));
            }
            let pepper = transaction.open_table(FACTS)?.get(PEPPER)?.map(|value| value.value().to_vec());
            Ok((keys, pepper))
        });
        let (keys, pepper) = raw.map_err(|error| match error {
            Error::Write(source) => self.corrupt(source),
            other => other,
        })?;
        let mut records = Vec::with_capacity(keys.len());
        for (id, value) in keys {
            let record = encoding::decode(&value).map_err(|detail| self.corrupt(detail))?;
            if record.principal.key_id != id {
                return Err(self.corrupt("a record stands under the id of another"));
            }
            records.push(record);
        }
        let pepper = pepper
            .map(|bytes| {
                Digest::of_bytes(&bytes).ok_or_else(|| self.corrupt("its pepper's fingerprint is cut"))
            })
            .transpose()?;
        Ok(Contents { records, pepper })
    }

    fn set_pepper(&self, fingerprint: &Digest) -> Result<(), Error> {
        self.write(FACTS, PEPPER, fingerprint.as_bytes())
    }

    fn put(&self, record: &Record) -> Result<(), Error> {
        self.write(KEYS, &record.principal.key_id, &encoding::encode(record))
    }

    fn probe_write(&self) -> Result<(), Error> {
        self.write(FACTS, PROBE, &[0; PROBE_BYTES])
    }

    fn probe_read(&self) -> Result<(), Error> {
        self.with(|database| {
            database.begin_read()?.open_table(FACTS)?.get(PROBE)?;
            Ok(())
        })
    }
}

/// What to look at when a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Every page: takes about a second per GB.
    Integrity,
    /// Only what redb itself looks at: the file was fine a moment ago.
    Nothing,
}

fn open(file: &Path, check: Check) -> Result<Database, Error> {
    let mut options = std::fs::OpenOptions::new();
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
        if check == Check::Integrity && !database.check_integrity()? {
            tracing::warn!(file = %file.display(), "the key store was damaged and has been repaired");
        }
        Ok(ManuallyDrop::into_inner(database))
    }));
    let corrupt = |detail: String| Error::StoreCorrupt { file: file.to_owned(), detail };
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(Error::StoreInUse { file: file.to_owned() }),
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() != std::io::ErrorKind::InvalidData =>
        {
            Err(cannot(error.into()))
        }
        Ok(Err(error)) => Err(corrupt(error.to_string())),
        Err(_) => Err(corrupt("it makes no sense to the database".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{record::tests::record, store::contract};

    #[test]
    fn keeps_the_contract() {
        contract::check(|| {
            let directory = tempfile::tempdir().unwrap();
            move || EmbeddedKeyStore::open(&directory.path().join("keys.redb")).unwrap()
        });
    }

    #[test]
    fn a_second_opener_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.redb");
        let _first = EmbeddedKeyStore::open(&file).unwrap();
        let error = EmbeddedKeyStore::open(&file).unwrap_err();
        assert!(matches!(error, Error::StoreInUse { .. }), "{error:?}");
        assert!(error.to_string().contains("data_dir"), "{error}");
    }

    #[test]
    fn what_cannot_be_opened_is_refused_and_not_called_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let error = EmbeddedKeyStore::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::StoreOpen { .. }), "{error:?}");
    }

    // F12: garbage, a cut file, and damage in the middle are found at the start, never by a panic.
    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.redb");
        fs::write(&file, "not a database, but a text of some length\n".repeat(1000)).unwrap();
        let error = EmbeddedKeyStore::open(&file).unwrap_err();
        assert!(matches!(error, Error::StoreCorrupt { .. }), "{error:?}");
        assert!(error.to_string().contains("backup"), "{error}");
    }

    /// F12: damage in the pages in use, and a file cut anywhere, are harmless or refused, never a panic.
    #[test]
    fn damage_anywhere_is_harmless_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.redb");
        let store = EmbeddedKeyStore::open(&file).unwrap();
        (0..20).for_each(|n| store.put(&record(&n.to_string())).unwrap());
        drop(store);
        let whole = fs::read(&file).unwrap();
        let damaged = (0..100).map(|n| {
            let mut bytes = whole.clone();
            let start = n * 211;
            bytes[start..=start + n % 16].fill(0xff);
            bytes
        });
        let cut = (1..20).map(|n| whole[..whole.len() / 20 * n].to_vec());
        let mut refused = 0;
        for (n, bytes) in damaged.chain(cut).enumerate() {
            // A file of its own: one that was refused stays locked until the process ends.
            let file = directory.path().join(n.to_string());
            fs::write(&file, bytes).unwrap();
            match EmbeddedKeyStore::open(&file).and_then(|store| store.load()) {
                Ok(contents) => assert_eq!(contents.records.len(), 20),
                Err(Error::StoreCorrupt { .. }) => refused += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!(refused > 19, "only {refused}");
    }

    #[test]
    fn a_damaged_record_refuses_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedKeyStore::open(&directory.path().join("keys.redb")).unwrap();
        store.put(&record("a")).unwrap();
        store.write(KEYS, "b", &[9, 9, 9]).unwrap();
        assert!(matches!(store.load(), Err(Error::StoreCorrupt { .. })));
        store.write(KEYS, "b", &encoding::encode(&record("c"))).unwrap();
        assert!(matches!(store.load(), Err(Error::StoreCorrupt { .. })));
    }

    #[test]
    fn the_file_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.redb");
        EmbeddedKeyStore::open(&file).unwrap().put(&record("a")).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0);
        }
    }

    #[test]
    fn after_an_error_the_next_call_reopens() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedKeyStore::open(&directory.path().join("keys.redb")).unwrap();
        let failed = store.with::<()>(|_| Err(redb::Error::PreviousIo));
        assert!(matches!(failed, Err(Error::Write(_))), "{failed:?}");
        store.put(&record("a")).unwrap();
        assert_eq!(store.load().unwrap().records.len(), 1);
    }
}

//! The embedded store against the contract, and what only a file can suffer.

use std::{
    fs, io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use redb::{StorageBackend, backends::FileBackend};
use tempfile::TempDir;

use super::{
    super::contract::{self, BOUNDS, Fresh, all, ids, object, place, put},
    *,
};

struct Files(TempDir, AtomicU64);

impl Fresh for Files {
    type Store = EmbeddedObjectStore;

    fn fresh(&self, bounds: Bounds) -> EmbeddedObjectStore {
        let name = self.1.fetch_add(1, Ordering::Relaxed).to_string();
        open(&self.0.path().join(name), bounds).unwrap()
    }

    fn reopened(&self, store: EmbeddedObjectStore) -> EmbeddedObjectStore {
        let bounds = store.shared.bounds;
        drop(store);
        let name = (self.1.load(Ordering::Relaxed) - 1).to_string();
        open(&self.0.path().join(name), bounds).unwrap()
    }
}

struct Memory;

impl Fresh for Memory {
    type Store = EmbeddedObjectStore;

    fn fresh(&self, bounds: Bounds) -> EmbeddedObjectStore {
        EmbeddedObjectStore::open(&Medium::Memory, bounds, Counter::default()).unwrap()
    }

    /// It does not outlive its process: within it nothing is ever closed.
    fn reopened(&self, store: EmbeddedObjectStore) -> EmbeddedObjectStore {
        store
    }
}

fn open(directory: &Path, bounds: Bounds) -> Result<EmbeddedObjectStore, Error> {
    EmbeddedObjectStore::open(&Medium::Directory(directory.to_owned()), bounds, Counter::default())
}

#[tokio::test]
async fn a_file_keeps_the_contract() {
    contract::check(&Files(tempfile::tempdir().unwrap(), AtomicU64::new(0))).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::check(&Memory).await;
}

/// F12.
#[tokio::test]
async fn a_second_opener_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path(), BOUNDS).unwrap();
    let error = open(directory.path(), BOUNDS).unwrap_err();
    assert!(matches!(error, Error::StoreInUse { .. }), "{error:?}");
    assert!(error.to_string().contains("data_dir"), "{error}");
}

/// F12: no place to write.
#[tokio::test]
async fn what_cannot_be_made_or_opened_is_named_and_not_called_damaged() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file, BOUNDS).unwrap_err();
    assert!(matches!(error, Error::DataDirectory { .. }), "{error:?}");
    assert!(error.to_string().contains("data_dir") && error.to_string().contains("memory"), "{error}");
    fs::create_dir(parent.path().join("objects.redb")).unwrap();
    let error = open(parent.path(), BOUNDS).unwrap_err();
    assert!(matches!(error, Error::StoreOpen { .. }), "{error:?}");
}

/// F12: garbage is found at the start, never by a panic.
#[tokio::test]
async fn a_foreign_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("objects.redb");
    fs::write(&file, "not a database, but a text of some length\n".repeat(1000)).unwrap();
    let error = open(directory.path(), BOUNDS).unwrap_err();
    assert!(matches!(error, Error::StoreCorrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("backup"), "{error}");
}

/// F5, F12: what is damaged is an error, never a guess.
#[tokio::test]
async fn a_damaged_object_is_an_error_and_can_be_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path(), BOUNDS).unwrap();
    put(&store, "t", object("a", 1)).await.unwrap();
    put(&store, "t", object("b", 2)).await.unwrap();
    let damage = |bytes: &[u8]| store.shared.change(|tables| tables.damage(&place("t", "a"), bytes)).unwrap();
    damage(&[1, 0, 0, 0, 0, 9]);
    assert!(matches!(store.get(place("t", "a"), 2).await, Err(Error::Damaged(_))));
    damage(&[2]);
    let error = store.list(all("t"), 2).await.unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    store.delete(place("t", "a"), 2).await.unwrap();
    assert_eq!(ids(&store, all("t"), 2).await.0, ["b"]);
}

#[cfg(unix)]
#[tokio::test]
async fn file_and_directory_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("a/b");
    let _store = open(&directory, BOUNDS).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join("objects.redb"))), (0o700, 0o600));
}

/// A disk that can be full: blocks that were never written cannot be written then.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    limit: Arc<AtomicU64>,
}

impl Disk {
    fn room_for(&self, end: u64) -> io::Result<()> {
        if end > self.limit.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room_for(len)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room_for(offset + data.len() as u64)?;
        self.file.write(offset, data)
    }
}

/// F12: a full disk is an error for who writes; reads go on, and writes again when there is room.
#[tokio::test]
async fn a_full_disk_refuses_writes_and_not_reads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("objects.redb");
    let limit = Arc::new(AtomicU64::new(u64::MAX));
    let opener: Opener = Box::new({
        let (path, limit) = (path.clone(), Arc::clone(&limit));
        move |_| {
            let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let disk = Disk { file: FileBackend::new(file.unwrap()).unwrap(), limit: Arc::clone(&limit) };
            let mut builder = Database::builder();
            // Nothing is kept in memory: what is read is read from the disk.
            let made = builder.set_cache_size(0).create_with_backend(disk);
            made.map_err(|error| Error::Store(Box::new(error)))
        }
    });
    let large =
        Bounds { max_bytes: 1 << 30, max_bytes_per_tenant: 1 << 30, max_entry_bytes: 1 << 30, ..BOUNDS };
    let store = EmbeddedObjectStore::with_opener(opener, large, Counter::default()).unwrap();
    put(&store, "t", object("a", 1)).await.unwrap();
    limit.store(fs::metadata(&path).unwrap().len(), Ordering::Relaxed);
    let huge = |id| Object { content: vec![7; 64 << 20].into(), ..object(id, 2) };
    let held = store.held();
    for _ in 0..3 {
        let error = put(&store, "t", huge("huge")).await.unwrap_err();
        assert!(matches!(error, Error::Store(_)), "{error:?}");
        assert_eq!(store.get(place("t", "a"), 2).await.unwrap(), object("a", 1));
        assert_eq!(ids(&store, all("t"), 2).await.0, ["a"]);
        assert_eq!(store.held(), held);
    }
    // Not a byte more can be written, and what is there can be read.
    limit.store(0, Ordering::Relaxed);
    assert_ne!(store.probe().await, Probe::Works);
    limit.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(store.probe().await, Probe::Works);
    store.sweep(2).await.unwrap();
    put(&store, "t", huge("huge")).await.unwrap();
    assert_eq!(store.get(place("t", "huge"), 2).await.unwrap(), huge("huge"));
}

//! Configuration of the cache: the section `[cache]`. What may be cached is the router's to decide.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use penstock_chassis::config::Section;

use crate::{
    objects::{self, Medium},
    store::Bounds,
};

/// Configuration of the cache.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) bounds: Bounds,
    pub(crate) objects: Medium,
    pub(crate) object_bounds: objects::Bounds,
}

impl Config {
    /// Reads `section` (`[cache]`); mistakes are noted in its document. `data_dir`: where objects are kept if it
    /// does not say.
    pub fn read(section: &mut Section, data_dir: &Path) -> Self {
        // 128 MiB: some tens of thousands of answers, and no burden on a laptop.
        let max_bytes = section.bytes("max_bytes", 128 << 20, 1 << 20..=1 << 40);
        // 1 MiB: longer than the longest text that an engine gives. At most 3 MiB, so that an entry fits into
        // gRPC's default limit of 4 MiB for a message, whoever asks for it.
        let max_entry_bytes = section.bytes("max_entry_bytes", 1 << 20, 1 << 10..=3 << 20);
        if max_entry_bytes > max_bytes {
            section.mistake("max_entry_bytes", "must not be more than max_bytes");
        }
        // 10 minutes: long enough for retries and repeated questions, short enough for a changed model.
        let range = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
        let ttl = section.duration("ttl", Duration::from_secs(600), range);
        Self {
            bounds: Bounds { max_bytes, max_entry_bytes, ttl },
            objects: read_medium(section, data_dir),
            object_bounds: read_object_bounds(section),
        }
    }
}

fn read_medium(section: &mut Section, data_dir: &Path) -> Medium {
    let directory = section.string("data_dir").map_or_else(|| data_dir.to_owned(), PathBuf::from);
    if directory.as_os_str().is_empty() {
        section.mistake("data_dir", "must not be empty");
    }
    // A file: who stores something expects to find it again tomorrow.
    let in_file = section.choice("objects", &[("file", true), ("memory", false)], true);
    if in_file { Medium::Directory(directory) } else { Medium::Memory }
}

fn read_object_bounds(section: &mut Section) -> objects::Bounds {
    // 1 GiB: some hundred thousand conversations, and no burden on a disk.
    let max_bytes = section.bytes("objects_max_bytes", 1 << 30, 1 << 20..=1 << 40);
    // A quarter of it, so that one tenant cannot push out what others keep.
    let share = section.bytes("objects_max_bytes_per_tenant", 256 << 20, 1 << 20..=1 << 40);
    // 8 MiB: a long conversation with some images. At most 32 MiB: what a request may hold.
    let max_entry_bytes = section.bytes("objects_max_entry_bytes", 8 << 20, 1 << 10..=32 << 20);
    if share > max_bytes {
        section.mistake("objects_max_bytes_per_tenant", "must not be more than objects_max_bytes");
    }
    if max_entry_bytes > share {
        section.mistake("objects_max_entry_bytes", "must not be more than objects_max_bytes_per_tenant");
    }
    // 30 days, as OpenAI has it.
    let range = Duration::from_secs(1)..=Duration::from_secs(3650 * 86_400);
    let ttl = section.duration("objects_ttl", Duration::from_secs(30 * 86_400), range);
    objects::Bounds { max_bytes, max_bytes_per_tenant: share, max_entry_bytes, ttl }
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::{Document, Environment};

    use super::*;

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let mut section = document.section("cache");
        let config = Config::read(&mut section, Path::new("of-auth"));
        drop(section);
        let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
        (config, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_and_values() {
        let (Config { bounds, objects, object_bounds }, mistakes) = read("");
        assert_eq!(objects, Medium::Directory("of-auth".into()));
        assert_eq!((object_bounds.max_bytes, object_bounds.max_bytes_per_tenant), (1 << 30, 1 << 28));
        assert_eq!((object_bounds.max_entry_bytes, object_bounds.ttl.as_secs()), (8 << 20, 2_592_000));
        assert_eq!(
            (bounds.max_bytes, bounds.max_entry_bytes, bounds.ttl.as_secs()),
            (128 << 20, 1 << 20, 600)
        );
        assert_eq!(mistakes.len(), 0);
        let (Config { bounds, objects, .. }, mistakes) = read(
            "[cache]\nmax_bytes = '1 GiB'\nmax_entry_bytes = '64 KiB'\nttl = '7d'\ndata_dir = 'own'\nobjects = 'file'\n",
        );
        assert_eq!(objects, Medium::Directory("own".into()));
        assert_eq!(read("[cache]\nobjects = 'memory'\n").0.objects, Medium::Memory);
        assert_eq!(
            (bounds.max_bytes, bounds.max_entry_bytes, bounds.ttl.as_secs()),
            (1 << 30, 1 << 16, 604_800)
        );
        assert_eq!(mistakes.len(), 0);
    }

    #[test]
    fn every_mistake_is_reported() {
        for (text, expected) in [
            ("ttl = '8d'", "cache.ttl: must be from 1s to 7days"),
            ("ttl = '0s'", "cache.ttl"),
            ("max_bytes = 1", "cache.max_bytes"),
            ("max_entry_bytes = '4 MiB'", "cache.max_entry_bytes"),
            ("max_bytes = '1 MiB'\nmax_entry_bytes = '2 MiB'", "must not be more than max_bytes"),
            ("max_byte = 1", "did you mean `max_bytes`"),
            ("data_dir = ''", "cache.data_dir: must not be empty"),
            ("objects = 'redis'", "must be one of \"file\", \"memory\""),
            ("objects_ttl = '0s'", "cache.objects_ttl"),
            ("objects_max_bytes = '100 MiB'", "must not be more than objects_max_bytes"),
            ("objects_max_bytes_per_tenant = '4 MiB'", "must not be more than objects_max_bytes_per_tenant"),
        ] {
            let (_, mistakes) = read(&format!("[cache]\n{text}\n"));
            assert!(matches!(mistakes.as_slice(), [one] if one.contains(expected)), "{text}: {mistakes:?}");
        }
    }
}

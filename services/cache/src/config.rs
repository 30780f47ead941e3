//! Configuration of the cache: the section `[cache]`. What may be cached is the router's to decide.

use std::time::Duration;

use penstock_chassis::config::Section;

use crate::store::Bounds;

/// Configuration of the cache.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) bounds: Bounds,
}

impl Config {
    /// Reads `section` (`[cache]`); mistakes are noted in its document.
    pub fn read(section: &mut Section) -> Self {
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
        Self { bounds: Bounds { max_bytes, max_entry_bytes, ttl } }
    }
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::{Document, Environment};

    use super::*;

    fn read(text: &str) -> (Bounds, Vec<String>) {
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let mut section = document.section("cache");
        let config = Config::read(&mut section);
        drop(section);
        let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
        (config.bounds, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_and_values() {
        let (bounds, mistakes) = read("");
        assert_eq!(
            (bounds.max_bytes, bounds.max_entry_bytes, bounds.ttl.as_secs()),
            (128 << 20, 1 << 20, 600)
        );
        assert_eq!(mistakes.len(), 0);
        let (bounds, mistakes) =
            read("[cache]\nmax_bytes = '1 GiB'\nmax_entry_bytes = '64 KiB'\nttl = '7d'\n");
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
        ] {
            let (_, mistakes) = read(&format!("[cache]\n{text}\n"));
            assert!(matches!(mistakes.as_slice(), [one] if one.contains(expected)), "{text}: {mistakes:?}");
        }
    }
}

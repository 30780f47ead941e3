//! The file that is looked at. Its text alone decides: times and inodes change without it (`touch`, a mount that is
//! swapped), and it may change without them.

use std::path::PathBuf;

use crate::config::Mistakes;

/// A text, or why there is none.
type Look = Result<String, Mistakes>;

#[derive(Debug)]
pub(super) struct Watched {
    path: PathBuf,
    tried: Tried,
}

/// What was read of the file, and what was seen of it since.
#[derive(Debug)]
struct Tried {
    last: Look,
    /// Something else, seen once.
    seen: Option<Look>,
}

impl Watched {
    pub(super) fn new(path: PathBuf, text: String) -> Self {
        Self { path, tried: Tried { last: Ok(text), seen: None } }
    }

    /// Looks at the file. True: it has changed, and is as it was at the last look.
    pub(super) async fn has_changed(&mut self) -> bool {
        let look = self.look().await;
        self.tried.settles(look)
    }

    /// Whether the file was, at the last look, as it was read.
    pub(super) fn is_settled(&self) -> bool {
        self.tried.seen.is_none()
    }

    /// The text that `has_changed` has just found; else the one that was read last.
    pub(super) fn settled(&mut self) -> Look {
        self.tried.take()
    }

    /// The text now: somebody asked for it.
    pub(super) async fn read(&mut self) -> Look {
        self.tried.seen = Some(self.look().await);
        self.tried.take()
    }

    async fn look(&self) -> Look {
        tokio::fs::read_to_string(&self.path).await.map_err(|error| Mistakes::unreadable(&error))
    }
}

impl Tried {
    fn settles(&mut self, look: Look) -> bool {
        if look == self.last {
            self.seen = None;
            return false;
        }
        let again = self.seen.as_ref() == Some(&look);
        self.seen = Some(look);
        again
    }

    fn take(&mut self) -> Look {
        if let Some(seen) = self.seen.take() {
            self.last = seen;
        }
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Look {
        Ok(text.to_owned())
    }

    /// H2: a file that is being written is not read in the middle, a wrong one is tried once.
    #[test]
    fn what_is_seen_twice_is_taken_once() {
        let mut tried = Tried { last: text("a"), seen: None };
        assert!(!tried.settles(text("a")));
        for half in ["", "b", "bc"] {
            assert!(!tried.settles(text(half)), "{half}");
        }
        assert!(tried.settles(text("bc")));
        assert_eq!(tried.take(), text("bc"));
        assert!(!tried.settles(text("bc")) && !tried.settles(text("bc")));
        // Put aside for a moment, as editors do.
        let gone = || Err(Mistakes::one("gone"));
        assert!(!tried.settles(gone()) && !tried.settles(text("bc")) && !tried.settles(gone()));
        assert!(tried.settles(gone()));
        assert_eq!(tried.take(), gone());
        assert!(!tried.settles(gone()));
        assert!(!tried.settles(text("bc")) && tried.settles(text("bc")), "it is back");
    }
}

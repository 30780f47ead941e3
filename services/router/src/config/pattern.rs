//! Names with one star in them, which stands for any text.

/// What stands before the star, and what after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pattern<'a> {
    prefix: &'a str,
    suffix: &'a str,
}

impl<'a> Pattern<'a> {
    /// `None`: there is no star in it, or more than one.
    pub(crate) fn of(text: &'a str) -> Option<Self> {
        let (prefix, suffix) = text.split_once('*')?;
        (!suffix.contains('*')).then_some(Self { prefix, suffix })
    }

    /// What the star stands for in `name`; `None`: it is not such a name.
    pub(crate) fn star<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.prefix)?.strip_suffix(self.suffix)
    }

    /// The name where the star stands for `star`.
    pub(crate) fn fill(&self, star: &str) -> String {
        [self.prefix, star, self.suffix].concat()
    }

    /// How much of a name it says: of two that a name matches, the greater is meant.
    pub(crate) fn weight(&self) -> (usize, usize) {
        (self.prefix.len(), self.suffix.len())
    }

    /// Whether there may be names that both match, for one that ends with its star.
    pub(crate) fn overlaps(&self, other_prefix: &str) -> bool {
        self.prefix.starts_with(other_prefix) || other_prefix.starts_with(self.prefix)
    }
}

/// The text with what its star stands for; as it is, if it has none.
pub(crate) fn filled(text: &str, star: &str) -> String {
    Pattern::of(text).map_or_else(|| text.to_owned(), |pattern| pattern.fill(star))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_for_nothing() {
        let pattern = Pattern::of("gpt-4*").unwrap();
        assert_eq!(pattern.star("gpt-4o"), Some("o"));
        assert_eq!(pattern.star("gpt-4"), Some(""));
        assert_eq!(pattern.star("gpt-3"), None);
        let inner = Pattern::of("a*a").unwrap();
        assert_eq!(inner.star("a"), None, "one letter is not two");
        assert_eq!(inner.star("aba").map(|star| inner.fill(star)), Some("aba".to_owned()));
        assert_eq!((Pattern::of("none"), Pattern::of("*two*")), (None, None));
        assert_eq!((filled("x/*", "y"), filled("x", "y")), ("x/y".to_owned(), "x".to_owned()));
    }
}

//! What makes the calls about stored objects valid, for the router, which callers ask, and for the store
//! alike; and the kinds of objects that there are.

use crate::{Violation, inference::v1::Metadata};

/// Kind of a stored chat completion.
pub const CHAT_COMPLETION: &str = "chat.completion";
/// Entries of a page, if nobody says.
pub const LIMIT_DEFAULT: usize = 20;
/// Most entries of a page, as OpenAI has it.
pub const LIMIT_MAX: usize = 100;

/// Most pairs, as OpenAI has it.
const PAIRS_MAX: usize = 16;
/// Longest key, in characters, as OpenAI has it.
const KEY_MAX_CHARS: usize = 64;
/// Longest value, in characters, as OpenAI has it.
const VALUE_MAX_CHARS: usize = 512;

/// What is wrong with `metadata`.
pub fn metadata(metadata: &Metadata) -> Vec<Violation> {
    let mut found = Vec::new();
    let pairs = &metadata.pairs;
    if pairs.len() > PAIRS_MAX {
        found.push(Violation::new("metadata", format!("must have at most {PAIRS_MAX} pairs")));
    }
    // Bounded: a report must not grow with the number of mistakes.
    for (index, pair) in pairs.iter().enumerate().take(PAIRS_MAX) {
        if pair.key.chars().count() > KEY_MAX_CHARS {
            let message = format!("key {index} must have at most {KEY_MAX_CHARS} characters");
            found.push(Violation::new("metadata", message));
        } else if pairs.iter().take(index).any(|other| other.key == pair.key) {
            found.push(Violation::new(format!("metadata.{}", pair.key), "is given twice"));
        } else if pair.value.chars().count() > VALUE_MAX_CHARS {
            let message = format!("must have at most {VALUE_MAX_CHARS} characters");
            found.push(Violation::new(format!("metadata.{}", pair.key), message));
        }
    }
    found
}

/// The size of a page.
///
/// # Errors
/// It is out of range.
pub fn limit(asked: Option<i64>) -> Result<usize, Violation> {
    let Some(asked) = asked else { return Ok(LIMIT_DEFAULT) };
    let limit = usize::try_from(asked).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Violation::new("limit", format!("must be from 1 to {LIMIT_MAX}")))
}

/// What is said of a cursor that is not, or not any more, in the list.
pub fn unknown_cursor() -> Violation {
    Violation::new("after", "is not the id of an entry of this list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::v1::MetadataPair;

    fn of(pairs: &[(&str, &str)]) -> Vec<String> {
        let pair = |(key, value): &(&str, &str)| MetadataPair { key: (*key).into(), value: (*value).into() };
        metadata(&Metadata { pairs: pairs.iter().map(pair).collect() })
            .into_iter()
            .map(|violation| violation.field)
            .collect()
    }

    #[test]
    fn metadata_is_bounded_in_characters_not_bytes() {
        let (key, value) = ("é".repeat(64), "é".repeat(512));
        assert!(of(&[(&key, &value), ("", "")]).is_empty());
        let (key, value) = ("é".repeat(65), "é".repeat(513));
        assert_eq!(
            of(&[(&key, ""), ("a", &value), ("b", ""), ("b", "")]),
            ["metadata", "metadata.a", "metadata.b"]
        );
        let many: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        assert_eq!((of(&many[..16]).len(), of(&many).len()), (0, 1));
    }

    #[test]
    fn a_page_has_a_size() {
        assert_eq!(limit(None), Ok(20));
        assert_eq!((limit(Some(1)), limit(Some(100))), (Ok(1), Ok(100)));
        for wrong in [0, 101, -1, i64::MIN, i64::MAX] {
            assert_eq!(limit(Some(wrong)).unwrap_err().field, "limit");
        }
    }
}

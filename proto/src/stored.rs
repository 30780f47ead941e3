//! What makes the calls about stored objects valid, for the router, which callers ask, and for the store
//! alike; and the kinds of objects that there are.

use crate::Violation;

/// Kind of a stored chat completion.
pub const CHAT_COMPLETION: &str = "chat.completion";
/// Kind of a stored response.
pub const RESPONSE: &str = "response";
/// Kind of a response that goes on: it stands beside nothing, or beside the [`RESPONSE`] that it has become.
pub const RESPONSE_PENDING: &str = "response.pending";
/// Entries of a page, if nobody says.
pub const LIMIT_DEFAULT: usize = 20;
/// Most entries of a page, as OpenAI has it.
pub const LIMIT_MAX: usize = 100;

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

    #[test]
    fn a_page_has_a_size() {
        assert_eq!(limit(None), Ok(20));
        assert_eq!((limit(Some(1)), limit(Some(100))), (Ok(1), Ok(100)));
        for wrong in [0, 101, -1, i64::MIN, i64::MAX] {
            assert_eq!(limit(Some(wrong)).unwrap_err().field, "limit");
        }
    }
}

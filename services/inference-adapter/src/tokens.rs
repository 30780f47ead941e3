//! Counting tokens where an engine did not: by one tokenizer for all models (o200k), which is near enough for
//! an account and is always marked as an estimate. Its table takes 47 MB and a tenth of a second to unpack, so
//! that it is unpacked when it is first needed, and never on the way of a request.

use std::sync::atomic::{AtomicBool, Ordering};

use penstock_proto::inference::v1::{Prompt, prompt::Kind};
use tokio::task::spawn_blocking;

/// Bytes that are counted at once: the tokenizer's pattern takes quadratic time on runs of blanks and gives up,
/// by a panic, on long ones. A token too many for each seam is nothing to an estimate.
const PIECE_MAX_BYTES: usize = 4 << 10;
/// Bytes of a text that are counted, which takes some 50 ms; what is longer is taken to go on like its beginning.
const COUNTED_MAX_BYTES: usize = 1 << 20;
/// Bytes that are counted where we stand (half a millisecond); more goes to a thread that may be blocked (G10).
const HERE_MAX_BYTES: usize = 16 << 10;
/// Bytes of a token where nothing could be counted.
const BYTES_PER_TOKEN: usize = 4;

static IS_READY: AtomicBool = AtomicBool::new(false);

/// Adds up the tokens of many texts, at most [`COUNTED_MAX_BYTES`] of them by the tokenizer.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    bytes: usize,
    counted_bytes: usize,
    counted: usize,
    /// Tokens that stand in no text.
    more: usize,
}

impl Counter {
    /// Adds a text.
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes += text.len();
        let tokenizer = tiktoken_rs::o200k_base_singleton();
        IS_READY.store(true, Ordering::Relaxed);
        let mut rest = text;
        while !rest.is_empty() && self.counted_bytes < COUNTED_MAX_BYTES {
            let (piece, after) = rest.split_at(floor_char_boundary(rest, PIECE_MAX_BYTES));
            self.counted += tokenizer.encode_ordinary(piece).len();
            self.counted_bytes += piece.len();
            rest = after;
        }
    }

    /// Adds tokens that stand in no text, such as those between messages.
    pub(crate) fn tokens(&mut self, tokens: usize) {
        self.more += tokens;
    }

    /// The sum.
    pub(crate) fn sum(&self) -> i64 {
        let counted = self.counted as u128 * self.bytes as u128 / self.counted_bytes.max(1) as u128;
        i64::try_from(counted).unwrap_or(i64::MAX).saturating_add_unsigned(self.more as u64)
    }
}

/// Tokens of so many bytes, where nothing could be counted.
pub(crate) fn of_bytes(bytes: usize) -> i64 {
    i64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(i64::MAX)
}

/// Whether so many bytes may be counted where we stand, without holding others up.
pub(crate) fn may_count_here(bytes: usize) -> bool {
    bytes <= HERE_MAX_BYTES && IS_READY.load(Ordering::Relaxed)
}

/// Tokens of texts to embed.
pub(crate) async fn of_prompt(prompt: Option<Prompt>) -> i64 {
    let bytes = prompt.as_ref().map_or(0, prompt_bytes);
    let count = move || {
        let mut counter = Counter::default();
        if let Some(prompt) = &prompt {
            count_prompt(prompt, &mut counter);
        }
        counter.sum()
    };
    if may_count_here(bytes) { count() } else { spawn_blocking(count).await.unwrap_or(of_bytes(bytes)) }
}

/// Adds the tokens of texts to continue or to embed.
pub(crate) fn count_prompt(prompt: &Prompt, counter: &mut Counter) {
    match &prompt.kind {
        Some(Kind::Text(text)) => counter.text(text),
        Some(Kind::Texts(texts)) => texts.values.iter().for_each(|text| counter.text(text)),
        Some(Kind::Tokens(tokens)) => counter.tokens(tokens.values.len()),
        Some(Kind::TokenLists(lists)) => {
            counter.tokens(lists.values.iter().map(|list| list.values.len()).sum())
        }
        None => {}
    }
}

/// Bytes of text in it.
pub(crate) fn prompt_bytes(prompt: &Prompt) -> usize {
    match &prompt.kind {
        Some(Kind::Text(text)) => text.len(),
        Some(Kind::Texts(texts)) => texts.values.iter().map(String::len).sum(),
        Some(Kind::Tokens(_) | Kind::TokenLists(_)) | None => 0,
    }
}

/// The last place at or before `at` where a character begins.
fn floor_char_boundary(text: &str, at: usize) -> usize {
    if at >= text.len() {
        text.len()
    } else {
        (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> i64 {
        let mut counter = Counter::default();
        counter.text(text);
        counter.sum()
    }

    #[test]
    fn texts_have_the_tokens_that_the_tokenizer_gives_them() {
        assert_eq!(count(""), 0);
        assert_eq!(count("Hello, world!"), 4);
        assert_eq!(count("Grüße 🦀 漢字"), 9);
        let mut counter = Counter::default();
        counter.text("Hello, world!");
        counter.text("Hello, world!");
        counter.tokens(3);
        assert_eq!(counter.sum(), 11);
    }

    /// G10: texts on which the tokenizer by itself gives up, or takes for ever.
    #[test]
    fn texts_that_are_meant_to_be_slow_are_counted() {
        for text in [" ".repeat(300_000), "a".repeat(300_000), "漢".repeat(100_000), "\n ".repeat(150_000)] {
            let tokens = count(&text);
            assert!((1_000..=300_000).contains(&tokens), "{tokens} for {:?}", &text[..3]);
        }
    }

    #[test]
    fn what_is_longer_than_is_counted_goes_on_like_its_beginning() {
        let (one, three) = ("word ".repeat(200_000), "word ".repeat(600_000));
        let (one, three) = (count(&one), count(&three));
        assert!((three - 3 * one).abs() < one / 50, "{one} {three}");
    }
}

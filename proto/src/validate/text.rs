//! Texts, given as such or as tokens: to continue, to turn into vectors, to judge.

use super::{CHOICES_MAX, found::Found, json::At};
use crate::inference::v1::{GenerateRequest, Prompt, TextInput, prompt::Kind};

/// Most inputs of one request for vectors, and tokens of one of its lists, as OpenAI has it.
const INPUTS_MAX: usize = 2048;

pub(super) fn check(found: &mut Found, text: &TextInput, request: &GenerateRequest) {
    let prompts = prompts(found, "prompt", text.prompt.as_ref());
    let n = request.n.unwrap_or(1);
    // Our own bound: OpenAI names one for n alone.
    if (1..=CHOICES_MAX).contains(&n)
        && i64::try_from(prompts).map_or(i64::MAX, |prompts| prompts.saturating_mul(n)) > CHOICES_MAX
    {
        found.add("n", format!("must ask for at most {CHOICES_MAX} choices of all prompts together"));
    }
    found.range("logprobs", text.logprobs, 0..=5);
    found.range("best_of", text.best_of, 0..=20);
    if text.best_of.is_some_and(|best_of| best_of < n) {
        found.add("best_of", "must be at least n");
    }
    if request.stream && text.best_of.is_some_and(|best_of| best_of > n) {
        found.add("best_of", "must be n if stream is true: the best are known at the end only");
    }
}

/// What to turn into vectors.
pub(super) fn inputs(found: &mut Found, input: Option<&Prompt>) {
    let inputs = prompts(found, "input", input);
    if inputs > INPUTS_MAX {
        found.add("input", format!("must have at most {INPUTS_MAX} inputs"));
    }
    let mut not_empty = |index: Option<usize>, text: &str| {
        if text.is_empty() {
            let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
            found.add(format_args!("input{index}"), "must not be empty");
        }
    };
    match input.and_then(|input| input.kind.as_ref()) {
        Some(Kind::Text(text)) => not_empty(None, text),
        Some(Kind::Texts(list)) => {
            list.values.iter().enumerate().for_each(|(index, text)| not_empty(Some(index), text));
        }
        Some(Kind::Tokens(list)) if list.values.len() > INPUTS_MAX => {
            found.add("input", format!("must have at most {INPUTS_MAX} tokens"));
        }
        _ => {}
    }
}

/// How many texts there are. No list may be empty.
fn prompts(found: &mut Found, field: &str, prompt: Option<&Prompt>) -> usize {
    let Some(kind) = prompt.and_then(|prompt| prompt.kind.as_ref()) else {
        found.add(field, "is required");
        return 0;
    };
    let count = match kind {
        Kind::Text(_) => 1,
        Kind::Texts(list) => list.values.len(),
        Kind::Tokens(list) => list.values.len().min(1),
        Kind::TokenLists(lists) => {
            for (index, _) in lists.values.iter().enumerate().filter(|(_, list)| list.values.is_empty()) {
                found.add(format_args!("{field}[{index}]"), "must not be empty");
            }
            lists.values.len()
        }
    };
    if count == 0 {
        found.add(field, "must not be empty");
    }
    count
}

/// What to judge: a string, strings, or parts of text and images.
pub(super) fn judged(found: &mut Found, json: &str) {
    if matches!(json.trim(), "" | "null") {
        return found.add("input", "is required");
    }
    let input = At::field(found, "input", json);
    if input.is_string() {
        return;
    }
    let Some(items) = input.array(found) else { return };
    if items.is_empty() {
        found.add("input", "must not be empty");
    }
    // Either strings or parts: the first one tells.
    let strings = items.first().is_some_and(At::is_string);
    for item in items {
        let item = item.required(found);
        if strings {
            item.string(found);
            continue;
        }
        let Some(part) = item.object(found) else { continue };
        let kind = part.at("type").required(found);
        kind.word(found, &["text", "image_url"]);
        match kind.string(&mut Found::default()).as_deref() {
            Some("text") => {
                part.at("text").required(found).string(found);
            }
            Some("image_url") => {
                if let Some(image) = part.at("image_url").required(found).object(found) {
                    image.at("url").required(found).string(found);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! What the scripted engine makes of texts that are no conversation: continuations, vectors, judgements. All of it
//! follows from the text alone, so that a test can tell which answer belongs to which text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::Step;

/// Numbers of a vector if the request does not say.
const DIMENSIONS: usize = 4;

/// How vectors are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vectors {
    /// As numbers, in order.
    #[default]
    Floats,
    /// As base64, whatever was asked for.
    Base64,
    /// The last one first, with its index.
    Reversed,
    /// One too few.
    OneShort,
    /// Of the engine's own length, whatever was asked for.
    Stubborn,
}

/// The texts of `prompt` or `input`, whatever its shape: a list of tokens is one text.
fn texts(value: &Value) -> Vec<&Value> {
    match value.as_array() {
        Some(list) if !list.first().is_some_and(Value::is_number) => list.iter().collect(),
        _ => vec![value],
    }
}

/// The vector of a text, or of its tokens: numbers that a float holds exactly.
pub fn vector_of(text: &Value, dimensions: usize) -> Vec<f32> {
    // FNV-1a, of all of the text and the place.
    let hash = |seed: usize| {
        let bytes = format!("{seed}{text}").into_bytes();
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    };
    (0..dimensions).map(|place| (hash(place) % 4096) as f32 / 1024.0 - 2.0).collect()
}

/// Base64, as the OpenAI SDKs decode it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The answer to a request for vectors. Every text costs one token.
pub(super) fn embeddings(body: &Value, how: Vectors) -> Value {
    let asked = body["dimensions"].as_u64().filter(|_| how != Vectors::Stubborn);
    let dimensions = asked.map_or(DIMENSIONS, |asked| asked as usize);
    let texts = texts(&body["input"]);
    let entry = |(index, text): (usize, &&Value)| {
        let vector = vector_of(text, dimensions);
        let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        let written = if how == Vectors::Base64 { json!(STANDARD.encode(bytes)) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": written})
    };
    let mut data: Vec<Value> = texts.iter().enumerate().map(entry).collect();
    match how {
        Vectors::Reversed => data.reverse(),
        Vectors::OneShort => drop(data.pop()),
        _ => {}
    }
    let usage = json!({"prompt_tokens": texts.len(), "total_tokens": texts.len()});
    json!({"object": "list", "data": data, "model": body["model"], "usage": usage})
}

/// The answer to a request for judgements: what says `harm` is flagged.
pub(super) fn moderations(body: &Value, id: &str) -> Value {
    let judge = |text: &&Value| {
        let harm = text.to_string().contains("harm");
        json!({"flagged": harm, "categories": {"violence": harm}, "category_scores": {"violence": 0.25}})
    };
    let results: Vec<Value> = texts(&body["input"]).iter().map(judge).collect();
    json!({"id": id, "model": body["model"], "results": results})
}

/// The continuations of the prompts of one request, `n` each.
pub(super) struct Texts<'a> {
    prompts: Vec<&'a Value>,
    n: usize,
    echo: bool,
    logprobs: bool,
}

impl<'a> Texts<'a> {
    pub(super) fn of(body: &'a Value) -> Texts<'a> {
        Texts {
            prompts: texts(&body["prompt"]),
            n: body["n"].as_u64().unwrap_or(1) as usize,
            echo: body["echo"] == true,
            logprobs: body["logprobs"].is_number(),
        }
    }

    /// Pieces of every choice for one step; `None`: it says nothing.
    pub(super) fn pieces(&self, step: &Step) -> Option<Value> {
        match step {
            Step::Text(text) => Some(self.choices(|_| text.clone(), None)),
            Step::Finish(reason) | Step::FinishWithUsage(reason) => {
                Some(self.choices(|_| String::new(), Some(reason)))
            }
            // Where a conversation says its role a text is echoed.
            Step::Delta(_) if self.echo => Some(self.choices(|index| self.prompt(index), None)),
            _ => None,
        }
    }

    /// Every choice, whole.
    pub(super) fn whole(&self, text: &str, finish: &str) -> Value {
        let echoed = |index| if self.echo { self.prompt(index) } else { String::new() };
        self.choices(|index| echoed(index) + text, Some(finish))
    }

    fn prompt(&self, index: usize) -> String {
        let prompt = self.prompts[index / self.n];
        prompt.as_str().map_or_else(|| prompt.to_string(), str::to_owned)
    }

    fn choices(&self, text: impl Fn(usize) -> String, finish: Option<&str>) -> Value {
        let choice = |index: usize| {
            let text = text(index);
            let logprobs = json!({"tokens": [text], "token_logprobs": [-0.5], "top_logprobs": [{"x": -0.5}], "text_offset": [0]});
            let logprobs = if self.logprobs && !text.is_empty() { logprobs } else { Value::Null };
            json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish})
        };
        (0..self.prompts.len() * self.n).map(choice).collect()
    }
}

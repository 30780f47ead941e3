//! What shapes an answer beside the numbers: its format, sound, biases, the ends it is cut at, what is kept.

use super::{found::Found, json::At};
use crate::inference::v1::{GenerateRequest, Metadata, ResponseTerms, StopSequences, stop_sequences::Kind};

/// Most stop sequences, as OpenAI has it.
const STOP_MAX: usize = 4;
/// Most biases: more tokens no vocabulary has.
const BIASES_MAX: usize = 1 << 20;
/// Bounds of metadata, as OpenAI has them.
const PAIRS_MAX: usize = 16;
const KEY_MAX: usize = 64;
const VALUE_MAX: usize = 512;
/// Longest identifier of an end user or a prompt cache, as OpenAI has it.
const IDENTIFIER_MAX: usize = 64;

/// Whether `response_format` asks for an answer that follows a JSON Schema.
pub fn asks_for_schema(response_format_json: &str) -> bool {
    let mut found = Found::default();
    let format = At::field(&mut found, "response_format", response_format_json).object(&mut found);
    format.and_then(|format| format.at("type").string(&mut found)).as_deref() == Some("json_schema")
}

pub(super) fn check(found: &mut Found, request: &GenerateRequest) {
    if let Some(json) = &request.logit_bias_json {
        logit_bias(found, json);
    }
    if let Some(json) = &request.response_format_json {
        response_format(found, json);
    }
    if let Some(verbosity) = &request.verbosity {
        found.one_of("verbosity", verbosity, &["low", "medium", "high"]);
    }
    for (index, word) in request.modalities.iter().flat_map(|list| &list.values).enumerate() {
        found.one_of(format_args!("modalities[{index}]"), word, &["text", "audio"]);
    }
    if let Some(json) = &request.audio_json {
        audio(found, json);
    }
    if let Some(json) = &request.prediction_json {
        prediction(found, json);
    }
    if let Some(json) = &request.web_search_options_json {
        web_search_options(found, json);
    }
    for (field, text) in
        [("prompt_cache_key", &request.prompt_cache_key), ("safety_identifier", &request.safety_identifier)]
    {
        found.chars(field, text.as_deref().unwrap_or_default(), IDENTIFIER_MAX);
    }
    if let Some(metadata) = &request.metadata {
        check_metadata(found, metadata);
    }
    if let Some(terms) = &request.response {
        response(found, terms);
    }
}

/// What a response is kept with: what gives it back relies on it.
fn response(found: &mut Found, terms: &ResponseTerms) {
    let previous = terms.previous_response_id.as_deref().unwrap_or_default();
    found.chars("response.previous_response_id", previous, IDENTIFIER_MAX);
    if let Some(json) = &terms.request_json {
        At::field(found, "response.request_json", json).required(found).object(found);
    }
}

pub(super) fn stop(found: &mut Found, stop: Option<&StopSequences>) {
    match stop.map(|stop| &stop.kind) {
        Some(Some(Kind::List(list))) if !(1..=STOP_MAX).contains(&list.values.len()) => {
            found.add("stop", format!("must have from 1 to {STOP_MAX} sequences"));
        }
        Some(None) => found.add("stop", "must be a string or an array of strings"),
        _ => {}
    }
}

fn response_format(found: &mut Found, json: &str) {
    let Some(format) = At::field(found, "response_format", json).object(found) else { return };
    // Engines have types of their own beside text and json_object.
    if format.at("type").required(found).string(found).as_deref() != Some("json_schema") {
        return;
    }
    let Some(schema) = format.at("json_schema").required(found).object(found) else { return };
    schema.at("name").name(found);
    schema.at("description").string(found);
    schema.at("schema").object(found);
    schema.at("strict").boolean(found);
}

fn logit_bias(found: &mut Found, json: &str) {
    let Some(biases) = At::field(found, "logit_bias", json).object(found) else { return };
    if biases.len() > BIASES_MAX {
        return found.add("logit_bias", format!("must have at most {BIASES_MAX} members"));
    }
    for bias in biases.all() {
        let number = bias.number(found);
        found.range(&bias.path, number, -100.0..=100.0);
    }
}

fn audio(found: &mut Found, json: &str) {
    let Some(audio) = At::field(found, "audio", json).object(found) else { return };
    let voice = audio.at("voice").required(found);
    if voice.is_object() {
        if let Some(voice) = voice.object(found) {
            voice.at("id").required(found).string(found);
        }
    } else {
        voice.string(found);
    }
    audio.at("format").required(found).word(found, &["wav", "aac", "mp3", "flac", "opus", "pcm16"]);
}

fn prediction(found: &mut Found, json: &str) {
    let Some(prediction) = At::field(found, "prediction", json).object(found) else { return };
    prediction.at("type").required(found).word(found, &["content"]);
    let content = prediction.at("content").required(found);
    if !content.is_string() {
        text_parts(found, &content);
    }
}

/// Content that may be parts of text only.
fn text_parts(found: &mut Found, content: &At<'_>) {
    let Some(parts) = content.array(found) else { return };
    if parts.is_empty() {
        found.add(&content.path, "must have at least one part");
    }
    for part in parts {
        let Some(part) = part.required(found).object(found) else { continue };
        part.at("type").required(found).word(found, &["text"]);
        part.at("text").required(found).string(found);
    }
}

fn web_search_options(found: &mut Found, json: &str) {
    let Some(options) = At::field(found, "web_search_options", json).object(found) else { return };
    options.at("search_context_size").word(found, &["low", "medium", "high"]);
    let Some(location) = options.at("user_location").object(found) else { return };
    location.at("type").required(found).word(found, &["approximate"]);
    let Some(approximate) = location.at("approximate").required(found).object(found) else { return };
    for name in ["country", "region", "city", "timezone"] {
        approximate.at(name).string(found);
    }
}

/// Checks what a caller attaches to an answer that is kept.
pub(super) fn check_metadata(found: &mut Found, metadata: &Metadata) {
    let pairs = &metadata.pairs;
    if pairs.len() > PAIRS_MAX {
        return found.add("metadata", format!("must have at most {PAIRS_MAX} members"));
    }
    for (index, pair) in pairs.iter().enumerate() {
        // The key is the caller's own text, and the path must stay one.
        let key: String = pair.key.chars().filter(|c| !c.is_control()).take(KEY_MAX).collect();
        let field = format_args!("metadata.{key}").to_string();
        if pair.key.chars().count() > KEY_MAX {
            found.add(&field, format!("must have a key of at most {KEY_MAX} characters"));
        }
        found.chars(&field, &pair.value, VALUE_MAX);
        if pairs.iter().take(index).any(|earlier| earlier.key == pair.key) {
            found.add(&field, "is given twice");
        }
    }
}

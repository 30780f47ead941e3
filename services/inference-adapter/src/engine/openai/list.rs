//! The list of models, and what servers put into it beside the names: the specification has nothing there, so
//! each has its own members. What is of another shape than expected says nothing.

use penstock_proto::inference::v1::Capabilities;
use serde::Deserialize;
use serde_json::Value;

use crate::engine::Learnt;

#[derive(Deserialize)]
struct List {
    data: Vec<Value>,
}

fn entries(body: &[u8]) -> Option<Vec<Value>> {
    serde_json::from_slice::<List>(body).ok().map(|list| list.data)
}

fn id(entry: &Value) -> Option<&str> {
    entry.get("id")?.as_str()
}

/// Names of the models; `None`: it is no such list.
pub(in crate::engine) fn names(body: &[u8]) -> Option<Vec<String>> {
    entries(body)?.iter().map(|entry| id(entry).map(str::to_owned)).collect()
}

/// Whether the list shows that the server does not have the model.
pub(in crate::engine) fn lacks(body: &[u8], model: &str) -> bool {
    match entries(body).as_deref() {
        None | Some([]) => false,
        // llama-server has one model, and answers for it whatever the name.
        Some([only]) if only.get("owned_by").and_then(Value::as_str) == Some("llamacpp") => false,
        Some(several) => !several.iter().any(|entry| id(entry) == Some(model)),
    }
}

/// What the list says of the model.
pub(in crate::engine) fn learnt(body: &[u8], model: &str) -> Learnt {
    let entries = entries(body).unwrap_or_default();
    let entry = match entries.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|entry| id(entry) == Some(model)),
    };
    let Some(entry) = entry else { return Learnt::default() };
    let tokens = |value: Option<&Value>| value.and_then(Value::as_i64).filter(|tokens| *tokens > 0);
    // vLLM and SGLang; OpenRouter and others; LM Studio; last what a model of llama.cpp was trained with.
    let context_tokens = ["max_model_len", "context_length", "max_context_length", "context_window"]
        .into_iter()
        .find_map(|name| tokens(entry.get(name)))
        .or_else(|| tokens(entry.pointer("/meta/n_ctx_train")));
    let inputs = entry.pointer("/architecture/input_modalities").and_then(Value::as_array);
    let takes = |kind: &str| inputs.map(|inputs| inputs.iter().any(|input| input == kind));
    let capabilities = Capabilities {
        context_tokens,
        vision: takes("image"),
        audio: takes("audio"),
        ..Capabilities::default()
    };
    // llama-server, where it has several models.
    let loaded = entry.pointer("/status/value").and_then(Value::as_str).map(|status| status == "loaded");
    Learnt { capabilities, loaded, ..Learnt::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_for_what_it_says() {
        let one = br#"{"data":[{"id":"m","max_model_len":4096}]}"#;
        assert_eq!(learnt(one, "m").capabilities.context_tokens, Some(4096));
        assert!(!lacks(one, "m") && lacks(one, "other"));
        let two = br#"{"data":[{"id":"a","context_length":1},{"id":"b","context_length":2,
            "architecture":{"input_modalities":["text","image"]}}]}"#;
        let said = learnt(two, "b").capabilities;
        assert_eq!((said.context_tokens, said.vision, said.audio), (Some(2), Some(true), Some(false)));
        assert_eq!(learnt(two, "c"), Learnt::default());
        let several =
            br#"{"data":[{"id":"a","status":{"value":"loaded"}},{"id":"b","status":{"value":"unloaded"}}]}"#;
        assert_eq!((learnt(several, "a").loaded, learnt(several, "b").loaded), (Some(true), Some(false)));
        let trained = br#"{"data":[{"id":"/m.gguf","owned_by":"llamacpp","meta":{"n_ctx_train":131072}}]}"#;
        assert_eq!(learnt(trained, "anything").capabilities.context_tokens, Some(131_072));
        assert!(!lacks(trained, "anything"), "it answers whatever the name");
    }

    #[test]
    fn what_is_no_list_shows_nothing() {
        for body in ["", "[]", "{}", r#"{"data":[]}"#, r#"{"data":7}"#, "<html>"] {
            assert!(!lacks(body.as_bytes(), "m"), "{body}");
            assert_eq!(learnt(body.as_bytes(), "m"), Learnt::default(), "{body}");
        }
        let odd = br#"{"data":[{"id":"m","max_model_len":"long","architecture":7}]}"#;
        assert_eq!(learnt(odd, "m"), Learnt::default());
    }
}

//! Models as Ollama has them. What a file on a disk would have (size, digest, family) nobody knows here: there are
//! members for it, with nothing in them.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Violation,
    inference::v1::{Capabilities, Extension, Model},
};
use prost_types::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    json::{
        object::object,
        read,
        value::{Flag, Text},
        write::{comma, value},
    },
};

const DETAILS: &[u8] =
    br#","details":{"parent_model":"","format":"","family":"","families":[],"parameter_size":"","quantization_level":""}"#;

/// The members of a request for what is known of a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Show {
    model: Option<String>,
    name: Option<String>,
    verbose: Option<bool>,
    /// Nothing is asked of anybody but the name.
    extensions: Vec<Extension>,
}

object!(Show {
    "model" => model: Text,
    "name" => name: Text,
    "verbose" => verbose: Flag,
});

impl Show {
    fn judge(&self) -> Vec<Violation> {
        let missing = [&self.model, &self.name].into_iter().flatten().all(|name| name.is_empty());
        if missing { vec![Violation::new("model", "is required")] } else { Vec::new() }
    }
}

/// Reads which model is meant.
///
/// # Errors
/// Those of [`read::read`], and no model.
pub(crate) fn read(body: &[u8]) -> Result<String, Error> {
    let show: Show = read::read(body, Show::judge)?;
    let named = [&show.model, &show.name].into_iter().flatten().find(|name| !name.is_empty());
    named.cloned().ok_or_else(|| Error::Invalid(show.judge()))
}

/// Writes the models that may be asked.
pub(crate) fn write_tags(models: &[Model]) -> BytesMut {
    write_list(models, |model, out| {
        out.put_slice(b",\"modified_at\":");
        write_created(model, out);
        write_capabilities(model, out);
    })
}

/// Writes those of them that are known to be in memory. Until when, only their engine knows.
pub(crate) fn write_running(models: &[Model]) -> BytesMut {
    let running = models.iter().filter(|model| model.loaded == Some(true));
    write_list(running, |model, out| {
        out.put_slice(b",\"size_vram\":0");
        if let Some(tokens) = context_tokens(model) {
            out.put_slice(b",\"context_length\":");
            value(out, &tokens);
        }
    })
}

fn write_list<'a>(
    models: impl IntoIterator<Item = &'a Model>,
    more: impl Fn(&Model, &mut BytesMut),
) -> BytesMut {
    let mut out = BytesMut::from("{\"models\":[");
    for model in models {
        comma(&mut out);
        out.put_slice(b"{\"name\":");
        value(&mut out, &model.id);
        out.put_slice(b",\"model\":");
        value(&mut out, &model.id);
        out.put_slice(b",\"size\":0,\"digest\":");
        value(&mut out, &digest(&model.id));
        out.put_slice(DETAILS);
        more(model, &mut out);
        out.put_u8(b'}');
    }
    out.put_slice(b"]}");
    out
}

/// Writes what is known of a model.
pub(crate) fn write_show(model: &Model) -> BytesMut {
    let mut out = BytesMut::from("{\"modelfile\":\"\",\"parameters\":\"\",\"template\":\"\"");
    out.put_slice(DETAILS);
    out.put_slice(b",\"model_info\":{\"general.architecture\":\"penstock\"");
    if let Some(tokens) = context_tokens(model) {
        out.put_slice(b",\"penstock.context_length\":");
        value(&mut out, &tokens);
    }
    out.put_slice(b"},\"modified_at\":");
    write_created(model, &mut out);
    write_capabilities(model, &mut out);
    out.put_u8(b'}');
    out
}

fn write_created(model: &Model, out: &mut BytesMut) {
    value(out, &Timestamp { seconds: model.created, nanos: 0 }.to_string());
}

/// Writes what the model is known to do, in Ollama's words; nothing if nothing is known: an empty list would read as
/// "can do nothing".
fn write_capabilities(model: &Model, out: &mut BytesMut) {
    if let Some(words) = capabilities(model) {
        out.put_slice(b",\"capabilities\":");
        value(out, &words);
    }
}

/// 64 digits that are the same each time: clients tell models apart by them.
fn digest(id: &str) -> String {
    Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn context_tokens(model: &Model) -> Option<i64> {
    model.capabilities.as_ref()?.context_tokens
}

/// What the model is known to do. `None`: nothing is known.
fn capabilities(model: &Model) -> Option<Vec<Value>> {
    let known = model.capabilities.as_ref()?;
    let Capabilities { chat, completions, tools, vision, embeddings, reasoning, .. } = *known;
    let words = [
        ("completion", chat == Some(true) || completions == Some(true)),
        ("tools", tools == Some(true)),
        ("vision", vision == Some(true)),
        ("embedding", embeddings == Some(true)),
        ("thinking", reasoning == Some(true)),
    ];
    let words: Vec<_> = words.into_iter().filter(|(_, can)| *can).map(|(word, _)| word.into()).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn models() -> [Model; 2] {
        let capabilities = Capabilities {
            chat: Some(true),
            tools: Some(true),
            vision: Some(false),
            context_tokens: Some(8192),
            ..Capabilities::default()
        };
        let full = Model {
            id: "llama3.2:3b".into(),
            created: 7,
            capabilities: Some(capabilities),
            loaded: Some(true),
            ..Model::default()
        };
        [full, Model { id: "m".into(), loaded: Some(false), ..Model::default() }]
    }

    fn json(out: &BytesMut) -> Value {
        serde_json::from_slice(out).unwrap()
    }

    #[test]
    fn all_are_listed_and_those_in_memory_run() {
        let details = json!({"parent_model": "", "format": "", "family": "", "families": [],
            "parameter_size": "", "quantization_level": ""});
        let tags = json(&write_tags(&models()));
        let digest = tags["models"][0]["digest"].as_str().unwrap();
        assert_eq!(digest, self::digest("llama3.2:3b"));
        assert!(digest.len() == 64 && digest != tags["models"][1]["digest"]);
        let expected = json!({"name": "llama3.2:3b", "model": "llama3.2:3b", "size": 0, "digest": digest,
            "details": details, "modified_at": "1970-01-01T00:00:07Z", "capabilities": ["completion", "tools"]});
        assert_eq!(tags["models"][0], expected);
        assert_eq!(tags["models"][1].get("capabilities"), None);
        let expected = json!([{"name": "llama3.2:3b", "model": "llama3.2:3b", "size": 0, "digest": digest,
            "details": details, "size_vram": 0, "context_length": 8192}]);
        assert_eq!(json(&write_running(&models()))["models"], expected);
    }

    #[test]
    fn what_is_known_is_shown() {
        let [full, bare] = models();
        let shown = json(&write_show(&full));
        assert_eq!(shown["capabilities"], json!(["completion", "tools"]));
        assert_eq!(
            shown["model_info"],
            json!({"general.architecture": "penstock", "penstock.context_length": 8192})
        );
        let shown = json(&write_show(&bare));
        assert_eq!((shown.get("capabilities"), &shown["modelfile"]), (None, &json!("")));
        assert_eq!(shown["model_info"], json!({"general.architecture": "penstock"}));
    }

    #[test]
    fn a_model_has_two_names_for_its_name() {
        for body in
            [r#"{"model":"a","verbose":true}"#, r#"{"name":"a"}"#, r#"{"model":"","name":"a","system":"x"}"#]
        {
            assert_eq!(read(body.as_bytes()).unwrap(), "a", "{body}");
        }
        for body in ["{}", r#"{"model":""}"#, r#"{"model":7}"#] {
            let error = penstock_proto::Error::from(&read(body.as_bytes()).unwrap_err());
            assert_eq!(error.violations[0].field, "model", "{body}");
        }
    }
}

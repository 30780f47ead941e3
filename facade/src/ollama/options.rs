//! `options`: what has a counterpart in the contract becomes it, what several engines know under the same name
//! becomes a member beside the contract's, and how an Ollama server is to keep house stays what it is.

use penstock_proto::inference::v1::{Extension, GenerateRequest, StopSequences, stop_sequences::Kind};

use crate::{
    chat::request::Stop,
    json::{
        object::object,
        value::{Flag, Integer, Json, Number},
    },
};

/// What bounds an answer by nothing but its own end, and by the context.
const UNBOUNDED: [i64; 2] = [-1, -2];

/// The members of `options`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    num_predict: Option<i64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    stop: Option<StopSequences>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    top_k: Option<String>,
    min_p: Option<String>,
    typical_p: Option<String>,
    repeat_penalty: Option<String>,
    repeat_last_n: Option<String>,
    mirostat: Option<String>,
    mirostat_tau: Option<String>,
    mirostat_eta: Option<String>,
    tfs_z: Option<String>,
    penalize_newline: Option<bool>,
    extensions: Vec<Extension>,
}

object!(Options {
    "num_predict" => num_predict: Integer,
    "temperature" => temperature: Number,
    "top_p" => top_p: Number,
    "seed" => seed: Integer,
    "stop" => stop: Stop,
    "presence_penalty" => presence_penalty: Number,
    "frequency_penalty" => frequency_penalty: Number,
    "top_k" => top_k: Json::NUMBER,
    "min_p" => min_p: Json::NUMBER,
    "typical_p" => typical_p: Json::NUMBER,
    "repeat_penalty" => repeat_penalty: Json::NUMBER,
    "repeat_last_n" => repeat_last_n: Json::NUMBER,
    "mirostat" => mirostat: Json::NUMBER,
    "mirostat_tau" => mirostat_tau: Json::NUMBER,
    "mirostat_eta" => mirostat_eta: Json::NUMBER,
    "tfs_z" => tfs_z: Json::NUMBER,
    "penalize_newline" => penalize_newline: Flag,
});

impl Options {
    /// Puts them into a request.
    pub(super) fn put(self, request: &mut GenerateRequest) {
        request.max_tokens = self.num_predict.filter(|bound| !UNBOUNDED.contains(bound));
        request.temperature = self.temperature;
        request.top_p = self.top_p;
        request.seed = self.seed;
        request.stop = self.stop.filter(|stop| !is_empty(stop));
        request.presence_penalty = self.presence_penalty;
        request.frequency_penalty = self.frequency_penalty;
        let words = [
            ("top_k", self.top_k),
            ("min_p", self.min_p),
            ("typical_p", self.typical_p),
            ("repeat_penalty", self.repeat_penalty),
            ("repeat_last_n", self.repeat_last_n),
            ("mirostat", self.mirostat),
            ("mirostat_tau", self.mirostat_tau),
            ("mirostat_eta", self.mirostat_eta),
            ("tfs_z", self.tfs_z),
            ("penalize_newline", self.penalize_newline.map(|flag| flag.to_string())),
        ];
        for (name, json) in words {
            extend(&mut request.extensions, name, json);
        }
        extend(&mut request.extensions, "options", object_of(&self.extensions));
    }

    /// Bounds the continuation of a text as Ollama does if nobody says: not at all. The legacy completions, which
    /// ask the other engines, make a few tokens of it.
    pub(super) fn unbounded_unless_said(&mut self) {
        if self.num_predict.is_none_or(|bound| UNBOUNDED.contains(&bound)) {
            self.extensions.push(Extension { name: "num_predict".to_owned(), json: "-1".to_owned() });
        }
    }

    /// What an embedder is told.
    pub(super) fn into_house(self) -> Option<String> {
        object_of(&self.extensions)
    }
}

/// Adds a member that the contract does not name, if it has a value.
pub(super) fn extend(extensions: &mut Vec<Extension>, name: &str, json: Option<String>) {
    extensions.extend(json.map(|json| Extension { name: name.to_owned(), json }));
}

fn is_empty(stop: &StopSequences) -> bool {
    matches!(&stop.kind, Some(Kind::List(list)) if list.values.is_empty())
}

/// The object of these members; `None` if there are none. One that is `null` says nothing.
fn object_of(members: &[Extension]) -> Option<String> {
    let mut json = String::new();
    for member in members.iter().filter(|member| member.json != "null") {
        json.push(if json.is_empty() { '{' } else { ',' });
        json.push_str(&serde_json::Value::from(member.name.as_str()).to_string());
        json.push(':');
        json.push_str(&member.json);
    }
    (!json.is_empty()).then(|| json + "}")
}

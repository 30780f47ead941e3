//! What chats, continuations and vectors have in common: `options` with `num_ctx` in every case, `think`,
//! `format`, `keep_alive`, and that nothing may be cut silently. Callers may give these in Ollama's own words, too.

use penstock_proto::inference::v1::{Extension, GenerateRequest, StopSequences, stop_sequences::Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{engine::Target, json::write::Object};

/// How to sample, in words that several engines know beside the contract's: here they stand in `options`.
pub(in crate::engine) const SAMPLING: [&str; 10] = [
    "top_k",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "tfs_z",
    "penalize_newline",
];

/// What a caller said in Ollama's own words that has a counterpart among the fields of the contract.
#[derive(Debug, Default)]
pub(super) struct Ours<'a> {
    options: Option<&'a str>,
    think: Option<&'a str>,
    format: Option<&'a str>,
    keep_alive: Option<&'a str>,
    truncate: Option<&'a str>,
    shift: Option<&'a str>,
    sampling: [Option<&'a str>; SAMPLING.len()],
}

/// Takes these out of the extensions; the others are left.
pub(super) fn split(extensions: &[Extension]) -> (Ours<'_>, Vec<Extension>) {
    let mut ours = Ours::default();
    let mut theirs = Vec::new();
    for extension in extensions {
        let slot = match extension.name.as_str() {
            "options" => &mut ours.options,
            "think" => &mut ours.think,
            "format" => &mut ours.format,
            "keep_alive" => &mut ours.keep_alive,
            "truncate" => &mut ours.truncate,
            "shift" => &mut ours.shift,
            name => {
                let at = SAMPLING.iter().position(|word| *word == name);
                let Some(slot) = at.and_then(|at| ours.sampling.get_mut(at)) else {
                    theirs.push(extension.clone());
                    continue;
                };
                slot
            }
        };
        // A second one of the same name goes to the others, where it is refused.
        if slot.replace(&extension.json).is_some() {
            theirs.extend([extension.clone(), extension.clone()]);
        }
    }
    (ours, theirs)
}

impl Ours<'_> {
    /// The tokens that prompt and answer may have together: the deployment's, or fewer if the caller says so.
    pub(super) fn context_tokens(&self, target: &Target) -> u64 {
        let most = target.context_tokens();
        let asked = self.options.and_then(members).and_then(|members| {
            let (_, json) = members.into_iter().find(|(name, _)| name == "num_ctx")?;
            json.get().parse::<u64>().ok()
        });
        asked.filter(|asked| *asked > 0).map_or(most, |asked| asked.min(most))
    }

    /// Whether the caller's own `options` bound the answer.
    pub(super) fn bounds_the_answer(&self) -> bool {
        let members = self.options.and_then(members).unwrap_or_default();
        members.iter().any(|(name, _)| name == "num_predict")
    }

    /// Writes `options`. `request`: absent for vectors. `num_predict`: what the caller set, or a default.
    pub(super) fn options(
        &self,
        object: &mut Object<'_>,
        request: Option<&GenerateRequest>,
        num_predict: Option<i64>,
        target: &Target,
    ) {
        let theirs = self.options.map(|json| members(json).ok_or(()));
        if let Some(Err(())) = theirs {
            object.refuse("options", "must be an object");
        }
        let theirs = theirs.and_then(Result::ok).unwrap_or_default();
        if let Some((_, json)) = theirs.iter().find(|(name, _)| name == "num_ctx") {
            let most = target.context_tokens();
            if !json.get().parse::<u64>().is_ok_and(|asked| (1..=most).contains(&asked)) {
                let remedy = "more is set by `context_tokens` of the deployment";
                object.unsupported("options.num_ctx", format!("must be from 1 to {most}; {remedy}"));
            }
        }
        let num_ctx = self.context_tokens(target);
        object.key("options").object(|object| {
            let mut named = vec!["num_ctx"];
            let mut write = |name: &'static str, value: Option<serde_json::Number>| {
                if let Some(value) = value {
                    object.member(name, &value);
                    named.push(name);
                }
            };
            if let Some(request) = request {
                write("temperature", request.temperature.and_then(serde_json::Number::from_f64));
                write("top_p", request.top_p.and_then(serde_json::Number::from_f64));
                write("presence_penalty", request.presence_penalty.and_then(serde_json::Number::from_f64));
                write("frequency_penalty", request.frequency_penalty.and_then(serde_json::Number::from_f64));
                write("seed", request.seed.map(Into::into));
            }
            write("num_predict", num_predict.map(Into::into));
            object.member("num_ctx", &num_ctx);
            let stop = request.map(|request| stops(request.stop.as_ref())).unwrap_or_default();
            if !stop.is_empty() {
                object.member("stop", &stop);
                named.push("stop");
            }
            for (name, json) in theirs.iter().filter(|(name, _)| !named.contains(&name.as_str())) {
                object.member(name, json);
            }
            for (word, json) in SAMPLING.into_iter().zip(self.sampling) {
                if !theirs.iter().any(|(name, _)| name == word) {
                    object.raw(word, word, json);
                }
            }
        });
    }

    /// Writes `think`. Levels only for models that have them: others refuse all but true and false.
    pub(super) fn think(&self, object: &mut Object<'_>, request: &GenerateRequest, target: &Target) {
        if self.think.is_some() {
            return object.raw("think", "think", self.think);
        }
        let Some(effort) = request.reasoning_effort.as_deref() else { return };
        let level = match effort {
            "none" => None,
            "minimal" | "low" => Some("low"),
            "medium" => Some("medium"),
            "high" | "xhigh" | "max" => Some("high"),
            _ => return object.unsupported("reasoning_effort", "is not known to this engine"),
        };
        let shown = target.learnt().shown;
        match level {
            None if shown.is_some_and(|shown| shown.thinks == Some(false)) => {}
            Some(_) if shown.is_some_and(|shown| shown.thinks == Some(false)) => {
                object.unsupported("reasoning_effort", "the model does not reason");
            }
            None => object.member("think", &false),
            Some(level) if shown.is_some_and(|shown| shown.has_levels) => object.member("think", level),
            Some(_) => object.member("think", &true),
        }
    }

    /// Writes `format`, from `response_format`: `"json"`, or the schema itself.
    pub(super) fn format(&self, object: &mut Object<'_>, request: &GenerateRequest) {
        if self.format.is_some() {
            return object.raw("format", "format", self.format);
        }
        let Some(json) = request.response_format_json.as_deref() else { return };
        let Ok(format) = serde_json::from_str::<Format<'_>>(json) else {
            return object.refuse("response_format", "must be an object with a type");
        };
        match (format.r#type.as_str(), format.json_schema.and_then(|schema| schema.schema)) {
            ("text", _) => {}
            ("json_object", _) => object.member("format", "json"),
            ("json_schema", Some(schema)) => object.member("format", schema),
            ("json_schema", None) => object.refuse("response_format.json_schema.schema", "is required"),
            _ => object.unsupported("response_format.type", "is not known to this engine"),
        }
    }

    /// Writes how long the model stays loaded: as the caller says, else as the deployment does.
    pub(super) fn keep_alive(&self, object: &mut Object<'_>, target: &Target) {
        match (self.keep_alive, target.keep_alive_seconds) {
            (Some(json), _) => object.raw("keep_alive", "keep_alive", Some(json)),
            (None, Some(seconds)) => object.member("keep_alive", &seconds),
            (None, None) => {}
        }
    }

    /// Writes that nothing may be left out to make the prompt fit, and that the context is not to be shifted
    /// under an answer that fills it. Ollama from 0.12.6 on then refuses the one and ends the other; older ones
    /// take no notice, and cut.
    pub(super) fn whole(&self, object: &mut Object<'_>, may_shift: bool) {
        match self.truncate {
            Some(json) => object.raw("truncate", "truncate", Some(json)),
            None => object.member("truncate", &false),
        }
        match self.shift {
            Some(json) => object.raw("shift", "shift", Some(json)),
            None if may_shift => object.member("shift", &false),
            None => {}
        }
    }

    /// Whether the caller wants what does not fit to be left out.
    pub(super) fn wants_cutting(&self) -> bool {
        self.truncate == Some("true")
    }
}

#[derive(Deserialize)]
struct Format<'a> {
    r#type: String,
    #[serde(borrow)]
    json_schema: Option<Schema<'a>>,
}

#[derive(Deserialize)]
struct Schema<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

fn stops(stop: Option<&StopSequences>) -> Vec<&str> {
    match stop.and_then(|stop| stop.kind.as_ref()) {
        Some(Kind::Text(text)) => vec![text.as_str()],
        Some(Kind::List(list)) => list.values.iter().map(String::as_str).collect(),
        None => Vec::new(),
    }
}

/// Members of an object, in order; `None`: it is none.
pub(in crate::engine) fn members(json: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Members<'a>(Vec<(String, &'a RawValue)>);
    impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Map;
            impl<'de> serde::de::Visitor<'de> for Map {
                type Value = Vec<(String, &'de RawValue)>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(members)
                }
            }
            deserializer.deserialize_map(Map).map(Members)
        }
    }
    serde_json::from_str::<Members<'_>>(json).ok().map(|members| members.0)
}

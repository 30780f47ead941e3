//! What an engine cannot do, as a list in its file. A request that needs it is refused with the field's name:
//! most engines would leave it out without a word. What changes nothing in an answer is no need.

use penstock_proto::{
    Violation,
    inference::v1::{GenerateRequest, Message, generate_request::Input},
};

use crate::error::Error;

/// Something that a request may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// `n` above 1.
    Choices,
    Logprobs,
    LogitBias,
    Seed,
    /// Presence and frequency.
    Penalties,
    /// Temperatures above 1.
    HighTemperature,
    /// Sound in the answer.
    AudioAnswers,
    Prediction,
    WebSearch,
    /// `functions` and `function_call`, deprecated by OpenAI.
    Functions,
    /// Tools that take free text.
    CustomTools,
    Verbosity,
    /// Names of participants.
    Names,
}

/// Refuses a request that needs what is lacking.
pub(super) fn refuse(request: &GenerateRequest, lacks: &[Lack]) -> Result<(), Error> {
    let mut found = Vec::new();
    for lack in lacks {
        lacking(request, *lack, &mut |field, message| found.push(Violation::new(field, message)));
    }
    if found.is_empty() { Ok(()) } else { Err(Error::Unsupported(found)) }
}

fn lacking(request: &GenerateRequest, lack: Lack, found: &mut impl FnMut(String, &'static str)) {
    let mut note = |needed: bool, field: &str, message: &'static str| {
        if needed {
            found(field.to_owned(), message);
        }
    };
    match lack {
        Lack::Choices => {
            note(request.n.is_some_and(|n| n > 1), "n", "this engine gives one choice at a time: ask for 1");
        }
        Lack::Logprobs => {
            let message = "this engine gives no log probabilities: leave it out";
            note(request.logprobs == Some(true), "logprobs", message);
        }
        Lack::LogitBias => {
            let bias = request.logit_bias_json.as_deref().is_some_and(|bias| !is_empty(bias));
            note(bias, "logit_bias", "this engine has no logit bias: leave it out");
        }
        Lack::Seed => note(request.seed.is_some(), "seed", "this engine takes no seed: leave it out"),
        Lack::Penalties => {
            let message = "this engine has no penalties: leave it out";
            let needed = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
            note(needed(request.presence_penalty), "presence_penalty", message);
            note(needed(request.frequency_penalty), "frequency_penalty", message);
        }
        Lack::HighTemperature => {
            let high = request.temperature.is_some_and(|temperature| temperature > 1.0);
            note(high, "temperature", "this engine takes temperatures from 0 to 1");
        }
        Lack::AudioAnswers => {
            let modalities = request.modalities.as_ref().map(|list| list.values.as_slice());
            let more = modalities.is_some_and(|list| list.iter().any(|modality| modality != "text"));
            note(more, "modalities", "this engine answers with text only");
            note(request.audio_json.is_some(), "audio", "this engine answers with text only: leave it out");
        }
        Lack::Prediction => {
            let message = "this engine takes no prediction: leave it out";
            note(request.prediction_json.is_some(), "prediction", message);
        }
        Lack::WebSearch => {
            let message = "this engine does not search the web: leave it out";
            note(request.web_search_options_json.is_some(), "web_search_options", message);
        }
        Lack::Functions => {
            let message = "this engine knows tools only: use `tools` and `tool_choice`";
            let called = |message: &Message| message.role == "function" || message.function_call.is_some();
            note(request.functions_json.is_some(), "functions", message);
            note(request.function_call_json.is_some(), "function_call", message);
            if let Some(at) = messages(request).iter().position(called) {
                found(format!("messages[{at}]"), message);
            }
        }
        Lack::CustomTools => {
            let message = "this engine knows function tools only";
            if let Some(at) = request.tools.iter().position(|tool| tool.custom.is_some()) {
                found(format!("tools[{at}]"), message);
            }
            let called = |message: &Message| message.tool_calls.iter().any(|call| call.custom.is_some());
            if let Some(at) = messages(request).iter().position(called) {
                found(format!("messages[{at}].tool_calls"), message);
            }
        }
        Lack::Verbosity => {
            let other = request.verbosity.as_deref().is_some_and(|verbosity| verbosity != "medium");
            note(other, "verbosity", "this engine cannot be told how much to say: leave it out");
        }
        Lack::Names => {
            let message = "this engine knows no names of participants: put it into the content";
            // Of a tool's answer the id says whose it is.
            let named = |message: &Message| message.name.is_some() && message.role != "tool";
            if let Some(at) = messages(request).iter().position(named) {
                found(format!("messages[{at}].name"), message);
            }
        }
    }
}

fn messages(request: &GenerateRequest) -> &[Message] {
    match &request.input {
        Some(Input::Chat(chat)) => &chat.messages,
        Some(Input::Text(_)) | None => &[],
    }
}

/// An object without members.
fn is_empty(json: &str) -> bool {
    json.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
}

//! A client's JSON read straight into a `GenerateRequest`. Only shapes are judged here; ranges and what is
//! required are judged behind gRPC, for all callers alike.

use std::fmt;

use penstock_proto::{
    inference::v1::{
        ChatInput, ContentPart, ContentParts, CustomCall, CustomTool, File, FunctionCall, FunctionTool,
        GenerateRequest, ImageUrl, InputAudio, Message, Metadata, MetadataPair, StopSequences, StreamOptions,
        TextList, Tool, ToolCall, generate_request::Input, message::Content, stop_sequences::Kind,
    },
    validate,
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::{
    error::Error,
    json::{
        object::{List, One, object},
        read,
        value::{Flag, Integer, Json, Number, OrDefault, Text},
    },
};

object!(GenerateRequest {
    "model" => model: OrDefault(Text),
    "messages" => input: Messages,
    "stream" => stream: OrDefault(Flag),
    "stream_options" => stream_options: One::new(),
    "temperature" => temperature: Number,
    "top_p" => top_p: Number,
    "n" => n: Integer,
    "max_tokens" => max_tokens: Integer,
    "max_completion_tokens" => max_completion_tokens: Integer,
    "stop" => stop: Stop,
    "presence_penalty" => presence_penalty: Number,
    "frequency_penalty" => frequency_penalty: Number,
    "seed" => seed: Integer,
    "logprobs" => logprobs: Flag,
    "top_logprobs" => top_logprobs: Integer,
    "logit_bias" => logit_bias_json: Json::OBJECT,
    "user" => user: Text,
    "tools" => tools: List::new(),
    "tool_choice" => tool_choice_json: Json::STRING_OR_OBJECT,
    "parallel_tool_calls" => parallel_tool_calls: Flag,
    "response_format" => response_format_json: Json::OBJECT,
    "reasoning_effort" => reasoning_effort: Text,
    "service_tier" => service_tier: Text,
    "verbosity" => verbosity: Text,
    "modalities" => modalities: Texts,
    "audio" => audio_json: Json::OBJECT,
    "prediction" => prediction_json: Json::OBJECT,
    "web_search_options" => web_search_options_json: Json::OBJECT,
    "prompt_cache_key" => prompt_cache_key: Text,
    "safety_identifier" => safety_identifier: Text,
    "functions" => functions_json: Json::ARRAY,
    "function_call" => function_call_json: Json::STRING_OR_OBJECT,
    "store" => store: Flag,
    "metadata" => metadata: Pairs,
});

object!(StreamOptions {
    "include_usage" => include_usage: Flag,
});

object!(Message {
    "role" => role: OrDefault(Text),
    "content" => content: ContentSeed,
    "name" => name: Text,
    "tool_calls" => tool_calls: List::new(),
    "tool_call_id" => tool_call_id: Text,
    "refusal" => refusal: Text,
    "reasoning_content" => reasoning: Text,
    "function_call" => function_call: One::new(),
});

object!(ContentPart {
    "type" => r#type: OrDefault(Text),
    "text" => text: Text,
    "image_url" => image_url: One::new(),
    "input_audio" => input_audio: One::new(),
    "file" => file: One::new(),
    "refusal" => refusal: Text,
});

object!(InputAudio {
    "data" => data: OrDefault(Text),
    "format" => format: OrDefault(Text),
});

object!(File {
    "file_data" => file_data: Text,
    "file_id" => file_id: Text,
    "filename" => filename: Text,
});

object!(ImageUrl {
    "url" => url: OrDefault(Text),
    "detail" => detail: Text,
});

object!(Tool {
    "type" => r#type: OrDefault(Text),
    "function" => function: One::new(),
    "custom" => custom: One::new(),
});

object!(CustomTool {
    "name" => name: OrDefault(Text),
    "description" => description: Text,
    "format" => format_json: Json::OBJECT,
});

object!(FunctionTool {
    "name" => name: OrDefault(Text),
    "description" => description: Text,
    "parameters" => parameters_json: Json::ANY,
    "strict" => strict: Flag,
});

object!(ToolCall {
    "index" => index: Integer,
    "id" => id: Text,
    "type" => r#type: Text,
    "function" => function: One::new(),
    "custom" => custom: One::new(),
});

object!(FunctionCall {
    "name" => name: Text,
    "arguments" => arguments: Text,
});

object!(CustomCall {
    "name" => name: Text,
    "input" => input: Text,
});

struct Messages;

impl<'de> DeserializeSeed<'de> for Messages {
    type Value = Option<Input>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages {
    type Value = Option<Input>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        let mut messages = List::new().visit_seq(items)?;
        messages.iter_mut().for_each(adopt_reasoning);
        Ok(Some(Input::Chat(ChatInput { messages })))
    }
}

/// Takes the engines' other name for reasoning, `reasoning`, if the first one is not there. Both at once, as
/// some versions of vLLM have them, stay two members.
fn adopt_reasoning(message: &mut Message) {
    if message.reasoning.is_some() || message.extensions.is_empty() {
        return;
    }
    let Some(index) = message.extensions.iter().position(|extension| extension.name == "reasoning") else {
        return;
    };
    let text = message.extensions.get(index).and_then(|found| serde_json::from_str(&found.json).ok());
    if let Some(text) = text {
        message.reasoning = Some(text);
        message.extensions.remove(index);
    }
}

struct ContentSeed;

impl<'de> DeserializeSeed<'de> for ContentSeed {
    type Value = Option<Content>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ContentSeed {
    type Value = Option<Content>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of content parts")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Content::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        let parts = List::new().visit_seq(items)?;
        Ok(Some(Content::Parts(ContentParts { parts })))
    }
}

pub(crate) struct Stop;

impl<'de> DeserializeSeed<'de> for Stop {
    type Value = Option<StopSequences>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Stop {
    type Value = Option<StopSequences>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(StopSequences { kind: Some(Kind::Text(text.to_owned())) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        let list = Texts.visit_seq(items)?;
        Ok(list.map(|list| StopSequences { kind: Some(Kind::List(list)) }))
    }
}

/// A list of strings.
pub(crate) struct Texts;

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Option<TextList>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Option<TextList>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(item) = items.next_element_seed(Text)? {
            values.push(item.ok_or_else(|| A::Error::custom("must be an array of strings"))?);
        }
        Ok(Some(TextList { values }))
    }
}

/// Metadata: an object whose values are strings.
pub(crate) struct Pairs;

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = Option<Metadata>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = Option<Metadata>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key()? {
            let value = map.next_value_seed(Text)?;
            let value = value.ok_or_else(|| A::Error::custom("must be an object of strings"))?;
            pairs.push(MetadataPair { key, value });
        }
        Ok(Some(Metadata { pairs }))
    }
}

/// Reads a conversation.
///
/// # Errors
/// Those of [`read::read`].
pub(crate) fn read(body: &[u8]) -> Result<GenerateRequest, Error> {
    read::read(body, validate::generate_request)
}

#[cfg(test)]
mod tests;

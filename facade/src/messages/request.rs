//! A body of Anthropic's API as it comes, member by member. What it means in the words of the contract, and what is
//! wrong with it, `translate` says.

use std::fmt;

use penstock_proto::inference::v1::{Extension, TextList};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use crate::{
    chat::request::Texts,
    json::{
        object::{Given, List, One, object},
        value::{Flag, Integer, Json, Number, OrDefault, Text},
    },
};

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct MessagesRequest {
    pub(super) model: String,
    pub(super) max_tokens: Option<i64>,
    pub(super) system: Option<Content>,
    pub(super) messages: Option<Vec<Turn>>,
    pub(super) stream: bool,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) stop_sequences: Option<TextList>,
    pub(super) tools: Vec<Offer>,
    pub(super) tool_choice: Option<Choosing>,
    pub(super) thinking: Option<Thinking>,
    pub(super) output_config: Option<OutputConfig>,
    pub(super) output_format: Option<Format>,
    pub(super) metadata: Option<Labels>,
    pub(super) service_tier: Option<String>,
    pub(super) mcp_servers_json: Option<String>,
    pub(super) container_json: Option<String>,
    pub(super) context_management_json: Option<String>,
    pub(super) thread_json: Option<String>,
    pub(super) extensions: Vec<Extension>,
}

object!(MessagesRequest {
    "model" => model: OrDefault(Text),
    "max_tokens" => max_tokens: Integer,
    "system" => system: ContentSeed,
    "messages" => messages: Given(List::new()),
    "stream" => stream: OrDefault(Flag),
    "temperature" => temperature: Number,
    "top_p" => top_p: Number,
    "stop_sequences" => stop_sequences: Texts,
    "tools" => tools: List::new(),
    "tool_choice" => tool_choice: One::new(),
    "thinking" => thinking: One::new(),
    "output_config" => output_config: One::new(),
    "output_format" => output_format: One::new(),
    "metadata" => metadata: One::new(),
    "service_tier" => service_tier: Text,
    "mcp_servers" => mcp_servers_json: Json::ARRAY,
    "container" => container_json: Json::ANY,
    "context_management" => context_management_json: Json::OBJECT,
    "thread" => thread_json: Json::ANY,
});

/// What one side said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    pub(super) role: String,
    pub(super) content: Option<Content>,
    pub(super) extensions: Vec<Extension>,
}

object!(Turn {
    "role" => role: OrDefault(Text),
    "content" => content: ContentSeed,
});

/// A text, or blocks.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

/// A block of any type: each has its own of these members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block {
    pub(super) r#type: String,
    pub(super) text: Option<String>,
    pub(super) source: Option<Source>,
    pub(super) title: Option<String>,
    pub(super) context: Option<String>,
    pub(super) citations_json: Option<String>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input_json: Option<String>,
    pub(super) tool_use_id: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) is_error: Option<bool>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) data: Option<String>,
    pub(super) extensions: Vec<Extension>,
}

object!(Block {
    "type" => r#type: OrDefault(Text),
    "text" => text: Text,
    "source" => source: One::new(),
    "title" => title: Text,
    "context" => context: Text,
    "citations" => citations_json: Json::ANY,
    "id" => id: Text,
    "name" => name: Text,
    "input" => input_json: Json::OBJECT,
    "tool_use_id" => tool_use_id: Text,
    "content" => content: ContentSeed,
    "is_error" => is_error: Flag,
    "thinking" => thinking: Text,
    "signature" => signature: Text,
    "data" => data: Text,
});

/// Where an image or a document is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(super) r#type: String,
    pub(super) media_type: Option<String>,
    pub(super) data: Option<String>,
    pub(super) url: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) extensions: Vec<Extension>,
}

object!(Source {
    "type" => r#type: OrDefault(Text),
    "media_type" => media_type: Text,
    "data" => data: Text,
    "url" => url: Text,
    "content" => content: ContentSeed,
});

/// A tool that the model may call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(super) r#type: Option<String>,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) input_schema_json: Option<String>,
    pub(super) strict: Option<bool>,
    pub(super) extensions: Vec<Extension>,
}

object!(Offer {
    "type" => r#type: Text,
    "name" => name: OrDefault(Text),
    "description" => description: Text,
    "input_schema" => input_schema_json: Json::OBJECT,
    "strict" => strict: Flag,
});

/// Which tools the model may or must call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choosing {
    pub(super) r#type: String,
    pub(super) name: Option<String>,
    pub(super) disable_parallel_tool_use: Option<bool>,
    pub(super) extensions: Vec<Extension>,
}

object!(Choosing {
    "type" => r#type: OrDefault(Text),
    "name" => name: Text,
    "disable_parallel_tool_use" => disable_parallel_tool_use: Flag,
});

/// Whether to reason, and how much.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thinking {
    pub(super) r#type: String,
    pub(super) budget_tokens: Option<i64>,
    pub(super) extensions: Vec<Extension>,
}

object!(Thinking {
    "type" => r#type: OrDefault(Text),
    "budget_tokens" => budget_tokens: Integer,
});

/// How much effort to make, and the form of the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputConfig {
    pub(super) effort: Option<String>,
    pub(super) format: Option<Format>,
    pub(super) extensions: Vec<Extension>,
}

object!(OutputConfig {
    "effort" => effort: Text,
    "format" => format: One::new(),
});

/// The form of the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Format {
    pub(super) r#type: String,
    pub(super) schema_json: Option<String>,
    pub(super) extensions: Vec<Extension>,
}

object!(Format {
    "type" => r#type: OrDefault(Text),
    "schema" => schema_json: Json::OBJECT,
});

/// What the caller says of itself. Only the user's id means something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(super) user_id: Option<String>,
    pub(super) extensions: Vec<Extension>,
}

object!(Labels {
    "user_id" => user_id: Text,
});

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
        f.write_str("a string or an array of blocks")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Content::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        List::new().visit_seq(items).map(|blocks| Some(Content::Blocks(blocks)))
    }
}

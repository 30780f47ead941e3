//! What a response says of its request: in the words in which it came, and with this API's defaults where it said
//! nothing.

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::write::{key, raw};

macro_rules! echo {
    ($($(#[doc = $doc:literal])? $name:ident $key:literal $default:literal;)*) => {
        /// Members of a request, each as its text. Others are left out.
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        pub(crate) struct Echo<'a> {
            $(
                $(#[doc = $doc])?
                #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
                $name: Option<&'a RawValue>,
            )*
        }

        impl Echo<'_> {
            /// Writes the members, all of them.
            pub(crate) fn write(&self, out: &mut BytesMut) {
                $(
                    key(out, $key);
                    raw(out, self.$name.map_or($default, RawValue::get));
                )*
            }
        }
    };
}

echo! {
    instructions "\"instructions\":" "null";
    max_output_tokens "\"max_output_tokens\":" "null";
    max_tool_calls "\"max_tool_calls\":" "null";
    metadata "\"metadata\":" "{}";
    parallel_tool_calls "\"parallel_tool_calls\":" "true";
    prompt_cache_key "\"prompt_cache_key\":" "null";
    prompt_cache_retention "\"prompt_cache_retention\":" "null";
    reasoning "\"reasoning\":" "{\"effort\":null,\"summary\":null}";
    safety_identifier "\"safety_identifier\":" "null";
    store "\"store\":" "true";
    temperature "\"temperature\":" "null";
    text "\"text\":" "{\"format\":{\"type\":\"text\"}}";
    tool_choice "\"tool_choice\":" "\"auto\"";
    tools "\"tools\":" "[]";
    top_logprobs "\"top_logprobs\":" "null";
    top_p "\"top_p\":" "null";
    truncation "\"truncation\":" "\"disabled\"";
    user "\"user\":" "null";
}

impl<'a> Echo<'a> {
    /// Reads them from a request. What is none has none.
    pub(crate) fn read(json: &'a str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Whether a summary of the reasoning was asked for.
    pub(crate) fn asks_for_summary(&self) -> bool {
        #[derive(Default, Deserialize)]
        struct Reasoning<'a> {
            #[serde(borrow, default)]
            summary: Option<&'a RawValue>,
            #[serde(borrow, default)]
            generate_summary: Option<&'a RawValue>,
        }
        let reasoning =
            self.reasoning.and_then(|json| serde_json::from_str::<Reasoning<'_>>(json.get()).ok());
        reasoning.is_some_and(|asked| asked.summary.or(asked.generate_summary).is_some())
    }
}

/// The members of a request that are given back, as JSON.
pub(crate) fn of_body(body: &[u8]) -> Option<String> {
    let echo: Echo<'_> = serde_json::from_slice(body).ok()?;
    serde_json::to_string(&echo).ok()
}

/// All members but those of the answer itself, as they stand in each object of one response.
pub(crate) fn written(request_json: Option<&str>, previous_response_id: Option<&str>) -> BytesMut {
    let mut out = BytesMut::with_capacity(512);
    Echo::read(request_json.unwrap_or("{}")).write(&mut out);
    key(&mut out, "\"previous_response_id\":");
    crate::json::write::nullable(&mut out, previous_response_id);
    debug_assert!(out.first() != Some(&b','), "the first member has no comma before it");
    out.put_u8(b',');
    out
}

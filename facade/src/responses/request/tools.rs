//! Tools, which are flat here, and which of them may or must be called.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Violation,
    inference::v1::{CustomTool, Extension, FunctionTool, Tool},
};

use super::unknown;
use crate::{
    error::VIOLATIONS_MAX,
    json::{
        object::{List, One, Whole, object},
        value::{Flag, Json, OrDefault, Text},
        write::{comma, key, optional, value},
    },
};

/// What is said of a tool that a platform runs by itself.
const HOSTED: &str = "is not offered here: only function and custom tools are";

/// A tool of any type.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputTool {
    r#type: String,
    name: String,
    description: Option<String>,
    parameters: Option<String>,
    strict: Option<bool>,
    format: Option<CustomFormat>,
    extensions: Vec<Extension>,
}

object!(InputTool {
    "type" => r#type: OrDefault(Text),
    "name" => name: OrDefault(Text),
    "description" => description: Text,
    "parameters" => parameters: Json::ANY,
    "strict" => strict: Flag,
    "format" => format: One::new(),
});

/// The form of a custom tool's input.
#[derive(Clone, Debug, Default)]
pub(crate) struct CustomFormat {
    r#type: Option<String>,
    definition: Option<String>,
    syntax: Option<String>,
    extensions: Vec<Extension>,
}

object!(CustomFormat {
    "type" => r#type: Text,
    "definition" => definition: Text,
    "syntax" => syntax: Text,
});

/// The tools as chat has them.
pub(super) fn tools(tools: Vec<InputTool>, found: &mut Vec<Violation>) -> Vec<Tool> {
    let mut told = Vec::with_capacity(tools.len());
    for (index, tool) in tools.into_iter().enumerate() {
        if !matches!(tool.r#type.as_str(), "function" | "custom" | "") && found.len() < VIOLATIONS_MAX {
            // A search, a computer, … : what it gives would be missing in the answer.
            found.push(Violation::new(format!("tools[{index}].type"), HOSTED));
        }
        told.push(tool.told(index, found));
    }
    told
}

impl InputTool {
    fn told(self, index: usize, found: &mut Vec<Violation>) -> Tool {
        let InputTool { r#type, name, description, parameters, strict, format, extensions } = self;
        if r#type == "custom" {
            let format_json = format.map(|format| format.told(index, found));
            let custom = Some(CustomTool { name, description, format_json, extensions });
            return Tool { r#type, custom, ..Tool::default() };
        }
        let function = FunctionTool { name, description, parameters_json: parameters, strict, extensions };
        Tool { function: (r#type == "function").then_some(function), r#type, ..Tool::default() }
    }
}

impl CustomFormat {
    /// As chat's `format`: there the grammar stands in an object of its own.
    fn told(self, index: usize, found: &mut Vec<Violation>) -> String {
        unknown(&format!("tools[{index}].format"), &self.extensions, found);
        let kind = self.r#type.as_deref();
        let mut out = BytesMut::from("{");
        optional(&mut out, "\"type\":", kind);
        if kind == Some("grammar") {
            key(&mut out, "\"grammar\":{");
            optional(&mut out, "\"definition\":", self.definition.as_deref());
            optional(&mut out, "\"syntax\":", self.syntax.as_deref());
            out.put_u8(b'}');
        }
        out.put_u8(b'}');
        text(&out)
    }
}

/// Which tools may or must be called, if it is an object.
#[derive(Clone, Debug, Default)]
struct Choice {
    r#type: Option<String>,
    name: Option<String>,
    mode: Option<String>,
    tools: Vec<Choice>,
    extensions: Vec<Extension>,
}

object!(Choice {
    "type" => r#type: Text,
    "name" => name: Text,
    "mode" => mode: Text,
    "tools" => tools: List::new(),
});

/// `tool_choice` as chat has it. `None`: it was refused.
pub(super) fn choice(json: &str, found: &mut Vec<Violation>) -> Option<String> {
    use serde::de::DeserializeSeed as _;

    if !json.starts_with('{') {
        return Some(json.to_owned());
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let Ok(choice) = Whole::<Choice>::new().deserialize(&mut deserializer) else {
        found.push(Violation::new(
            "tool_choice",
            "must have strings as type, name and mode, and objects as tools",
        ));
        return None;
    };
    unknown("tool_choice", &choice.extensions, found);
    let mut out = BytesMut::new();
    match choice.r#type.as_deref() {
        Some("function" | "custom") => write_named(&choice, &mut out),
        Some("allowed_tools") => {
            out.put_slice(b"{\"type\":\"allowed_tools\",\"allowed_tools\":{");
            optional(&mut out, "\"mode\":", choice.mode.as_deref());
            key(&mut out, "\"tools\":[");
            for (index, tool) in choice.tools.iter().enumerate() {
                if !matches!(tool.r#type.as_deref(), Some("function" | "custom")) {
                    found.push(Violation::new(format!("tool_choice.tools[{index}].type"), HOSTED));
                    return None;
                }
                comma(&mut out);
                write_named(tool, &mut out);
            }
            out.put_slice(b"]}}");
        }
        Some(_) => {
            found.push(Violation::new("tool_choice.type", HOSTED));
            return None;
        }
        None => {
            found.push(Violation::new("tool_choice.type", "is required"));
            return None;
        }
    }
    Some(text(&out))
}

/// Writes `{"type":"function","function":{"name":…}}`, as chat names a tool.
fn write_named(tool: &Choice, out: &mut BytesMut) {
    let kind = if tool.r#type.as_deref() == Some("custom") { "custom" } else { "function" };
    out.put_slice(b"{\"type\":");
    value(out, kind);
    out.put_u8(b',');
    value(out, kind);
    out.put_slice(b":{");
    optional(out, "\"name\":", tool.name.as_deref());
    out.put_slice(b"}}");
}

fn text(out: &[u8]) -> String {
    String::from_utf8_lossy(out).into_owned()
}

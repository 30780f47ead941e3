//! `tool_choice` as it is meant, for engines that say it in another way.

use penstock_proto::inference::v1::Tool;
use serde::Deserialize;

/// Which tools the model may or must call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    /// As it likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This function.
    Function(String),
    /// Among these functions; `true`: at least one.
    Allowed(Vec<String>, bool),
}

/// A choice that cannot be put to the engine: the field, and what is wrong.
pub(super) type Unknown = (&'static str, &'static str);

impl ToolChoice {
    /// Reads the choice of a request; `None`: it has none.
    pub(super) fn read(json: Option<&str>) -> Result<Option<Self>, Unknown> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Word(String),
            Object { r#type: String, function: Option<Named>, allowed_tools: Option<Allowed> },
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        #[derive(Deserialize)]
        struct Allowed {
            mode: String,
            tools: Vec<AllowedTool>,
        }
        #[derive(Deserialize)]
        struct AllowedTool {
            function: Option<Named>,
        }
        let unknown =
            || Err(("tool_choice", "this engine does not know it: use auto, none, required or a function"));
        let Some(json) = json else { return Ok(None) };
        let Ok(shape) = serde_json::from_str::<Shape>(json) else { return unknown() };
        match shape {
            Shape::Word(word) => match word.as_str() {
                "auto" => Ok(Some(Self::Auto)),
                "none" => Ok(Some(Self::None)),
                "required" => Ok(Some(Self::Required)),
                _ => unknown(),
            },
            Shape::Object { r#type, function: Some(function), .. } if r#type == "function" => {
                Ok(Some(Self::Function(function.name)))
            }
            Shape::Object { r#type, allowed_tools: Some(allowed), .. } if r#type == "allowed_tools" => {
                let names: Option<Vec<_>> =
                    allowed.tools.into_iter().map(|tool| Some(tool.function?.name)).collect();
                match names {
                    Some(names) => Ok(Some(Self::Allowed(names, allowed.mode == "required"))),
                    None => Err(("tool_choice.allowed_tools.tools", "this engine knows function tools only")),
                }
            }
            Shape::Object { .. } => unknown(),
        }
    }

    /// Whether the tool is offered, where a choice among tools is kept by offering no others.
    pub(super) fn offers(&self, tool: &Tool) -> bool {
        let named = |name: &String| tool.function.as_ref().is_some_and(|function| function.name == *name);
        match self {
            Self::Function(name) => named(name),
            Self::Allowed(names, _) => names.iter().any(named),
            Self::Auto | Self::None | Self::Required => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_of_openai_is_read() {
        let read = |json| ToolChoice::read(Some(json));
        assert_eq!(ToolChoice::read(None), Ok(None));
        assert_eq!(read(r#""auto""#), Ok(Some(ToolChoice::Auto)));
        assert_eq!(read(r#""required""#), Ok(Some(ToolChoice::Required)));
        let function = r#"{"type":"function","function":{"name":"f"}}"#;
        assert_eq!(read(function), Ok(Some(ToolChoice::Function("f".into()))));
        let allowed = r#"{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[
            {"type":"function","function":{"name":"f"}}]}}"#;
        assert_eq!(read(allowed), Ok(Some(ToolChoice::Allowed(vec!["f".into()], true))));
        for other in [r#""any""#, "7", r#"{"type":"custom","custom":{"name":"f"}}"#] {
            assert_eq!(read(other).unwrap_err().0, "tool_choice", "{other}");
        }
    }
}

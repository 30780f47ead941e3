//! Where the parts of a conversation stood in the body: results of tools become messages of their own, what the
//! system says becomes the first, so a field of the contract has another path there.

use penstock_proto::Error as Reported;
use tonic::Status;

use crate::{error::Error, problem::renamed};

/// Where each message of the contract stood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(pub(super) Vec<Place>);

/// Where one stood, with the parts of its content and its calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) at: String,
    pub(super) parts: Vec<String>,
    pub(super) calls: Vec<String>,
}

impl Places {
    /// An error of the mesh with the paths of the body.
    pub(super) fn told(&self, error: Error) -> Error {
        let Error::Mesh(status) = error else { return error };
        let known = Reported::from(&*status);
        if known.violations.is_empty() {
            return Error::Mesh(status);
        }
        let mut told = Status::from(self.named(known));
        *told.metadata_mut() = status.metadata().clone();
        Error::from(told)
    }

    /// Such an error, also one that comes in a stream.
    pub(super) fn named(&self, known: Reported) -> Reported {
        if known.violations.is_empty() { known } else { renamed(known, |field| self.of(&field)) }
    }

    /// The path that a field of the contract has in the body; itself if it is no message's.
    pub(super) fn of(&self, field: &str) -> String {
        self.within(field).unwrap_or_else(|| field.to_owned())
    }

    fn within(&self, field: &str) -> Option<String> {
        let (index, rest) = indexed(field, "messages[")?;
        let place = self.0.get(index)?;
        if let Some((part, rest)) = indexed(rest, ".content[")
            && let Some(part) = place.parts.get(part)
        {
            return Some(format!("{part}{}", part_field(rest)));
        }
        if let Some((call, rest)) = indexed(rest, ".tool_calls[")
            && let Some(call) = place.calls.get(call)
        {
            let rest = if rest.starts_with(".function.arguments") { ".input" } else { "" };
            return Some(format!("{call}{rest}"));
        }
        let at = &place.at;
        Some(match rest {
            // The whole of it is content.
            _ if at == "system" => at.clone(),
            ".tool_call_id" => format!("{at}.tool_use_id"),
            ".role" | "" => format!("{at}{rest}"),
            _ => format!("{at}.content"),
        })
    }
}

/// The index after `before`, and what follows its bracket.
fn indexed<'a>(field: &'a str, before: &str) -> Option<(usize, &'a str)> {
    let (index, rest) = field.strip_prefix(before)?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

fn part_field(field: &str) -> &str {
    match field {
        ".file.file_data" => ".source.data",
        field if field.starts_with(".image_url") || field.starts_with(".file") => ".source",
        field => field,
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::{Reason, Violation};

    use super::*;

    fn places() -> Places {
        let place = |at: &str, parts: &[&str], calls: &[&str]| Place {
            at: at.into(),
            parts: parts.iter().map(ToString::to_string).collect(),
            calls: calls.iter().map(ToString::to_string).collect(),
        };
        Places(vec![
            place("system", &["system[0]"], &[]),
            place("messages[0]", &["messages[0].content[2]"], &["messages[0].content[3]"]),
            place("messages[1].content[0]", &[], &[]),
        ])
    }

    #[test]
    fn fields_of_the_contract_get_the_paths_of_the_body() {
        let places = places();
        for (field, path) in [
            ("messages[0].content", "system"),
            ("messages[0].content[0].text", "system[0].text"),
            ("messages[1].content[0].image_url.url", "messages[0].content[2].source"),
            ("messages[1].content[0].file.file_data", "messages[0].content[2].source.data"),
            ("messages[1].tool_calls[0].function.arguments", "messages[0].content[3].input"),
            ("messages[1].tool_calls[0]", "messages[0].content[3]"),
            ("messages[1].thinking_blocks", "messages[0].content"),
            ("messages[2].content", "messages[1].content[0].content"),
            ("messages[2].tool_call_id", "messages[1].content[0].tool_use_id"),
            ("messages[2].role", "messages[1].content[0].role"),
            ("messages[9].content", "messages[9].content"),
            ("messages", "messages"),
            ("temperature", "temperature"),
        ] {
            assert_eq!(places.of(field), path, "{field}");
        }
    }

    #[test]
    fn an_error_keeps_its_reason_and_metadata() {
        let mesh = Reported::unsupported(vec![Violation::new("messages[2].content", "is too odd")]);
        let mut status = Status::from(mesh);
        status.metadata_mut().insert("x-penstock-decision", "dec-1".parse().unwrap());
        let Error::Mesh(told) = places().told(Error::from(status)) else { panic!() };
        assert_eq!(told.metadata().get("x-penstock-decision").unwrap(), "dec-1");
        let told = Reported::from(&*told);
        assert_eq!(told.reason, Reason::Unsupported);
        assert_eq!(told.violations[0].field, "messages[1].content[0].content");
        assert!(told.message.contains("messages[1].content[0].content"), "{}", told.message);
    }
}

//! The contract's messages as the OpenAPI document needs them: what each field holds, and the comment that stands
//! at it in the .proto file. Read from the descriptors that are in the binary for reflection anyway.

use std::collections::BTreeMap;

use penstock_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde_json::{Value, json};

/// The package whose messages are JSON on the wire.
const PACKAGE: &str = "penstock.inference.v1";
/// Numbers of fields in descriptor.proto, of which the paths of comments are made.
const MESSAGE_TYPE: i32 = 4;
const FIELD: i32 = 2;
const ONEOF: i32 = 8;

/// Messages by name.
#[derive(Debug, Default)]
pub(super) struct Contract(BTreeMap<String, Message>);

#[derive(Debug, Default)]
struct Message {
    comment: String,
    fields: BTreeMap<String, Field>,
}

/// A field, or a oneof.
#[derive(Debug)]
pub(super) struct Field {
    /// Its comment, on one line.
    pub(super) comment: String,
    /// What it holds; nothing of a oneof, which JSON has its own form for.
    kind: Option<Type>,
    message: String,
    repeated: bool,
}

impl Contract {
    /// Reads the descriptors.
    pub(super) fn read() -> Self {
        // They are made at build time by the same library: a test sees that they can be read.
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut contract = Self::default();
        for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
            contract.add(file);
        }
        contract
    }

    fn add(&mut self, file: &FileDescriptorProto) {
        let places = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments: BTreeMap<&[i32], String> =
            places.map(|place| (place.path.as_slice(), one_line(place.leading_comments()))).collect();
        let comment = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
        for (index, message) in (0..).zip(&file.message_type) {
            let fields = fields(message, &|kind, at| comment(&[MESSAGE_TYPE, index, kind, at]));
            let message =
                (message.name().to_owned(), Message { comment: comment(&[MESSAGE_TYPE, index]), fields });
            self.0.extend([message]);
        }
    }

    /// What a message is.
    pub(super) fn comment(&self, message: &str) -> &str {
        self.0.get(message).map_or("", |message| &message.comment)
    }

    /// A field of a message, or its text of JSON.
    pub(super) fn field(&self, message: &str, name: &str) -> Option<&Field> {
        let fields = &self.0.get(message)?.fields;
        fields.get(name).or_else(|| fields.get(&format!("{name}_json")))
    }

    #[cfg(test)]
    pub(super) fn fields(&self, message: &str) -> Vec<&str> {
        self.0
            .get(message)
            .map(|message| message.fields.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }
}

fn fields(message: &DescriptorProto, comment: &dyn Fn(i32, i32) -> String) -> BTreeMap<String, Field> {
    let fields = (0..).zip(&message.field).map(|(at, field)| {
        let held = Field {
            comment: comment(FIELD, at),
            kind: Some(field.r#type()),
            message: field.type_name().rsplit('.').next().unwrap_or_default().to_owned(),
            repeated: field.label() == Label::Repeated,
        };
        (field.name().to_owned(), held)
    });
    let oneofs = (0..).zip(&message.oneof_decl).map(|(at, oneof)| {
        let held = Field { comment: comment(ONEOF, at), kind: None, message: String::new(), repeated: false };
        (oneof.name().to_owned(), held)
    });
    fields.chain(oneofs).collect()
}

fn one_line(comment: &str) -> String {
    comment.lines().map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

impl Field {
    /// Its JSON Schema, without its comment. Messages are referred to by `name`.
    pub(super) fn schema(&self, name: &dyn Fn(&str) -> Value) -> Value {
        let one = match self.kind {
            Some(Type::String) => json!({"type": "string"}),
            Some(Type::Bool) => json!({"type": "boolean"}),
            Some(Type::Double | Type::Float) => json!({"type": "number"}),
            Some(Type::Int64) => json!({"type": "integer", "format": "int64"}),
            Some(Type::Message) => name(&self.message),
            // A oneof, or what no message of the package has.
            _ => json!({}),
        };
        if self.repeated { json!({"type": "array", "items": one}) } else { one }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_comments() {
        let contract = Contract::read();
        assert_eq!(contract.comment("Usage"), "Tokens used.");
        let field = contract.field("GenerateRequest", "temperature").unwrap();
        assert_eq!(field.comment, "Sampling temperature, 0 to 2. Absent: the engine's default.");
        assert_eq!(field.schema(&|_| Value::Null), json!({"type": "number"}));
        assert!(contract.field("Message", "content").unwrap().comment.starts_with("What is said."));
        let tools = contract.field("GenerateRequest", "tools").unwrap().schema(&|name| json!(name));
        assert_eq!(tools, json!({"type": "array", "items": "Tool"}));
        assert!(contract.field("GenerateRequest", "logit_bias").is_some());
        for message in contract.0.keys() {
            for field in contract.fields(message) {
                let comment = &contract.field(message, field).unwrap().comment;
                assert!(
                    !comment.is_empty() || field == "kind" || field.starts_with('_'),
                    "{message}.{field}"
                );
            }
        }
    }
}

//! A smallest instance of a JSON Schema: what is required and no more. Knows what structured output and tools use;
//! what it does not know (`pattern`, `not`, `if`, …) it leaves out of account. Bounded whatever the schema asks for.

use serde_json::{Map, Value, json};

/// Values in an instance at most; beyond it everything is null.
const VALUES_MAX: usize = 10_000;
/// Levels of an instance at most, for schemas that hold themselves.
const DEPTH_MAX: usize = 32;
/// Characters of all strings at most, whatever `minLength` says; beyond it they are empty.
const CHARS_MAX: u64 = 100_000;
/// What a string says.
const WORD: &str = "simulated";

/// An instance of `schema`.
pub(super) fn instance(schema: &Value) -> Value {
    Maker { root: schema, left: VALUES_MAX, chars_left: CHARS_MAX }.make(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
    left: usize,
    chars_left: u64,
}

impl Maker<'_> {
    fn make(&mut self, schema: &Value, depth: usize) -> Value {
        if self.left == 0 || depth > DEPTH_MAX {
            return Value::Null;
        }
        self.left -= 1;
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(value) = schema.get("enum").and_then(|values| values.get(0)) {
            return value.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)).cloned();
            return found.map_or(Value::Null, |found| self.make(&found, depth + 1));
        }
        for any in ["anyOf", "oneOf"] {
            if let Some(choices) = schema.get(any).and_then(Value::as_array) {
                // Deep down the end of a schema that holds itself: null, if it is among the choices.
                let null = choices.iter().find(|choice| choice.get("type") == Some(&json!("null")));
                let choice = null.filter(|_| depth > 4).or_else(|| choices.first());
                return choice.map_or(Value::Null, |choice| self.make(choice, depth + 1));
            }
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            let mut merged = Map::new();
            for part in all {
                if let Value::Object(made) = self.make(part, depth + 1) {
                    merged.extend(made);
                }
            }
            return Value::Object(merged);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => number(schema, true),
            "number" => number(schema, false),
            "boolean" => Value::Bool(false),
            "null" => Value::Null,
            _ => {
                let made = string(schema, self.chars_left);
                self.chars_left = self.chars_left.saturating_sub(made.len() as u64);
                Value::String(made)
            }
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut made = Map::new();
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = name.as_str() else { continue };
            let property = schema.get("properties").and_then(|properties| properties.get(name));
            let value = self.make(property.unwrap_or(&Value::Bool(true)), depth + 1);
            made.insert(name.to_owned(), value);
            if self.left == 0 {
                break;
            }
        }
        Value::Object(made)
    }

    fn array(&mut self, schema: &Value, depth: usize) -> Value {
        let fixed = schema.get("prefixItems").and_then(Value::as_array);
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let least = usize::try_from(least).unwrap_or(usize::MAX).max(fixed.map_or(0, Vec::len));
        let items = schema.get("items").unwrap_or(&Value::Bool(true));
        let mut made = Vec::new();
        while made.len() < least && self.left > 0 {
            let item = fixed.and_then(|fixed| fixed.get(made.len())).unwrap_or(items);
            made.push(self.make(item, depth + 1));
        }
        Value::Array(made)
    }
}

/// The type to make: the first one that is not null, or what the members speak of.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds.find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "string",
    }
}

fn number(schema: &Value, whole: bool) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
    let step = if whole { step.max(1.0) } else { step };
    let least = match (bound("minimum"), bound("exclusiveMinimum")) {
        (least, Some(above)) => {
            least.map_or((above / step).floor() * step + step, |least| least.max(above + step))
        }
        (Some(least), None) => least,
        (None, None) => 0.0,
    };
    let most = match (bound("maximum"), bound("exclusiveMaximum")) {
        (most, Some(below)) => most.map_or(below - step, |most| most.min(below - step)),
        (Some(most), None) => most,
        (None, None) => f64::MAX,
    };
    let value = (least / step).ceil() * step;
    let value = if value > most { (most / step).floor() * step } else { value };
    #[allow(clippy::cast_possible_truncation)] // saturates
    if value.fract() == 0.0 { json!(value as i64) } else { json!(value) }
}

fn string(schema: &Value, chars_max: u64) -> String {
    let known = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => Some("2000-01-01T00:00:00Z"),
        Some("date") => Some("2000-01-01"),
        Some("time") => Some("00:00:00Z"),
        Some("duration") => Some("PT0S"),
        Some("email") => Some("simulated@example.com"),
        Some("uuid") => Some("00000000-0000-4000-8000-000000000000"),
        Some("uri") => Some("https://example.com/simulated"),
        Some("hostname") => Some("example.com"),
        Some("ipv4") => Some("192.0.2.1"),
        Some("ipv6") => Some("2001:db8::1"),
        _ => None,
    };
    if let Some(known) = known {
        return known.to_owned();
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64).map(|bound| bound.min(chars_max));
    let most = bound("maxLength").unwrap_or(chars_max);
    let least = bound("minLength").unwrap_or(0).max(WORD.len() as u64).min(most);
    WORD.chars().cycle().take(usize::try_from(least).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_what_is_required_and_no_more() {
        for (schema, expected) in [
            (json!({"type": "object"}), json!({})),
            (
                json!({"type": "object", "required": ["a", "b", "c", "d"], "properties": {
                    "a": {"type": "integer", "minimum": 3}, "b": {"type": ["null", "boolean"]},
                    "c": {"enum": ["x", "y"]}, "d": {"type": "array", "items": {"type": "number"}, "minItems": 2},
                    "e": {"type": "string"}}}),
                json!({"a": 3, "b": false, "c": "x", "d": [0, 0]}),
            ),
            (json!({"const": {"k": 1}}), json!({"k": 1})),
            (json!({"anyOf": [{"type": "null"}, {"type": "string"}]}), json!(null)),
            (
                json!({"allOf": [
                {"required": ["a"], "properties": {"a": {"type": "null"}}}, {"required": ["b"], "properties": {"b": {}}}]}),
                json!({"a": null, "b": "simulated"}),
            ),
            (json!({"type": "string", "maxLength": 3}), json!("sim")),
            (json!({"type": "string", "minLength": 12}), json!("simulatedsim")),
            (json!({"type": "number", "exclusiveMinimum": 1, "maximum": 3}), json!(2)),
            (json!({"type": "number", "multipleOf": 0.5, "minimum": 0.7}), json!(1)),
            (json!({"type": "integer", "maximum": -5}), json!(-5)),
            (json!({"$defs": {"p": {"type": "boolean"}}, "$ref": "#/$defs/p"}), json!(false)),
            (json!({"type": "array", "prefixItems": [{"type": "null"}]}), json!([null])),
            (json!(true), json!("simulated")),
        ] {
            assert_eq!(instance(&schema), expected, "{schema}");
        }
    }

    #[test]
    fn schemas_without_end_end() {
        let own = json!({"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#"}}});
        assert!(instance(&own).to_string().len() < 10_000);
        let optional = json!({"type": "object", "required": ["next"], "properties": {
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
        assert!(instance(&optional).to_string().len() < 1000);
        let many = json!({"type": "array", "minItems": 1000, "items": {"type": "array", "minItems": 1000,
            "items": {"type": "array", "minItems": 1_000_000_000_u64, "items": {"type": "string", "minLength": 1}}}});
        assert!(instance(&many).to_string().len() < 1_000_000);
        let long =
            json!({"type": "array", "minItems": 1_000_000, "items": {"type": "string", "minLength": 10_000}});
        assert!(instance(&long).to_string().len() < 1_000_000);
        assert_eq!(instance(&json!({"$ref": "http://elsewhere/"})), Value::Null);
    }
}

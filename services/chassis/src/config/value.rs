//! The tree of values behind a document: TOML with the place of every value, or text from the environment.

use std::collections::BTreeMap;

use toml::{Spanned, de::DeTable, de::DeValue};

use super::Origin;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value as written. `Text` comes from outside the file and may stand for any scalar or list.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A kind that no key takes, such as a date.
    Other,
    Text(String),
    Array(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl PartialEq for Node {
    /// What is said counts, not where, nor in which order.
    fn eq(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::String(a), Value::String(b)) | (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            // Of two that are no numbers, neither has changed.
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b).is_eq(),
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::Other, Value::Other) => true,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Table(_), Value::Table(_)) => self.members() == other.members(),
            _ => false,
        }
    }
}

impl Node {
    /// The members of a table, by name.
    pub(super) fn members(&self) -> BTreeMap<&str, &Node> {
        match &self.value {
            Value::Table(members) => members.iter().map(|(name, node)| (name.as_str(), node)).collect(),
            _ => BTreeMap::new(),
        }
    }

    pub(super) fn empty_table() -> Node {
        Node { value: Value::Table(Vec::new()), origin: Origin::Missing }
    }

    /// The table of a parsed file; `text` is needed to count lines.
    pub(super) fn of_file(table: &Spanned<DeTable<'_>>, text: &str) -> Node {
        Node { value: of_table(table.get_ref(), text), origin: Origin::Line(1) }
    }

    /// Puts `text` at `path`, making tables on the way. False: something on the path is not a table.
    pub(super) fn set(&mut self, path: &[&str], text: &str, origin: &Origin) -> bool {
        let Some((first, rest)) = path.split_first() else {
            *self = Node { value: Value::Text(text.to_owned()), origin: origin.clone() };
            return true;
        };
        match &mut self.value {
            Value::Table(members) => {
                let position = members.iter().position(|(name, _)| name == first);
                let index = position.unwrap_or_else(|| {
                    let fresh = Node { origin: origin.clone(), ..Node::empty_table() };
                    members.push(((*first).to_owned(), fresh));
                    members.len() - 1
                });
                members.get_mut(index).is_some_and(|(_, node)| node.set(rest, text, origin))
            }
            Value::Array(items) => {
                let Ok(index) = first.parse::<usize>() else { return false };
                if index == items.len() {
                    items.push(Node { origin: origin.clone(), ..Node::empty_table() });
                }
                items.get_mut(index).is_some_and(|node| node.set(rest, text, origin))
            }
            _ => false,
        }
    }
}

/// The line of a byte offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn of_table(table: &DeTable<'_>, text: &str) -> Value {
    let mut members: Vec<(String, Node)> = table
        .iter()
        .map(|(name, value)| {
            let origin = Origin::Line(line_of(text, name.span().start));
            (name.get_ref().to_string(), Node { value: of_value(value, text), origin })
        })
        .collect();
    members.sort_by(|a, b| a.1.origin.cmp(&b.1.origin));
    Value::Table(members)
}

fn of_value(value: &Spanned<DeValue<'_>>, text: &str) -> Value {
    match value.get_ref() {
        DeValue::String(string) => Value::String(string.to_string()),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Value::Other, Value::Integer)
        }
        DeValue::Float(float) => float.as_str().parse().map_or(Value::Other, Value::Float),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Other,
        DeValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| Node {
                    value: of_value(item, text),
                    origin: Origin::Line(line_of(text, item.span().start)),
                })
                .collect(),
        ),
        DeValue::Table(table) => of_table(table, text),
    }
}

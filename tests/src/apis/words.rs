//! What the readers and writers of all APIs share: members that must be there, events as they stand on the wire.

use crate::exact::Json;

/// A text that must be there.
pub(super) fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json.get(name).as_text().unwrap_or_else(|| panic!("{name} is no text: {json}"))
}

/// A whole number that must be there.
pub(super) fn int(json: &Json, name: &str) -> i64 {
    json.get(name).as_int().unwrap_or_else(|| panic!("{name} is no whole number: {json}"))
}

/// A list that must be there.
pub(super) fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    match json.get(name) {
        Json::List(items) => items,
        _ => panic!("{name} is no list: {json}"),
    }
}

/// Checks that an object has these members, whatever they are.
pub(super) fn has(json: &Json, names: &[&str]) {
    for name in names {
        assert!(json.has(name), "no {name}: {json}");
    }
}

/// An object of these members.
pub(super) fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Server-sent events with a name each, as `(name, data)`; comments are passed over.
pub(super) fn named_events(body: &str) -> Vec<(String, Json)> {
    let named = |event: &str| {
        let (name, data) = event
            .strip_prefix("event: ")
            .and_then(|rest| rest.split_once("\ndata: "))
            .unwrap_or_else(|| panic!("not a named event: {event:?}"));
        assert!(!name.contains('\n') && !data.contains('\n'), "more than two lines: {event:?}");
        let data = Json::parse(data);
        assert_eq!(text(&data, "type"), name, "the name of an event is its type");
        (name.to_owned(), data)
    };
    events(body).into_iter().map(named).collect()
}

/// Server-sent events, each without the blank line behind it; comments are passed over.
pub(super) fn events(body: &str) -> Vec<&str> {
    assert!(body.ends_with("\n\n"), "half an event at the end: {body:?}");
    assert!(!body.contains('\r'), "lines end by a line feed");
    body.split_terminator("\n\n").filter(|event| !event.starts_with(':')).collect()
}

/// What a question of chat has that an API has no words for.
pub(super) fn unsaid(chat: &Json, known: &[&str]) -> Result<(), String> {
    match chat.names().find(|name| !known.contains(name)) {
        Some(name) => Err(name.to_owned()),
        None => Ok(()),
    }
}

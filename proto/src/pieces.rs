//! Free-form JSON that came in pieces, put together as it would have come whole: arrays follow one another,
//! objects are put together member by member, and `null` is nothing.

use serde_json::value::RawValue;

/// The pieces as one value; `None` if they do not fit together, such as two words that differ. A single piece
/// is given back as it is.
pub fn join<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Option<String> {
    join_within(DEPTH_MAX, pieces)
}

/// The same, `depth_left` levels deep at most.
fn join_within<'a>(depth_left: usize, pieces: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut said: Vec<&str> = Vec::new();
    let mut nothing = None;
    for piece in pieces {
        match piece.trim_matches([' ', '\t', '\r', '\n']) {
            "null" => nothing = Some(piece),
            text => said.push(text),
        }
    }
    let (first, rest) = match said.split_first() {
        None => return nothing.map(str::to_owned),
        Some((first, rest)) => (*first, rest),
    };
    if rest.is_empty() {
        return Some(first.to_owned());
    }
    match first.as_bytes().first() {
        Some(b'[') => join_arrays(&said),
        Some(b'{') => join_objects(depth_left.checked_sub(1)?, &said),
        _ => rest.iter().all(|piece| *piece == first).then(|| first.to_owned()),
    }
}

fn join_arrays(pieces: &[&str]) -> Option<String> {
    let mut out = String::from("[");
    for piece in pieces {
        let items: Vec<&RawValue> = serde_json::from_str(piece).ok()?;
        for item in items {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(item.get());
        }
    }
    out.push(']');
    Some(out)
}

fn join_objects(depth_left: usize, pieces: &[&str]) -> Option<String> {
    // In the order in which the members came first; there are a handful.
    let mut members: Vec<(String, Vec<&str>)> = Vec::new();
    for piece in pieces {
        for (name, value) in object(piece)? {
            let full = members.len() == MEMBERS_MAX;
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value.get()),
                None if full => return None,
                None => members.push((name, vec![value.get()])),
            }
        }
    }
    let mut out = String::from("{");
    for (index, (name, values)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(&name).ok()?);
        out.push(':');
        out.push_str(&join_within(depth_left, values)?);
    }
    out.push('}');
    Some(out)
}

/// Deepest objects that are joined: engines nest a few, and are not trusted to.
const DEPTH_MAX: usize = 128;
/// Most members of an object in pieces: each is looked for among those before it.
const MEMBERS_MAX: usize = 64;

/// The members of an object, in order.
fn object(json: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Members;

    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(json), Members).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn log_probabilities_are_joined_by_member() {
        let pieces = [
            r#"{"content":[{"token":"a","logprob":-0.10}],"refusal":null}"#,
            r#"{"content":[{"token":"b","logprob":-1e-7},{"token":"c"}],"refusal":null}"#,
            "null",
            r#"{"content":null,"refusal":[]}"#,
        ];
        let whole = r#"{"content":[{"token":"a","logprob":-0.10},{"token":"b","logprob":-1e-7},{"token":"c"}],"refusal":[]}"#;
        assert_eq!(join(pieces).as_deref(), Some(whole));
        let legacy =
            [r#"{"tokens":["a"],"top_logprobs":[{"a":-1}]}"#, r#"{"tokens":["b"],"top_logprobs":[null]}"#];
        assert_eq!(join(legacy).as_deref(), Some(r#"{"tokens":["a","b"],"top_logprobs":[{"a":-1},null]}"#));
    }

    #[test]
    fn one_piece_stays_as_it_is_and_the_same_word_is_one() {
        for piece in ["null", r#"{ "a" : 1, "a":2 }"#, "1.0", "[ ]"] {
            assert_eq!(join([piece]).as_deref(), Some(piece));
        }
        assert_eq!(join(["\"x\"", "null", " \"x\""]).as_deref(), Some("\"x\""));
        assert_eq!(join(["null", "null"]).as_deref(), Some("null"));
        assert_eq!(join([]), None);
    }

    #[test]
    fn what_does_not_fit_together_is_nothing() {
        for pieces in
            [["\"a\"", "\"b\""], ["[1]", "{}"], ["1", "1.0"], [r#"{"a":1}"#, r#"{"a":2}"#], ["[1]", "[1"]]
        {
            assert_eq!(join(pieces), None, "{pieces:?}");
        }
    }

    #[test]
    fn what_is_nested_deeper_than_a_stack_is_nothing() {
        let deep = |levels| r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
        assert_eq!(join([deep(100).as_str(), &deep(100)]), Some(deep(100)));
        assert_eq!(join([deep(10_000).as_str(), &deep(10_000)]), None);
    }

    proptest! {
        #[test]
        fn arrays_follow_one_another(numbers in prop::collection::vec(prop::collection::vec(any::<i64>(), 0..4), 1..6)) {
            let pieces: Vec<_> = numbers.iter().map(|piece| serde_json::to_string(piece).unwrap()).collect();
            let joined = join(pieces.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<i64>>(&joined).unwrap(), numbers.concat());
        }

        #[test]
        fn any_text_is_survived(pieces in prop::collection::vec("[\\[\\]{}\",:a1 ]{0,8}", 0..4)) {
            let _ = join(pieces.iter().map(String::as_str));
        }
    }
}

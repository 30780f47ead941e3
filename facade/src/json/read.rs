//! Reads a body into a message. What cannot be read is read again, slowly, to say everything that is wrong with
//! it: each value that is refused is put aside, and what the whole mesh says of the rest is added.

use penstock_proto::{Violation, validate::DEPENDS};
use serde::de::{DeserializeSeed as _, IgnoredAny};

use super::{
    mend::{Path, mend, segments},
    object::{Object, TWICE, Whole},
    raw::{self, DEPTH_MAX, Fault},
    value::TOO_DEEP,
};
use crate::error::Error;

/// Most members and items of a request: 100,000 messages fit. An empty message is three bytes of JSON and two
/// hundred of memory, so that the limit on the body's bytes alone would not bound memory (A11).
const NODES_MAX: usize = 500_000;
/// Smaller bodies cannot hold enough of them to matter.
const SMALL_BYTES: usize = 64 << 10;
/// Longest path of a field in a violation, in bytes: names of members are the client's own text.
const FIELD_MAX_BYTES: usize = 256;
/// Most times that a wrong body is read again, and the bytes of all of them: some milliseconds of work for whoever
/// sends one. A body that is larger than this by itself is read twice.
const ROUNDS_MAX: usize = 100;
const BYTES_MAX: usize = 2 << 20;

/// Reads a request, of which `judge` says what the mesh will find wrong with it.
///
/// # Errors
/// [`Error::Malformed`] if the body is not JSON, [`Error::Invalid`] with the path of every field that is wrong if
/// it is JSON of another shape, [`Error::TooMany`] if it has too many parts. None quotes a value of the body.
pub(crate) fn read<T: Object>(body: &[u8], judge: fn(&T) -> Vec<Violation>) -> Result<T, Error> {
    if body.len() > SMALL_BYTES && raw::nodes(body) > NODES_MAX {
        return Err(Error::TooMany(NODES_MAX));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let request = Whole::<T>::new().deserialize(&mut json).and_then(|request| json.end().map(|()| request));
    // The quick way does not track where it is; only what failed is read again, slowly.
    request.map_err(|_| explain(body, judge))
}

fn explain<T: Object>(body: &[u8], judge: fn(&T) -> Vec<Violation>) -> Error {
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            return Error::Malformed(format!("the body is not UTF-8 at byte {}", error.valid_up_to()));
        }
    };
    if text.starts_with('\u{feff}') {
        return Error::Malformed("the body begins with a byte order mark".to_owned());
    }
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Error::Malformed(format!("the body is not JSON: {error}"));
    }
    if raw::check(text) == Err(Fault::TooDeep) {
        return too_deep();
    }
    match refusals(text.to_owned(), judge) {
        Ok(found) if found.is_empty() => Error::Malformed("the body is not one JSON object".to_owned()),
        Ok(found) => Error::Invalid(found),
        Err(error) => error,
    }
}

/// Everything that is wrong with `text`, which is JSON.
fn refusals<T: Object>(mut text: String, judge: fn(&T) -> Vec<Violation>) -> Result<Vec<Violation>, Error> {
    let mut found: Vec<Violation> = Vec::new();
    let mut bytes = 0;
    let bytes_max = BYTES_MAX.max(3 * text.len());
    for _ in 0..ROUNDS_MAX {
        let (path, violation) = match attempt::<T>(&text)? {
            Ok(request) => {
                add_judgement(&mut found, judge(&request));
                break;
            }
            Err(refused) => refused,
        };
        let twice = violation.message == TWICE;
        let mut path = path.as_slice();
        let mut substitute = match violation.message.as_str() {
            "must be a string" => "\"\"",
            "must be an object" => "{}",
            _ => "null",
        };
        if let Some(known) = found.iter().find(|known| covers(&violation.field, &known.field)) {
            // A consequence of what was put aside: not the client's mistake. What did not help goes as a whole.
            substitute = "null";
            if known.field == violation.field && !twice {
                path = path.split_last().map_or(path, |(_, parent)| parent);
            }
        } else {
            found.push(violation);
        }
        // Once to read it, once to find the place.
        bytes += 2 * text.len();
        if bytes > bytes_max {
            break;
        }
        if !mend(&mut text, path, twice, substitute) {
            break;
        }
    }
    Ok(found)
}

type Refused = (Path, Violation);

/// Reads `text`; what is refused is told with its place.
fn attempt<T: Object>(text: &str) -> Result<Result<T, Refused>, Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let error = match Whole::<T>::new().deserialize(tracked) {
        Ok(request) => return Ok(Ok(request)),
        Err(error) => error,
    };
    let message = error.to_string();
    if message.starts_with(TOO_DEEP) {
        return Err(too_deep());
    }
    if error.is_syntax() && !message.starts_with("number out of range") {
        // JSON, yet no text: half of a surrogate pair.
        return Err(Error::Malformed(format!("the body is not JSON: {error}")));
    }
    let path = track.path();
    let violation = Violation::new(field(&path), remedy(&message, &error));
    Ok(Err((segments(&path), violation)))
}

/// Adds what the mesh says, less what follows from a value that was put aside.
fn add_judgement(found: &mut Vec<Violation>, judgement: Vec<Violation>) {
    let refused: Vec<String> = found.iter().map(|violation| violation.field.clone()).collect();
    let depends = |field: &str| {
        DEPENDS.iter().any(|(of, on)| covers(of, field) && refused.iter().any(|refused| covers(on, refused)))
    };
    // What is missing because something in it was put aside is not missing.
    let emptied = |violation: &Violation| {
        violation.message == "is required" && refused.iter().any(|refused| covers(&violation.field, refused))
    };
    found.extend(judgement.into_iter().filter(|violation| {
        let follows = refused.iter().any(|refused| covers(refused, &violation.field));
        !follows && !depends(&violation.field) && !emptied(violation)
    }));
}

/// Whether `field` is `of`, or below it.
fn covers(of: &str, field: &str) -> bool {
    field.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn too_deep() -> Error {
    Error::Malformed(format!("the body is nested deeper than {DEPTH_MAX} levels"))
}

/// What to do about a value of the wrong shape, without the value, which serde quotes: only what was expected
/// is taken from its message, and that is our own text.
fn remedy(message: &str, error: &serde_json::Error) -> String {
    if message.starts_with("invalid type: ") {
        let expected = message.rsplit_once(", expected ").map_or("another type", |(_, expected)| expected);
        return format!("must be {}", without_place(expected, error));
    }
    if message.starts_with("number out of range") {
        return "is a number out of range".to_owned();
    }
    without_place(message, error).to_owned()
}

fn without_place<'a>(message: &'a str, error: &serde_json::Error) -> &'a str {
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(place.as_str()).unwrap_or(message)
}

/// The path of a field, as a client may read it: short, and without what breaks a line.
fn field(path: &serde_path_to_error::Path) -> String {
    let mut field: String =
        path.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if field == "." {
        field.clear();
    }
    if field.len() > FIELD_MAX_BYTES {
        let end = (0..=FIELD_MAX_BYTES).rev().find(|end| field.is_char_boundary(*end)).unwrap_or_default();
        field.truncate(end);
        field.push('…');
    }
    field
}

#[cfg(test)]
mod tests;

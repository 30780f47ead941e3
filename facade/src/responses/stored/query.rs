//! What the query of a kept response says, or of its input items. A parameter that nobody knows is refused.

use axum::{extract::Query, http::Uri};
use penstock_proto::{Violation, stored};

use crate::error::{Error, VIOLATIONS_MAX};

/// Longest name that is repeated in a violation, in characters: it is the client's own text.
const NAME_MAX_CHARS: usize = 64;
/// Which page of the items.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    pub(super) limit: usize,
    pub(super) newest_first: bool,
}

/// That a response is to be given as its events.
#[derive(Debug, PartialEq)]
pub(super) struct Replay {
    /// The number of the last event that the caller has.
    pub(super) after: Option<usize>,
}

/// Reads the query of one response.
///
/// # Errors
/// A parameter is unknown, or asks for what cannot be had; the violations name every one, up to a bound.
pub(super) fn of_one(uri: &Uri) -> Result<Option<Replay>, Error> {
    let (mut stream, mut after) = (false, None);
    read(uri, |name, text| {
        match (name, text) {
            ("stream", "true") => stream = true,
            ("stream", "false") | ("include_obfuscation", _) => {}
            ("stream", _) => return Err("must be true or false".to_owned()),
            ("starting_after", _) => {
                // As the document has it: no answer has more events.
                let number: u32 = text.parse().map_err(|_| "must be the number of an event")?;
                after = usize::try_from(number).ok();
            }
            _ => return Err("is not a parameter of a response".to_owned()),
        }
        Ok(())
    })?;
    Ok(stream.then_some(Replay { after }))
}

/// Reads the query of a list of items.
///
/// # Errors
/// As [`of_one`].
pub(super) fn of_items(uri: &Uri) -> Result<Page, Error> {
    let mut page = Page { after: None, limit: stored::LIMIT_DEFAULT, newest_first: true };
    read(uri, |name, text| {
        match (name, text) {
            ("after", _) => page.after = Some(text.to_owned()),
            ("limit", _) => {
                let limit = text.parse().map_err(|_| "must be a whole number")?;
                page.limit = stored::limit(Some(limit)).map_err(|violation| violation.message)?;
            }
            ("order", "asc") => page.newest_first = false,
            ("order", "desc") => page.newest_first = true,
            ("order", _) => return Err("must be asc or desc".to_owned()),
            _ => return Err("is not a parameter of this list".to_owned()),
        }
        Ok(())
    })?;
    Ok(page)
}

/// Reads each parameter by `take`. What `include` asks for is given anyway, if there is any of it here.
fn read(uri: &Uri, mut take: impl FnMut(&str, &str) -> Result<(), String>) -> Result<(), Error> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(Error::Invalid(vec![Violation::new("query", "is not pairs such as limit=20&order=asc")]));
    };
    let mut violations = Vec::new();
    for (index, (name, text)) in pairs.iter().enumerate() {
        if name == "include" || name.starts_with("include[") {
            continue;
        }
        let twice = pairs.iter().take(index).any(|(other, _)| other == name);
        let taken = if twice { Err("is given twice".to_owned()) } else { take(name, text) };
        if let Err(message) = taken {
            let name: String = name.chars().take(NAME_MAX_CHARS).collect();
            violations.push(Violation::new(name, message));
        }
        if violations.len() == VIOLATIONS_MAX {
            break;
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<T>(result: Result<T, Error>) -> Vec<String> {
        match result {
            Ok(_) => Vec::new(),
            Err(Error::Invalid(violations)) => violations.into_iter().map(|one| one.field).collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn uri(query: &str) -> Uri {
        format!("/v1/responses/resp_1?{query}").parse().unwrap()
    }

    #[test]
    fn a_page_is_read_as_sdks_write_it() {
        let page = |query| of_items(&uri(query)).ok();
        assert_eq!(page(""), Some(Page { after: None, limit: 20, newest_first: true }));
        let some = page("after=msg_1&limit=5&order=asc&include[]=a&include%5B%5D=b&include=c");
        assert_eq!(some, Some(Page { after: Some("msg_1".into()), limit: 5, newest_first: false }));
        let one = |query| of_one(&uri(query)).ok();
        assert_eq!(one("include[]=a&stream=false&include_obfuscation=true"), Some(None));
        assert_eq!(one("starting_after=7"), Some(None), "what is given as a whole has no events");
        assert_eq!(one("stream=true"), Some(Some(Replay { after: None })));
        assert_eq!(one("stream=true&starting_after=7"), Some(Some(Replay { after: Some(7) })));
    }

    /// A5.
    #[test]
    fn what_is_wrong_is_named() {
        for (query, fields) in [
            ("limit=0&order=up&b=1", vec!["limit", "order", "b"]),
            ("limit=101", vec!["limit"]),
            ("limit=x", vec!["limit"]),
            ("limit=1&limit=1", vec!["limit"]),
            ("before=x", vec!["before"]),
        ] {
            assert_eq!(named(of_items(&uri(query))), fields, "{query}");
        }
        for (query, fields) in [
            ("stream=true&starting_after=-1", vec!["starting_after"]),
            ("stream=1", vec!["stream"]),
            ("limit=1", vec!["limit"]),
        ] {
            assert_eq!(named(of_one(&uri(query))), fields, "{query}");
        }
        assert_eq!(named(of_items(&uri(&format!("{}=1", "x".repeat(999)))))[0].len(), NAME_MAX_CHARS);
    }
}

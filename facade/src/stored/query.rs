//! What the query of a list says. Ranges are judged behind gRPC; a parameter that nobody knows is refused here,
//! for a filter with a typo would list too much.

use axum::{extract::Query, http::Uri};
use penstock_proto::{
    Violation,
    inference::v1::{Metadata, MetadataPair},
};

use crate::error::{Error, VIOLATIONS_MAX};

/// Longest name that is repeated in a violation, in characters: it is the client's own text.
const NAME_MAX_CHARS: usize = 64;

/// Which page of a list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    pub(super) limit: Option<i64>,
    pub(super) newest_first: bool,
    pub(super) model: Option<String>,
    pub(super) metadata: Option<Metadata>,
}

/// Reads the query. `filters`: whether the list can be narrowed by model and metadata.
///
/// # Errors
/// A parameter is unknown, given twice or of another shape; the violations name every one, up to a bound.
pub(super) fn read(uri: &Uri, filters: bool) -> Result<Page, Error> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(Error::Invalid(vec![Violation::new("query", "is not pairs such as limit=20&order=asc")]));
    };
    let mut page = Page::default();
    let mut violations = Vec::new();
    for (index, (name, text)) in pairs.iter().enumerate() {
        let twice = pairs.iter().take(index).any(|(other, _)| other == name);
        let taken = if twice { Err("is given twice") } else { page.take(name, text, filters) };
        if let Err(message) = taken {
            let name: String = name.chars().take(NAME_MAX_CHARS).collect();
            violations.push(Violation::new(name, message));
        }
        if violations.len() == VIOLATIONS_MAX {
            break;
        }
    }
    if violations.is_empty() { Ok(page) } else { Err(Error::Invalid(violations)) }
}

impl Page {
    fn take(&mut self, name: &str, text: &str, filters: bool) -> Result<(), &'static str> {
        match (name, text) {
            ("after", _) => self.after = Some(text.to_owned()),
            ("limit", _) => self.limit = Some(text.parse().map_err(|_| "must be a whole number")?),
            ("order", "asc") => self.newest_first = false,
            ("order", "desc") => self.newest_first = true,
            ("order", _) => return Err("must be asc or desc"),
            ("model", _) if filters => self.model = Some(text.to_owned()),
            _ => match name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']')) {
                Some(key) if filters => {
                    let pair = MetadataPair { key: key.to_owned(), value: text.to_owned() };
                    self.metadata.get_or_insert_default().pairs.push(pair);
                }
                _ => return Err("is not a parameter of this list"),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str, filters: bool) -> Result<Page, (String, String)> {
        let uri = format!("/v1/chat/completions?{text}").parse().unwrap();
        read(&uri, filters).map_err(|error| match error {
            Error::Invalid(mut violations) => {
                let only = violations.pop().unwrap();
                (only.field, only.message)
            }
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_page_is_read_as_sdks_write_it() {
        assert_eq!(query("", true), Ok(Page::default()));
        let page =
            query("after=a%20b&limit=5&order=desc&model=m%2F1:x&metadata%5Ba%5D=1%262&metadata[b+c]=", true);
        let pair = |key: &str, value: &str| MetadataPair { key: key.into(), value: value.into() };
        let expected = Page {
            after: Some("a b".into()),
            limit: Some(5),
            newest_first: true,
            model: Some("m/1:x".into()),
            metadata: Some(Metadata { pairs: vec![pair("a", "1&2"), pair("b c", "")] }),
        };
        assert_eq!(page, Ok(expected));
    }

    /// A5.
    #[test]
    fn what_is_wrong_is_named() {
        for (text, field) in [
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit=1e3", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=1&limit=1", "limit"),
            ("order=up", "order"),
            ("metadata[a]=1&metadata%5Ba%5D=2", "metadata[a]"),
            ("metadata=1", "metadata"),
            ("metadata[a=1", "metadata[a"),
            ("metdata[a]=1", "metdata[a]"),
            ("=", ""),
        ] {
            assert_eq!(query(text, true).map_err(|(field, _)| field), Err(field.to_owned()), "{text}");
        }
        let Err(Error::Invalid(all)) = read(&"/?limit=x&order=up&b=1".parse().unwrap(), true) else {
            panic!()
        };
        let fields: Vec<_> = all.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["limit", "order", "b"]);
        for text in ["model=m", "metadata[a]=1"] {
            assert!(query(text, false).is_err(), "{text}");
        }
        let long = query(&format!("{}=1", "x".repeat(1000)), true).unwrap_err().0;
        assert_eq!(long.len(), NAME_MAX_CHARS);
    }
}

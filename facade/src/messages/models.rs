//! The list of models as Anthropic's API has it: in pages, each model with its moment and the name to show.

use axum::{extract::Query, http::Uri};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::Model;
use prost_types::Timestamp;

use crate::{
    error::Error,
    json::{
        time::At,
        write::{comma, nullable, value},
    },
};

/// Models of a page, if nobody says, and most of them.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1000;

/// Which page of the list.
#[derive(Debug)]
pub(crate) struct Page {
    before_id: Option<String>,
    after_id: Option<String>,
    limit: usize,
}

/// Reads the query.
///
/// # Errors
/// A parameter is unknown or of another shape, or both ids are given.
pub(crate) fn read_page(uri: &Uri) -> Result<Page, Error> {
    let wrong = || {
        Error::Query(format!(
            "the query may have limit from 1 to {LIMIT_MAX} and one of before_id and after_id"
        ))
    };
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Err(wrong()) };
    let mut page = Page { before_id: None, after_id: None, limit: LIMIT_DEFAULT };
    for (name, text) in pairs {
        match name.as_str() {
            "limit" => page.limit = text.parse().map_err(|_| wrong())?,
            "before_id" => page.before_id = Some(text),
            "after_id" => page.after_id = Some(text),
            _ => return Err(wrong()),
        }
    }
    let both = page.before_id.is_some() && page.after_id.is_some();
    if both || !(1..=LIMIT_MAX).contains(&page.limit) { Err(wrong()) } else { Ok(page) }
}

/// Writes a page of the models. After or before an id that is not among them there is nothing.
pub(crate) fn write_page(models: &[Model], page: &Page, out: &mut BytesMut) {
    let place = |id: &str| models.iter().position(|model| model.id == id);
    let (rest, more_before) = match (&page.after_id, &page.before_id) {
        (Some(id), _) => (place(id).and_then(|at| models.get(at + 1..)), false),
        (None, Some(id)) => {
            let before = place(id).and_then(|at| models.get(..at));
            let skipped = before.map_or(0, |before| before.len().saturating_sub(page.limit));
            (before.and_then(|before| before.get(skipped..)), skipped > 0)
        }
        (None, None) => (Some(models), false),
    };
    let rest = rest.unwrap_or_default();
    let shown = rest.get(..page.limit.min(rest.len())).unwrap_or_default();
    out.put_slice(b"{\"data\":[");
    for model in shown {
        comma(out);
        write(model, out);
    }
    out.put_slice(b"],\"has_more\":");
    value(out, &(more_before || shown.len() < rest.len()));
    for (name, model) in [(",\"first_id\":", shown.first()), (",\"last_id\":", shown.last())] {
        out.put_slice(name.as_bytes());
        nullable(out, model.map(|model| model.id.as_str()));
    }
    out.put_u8(b'}');
}

/// Writes a model.
pub(crate) fn write(model: &Model, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"model\",\"id\":");
    value(out, &model.id);
    out.put_slice(b",\"display_name\":");
    value(out, &model.id);
    out.put_slice(b",\"created_at\":");
    value(out, &At(Timestamp { seconds: model.created, nanos: 0 }));
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(query: &str) -> Result<Value, Error> {
        let page = read_page(&format!("/v1/models?{query}").parse().unwrap())?;
        let models: Vec<_> =
            ["a", "b", "c", "d"].map(|id| Model { id: id.into(), ..Model::default() }).into();
        let mut out = BytesMut::new();
        write_page(&models, &page, &mut out);
        let body: Value = serde_json::from_slice(&out).unwrap();
        let ids: Vec<_> = body["data"].as_array().unwrap().iter().map(|model| model["id"].clone()).collect();
        assert_eq!(
            (&body["first_id"], &body["last_id"]),
            (ids.first().unwrap_or(&Value::Null), ids.last().unwrap_or(&Value::Null))
        );
        Ok(json!([ids, body["has_more"]]))
    }

    #[test]
    fn pages_are_those_that_are_asked_for() {
        for (query, expected) in [
            ("", json!([["a", "b", "c", "d"], false])),
            ("limit=2", json!([["a", "b"], true])),
            ("limit=2&after_id=b", json!([["c", "d"], false])),
            ("limit=1&after_id=b", json!([["c"], true])),
            ("limit=2&before_id=d", json!([["b", "c"], true])),
            ("before_id=b", json!([["a"], false])),
            ("after_id=x", json!([[], false])),
        ] {
            assert_eq!(page(query).unwrap(), expected, "{query}");
        }
        for query in ["limit=0", "limit=1001", "limit=x", "after_id=a&before_id=b", "order=asc"] {
            assert!(matches!(page(query), Err(Error::Query(_))), "{query}");
        }
    }

    #[test]
    fn a_model_has_its_moment() {
        let mut out = BytesMut::new();
        write(&Model { id: "m".into(), created: 1_760_000_000, ..Model::default() }, &mut out);
        let expected =
            json!({"type": "model", "id": "m", "display_name": "m", "created_at": "2025-10-09T08:53:20Z"});
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    }
}

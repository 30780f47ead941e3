//! Judgements of texts: the input goes to the engine as it came, and so do the results to the caller.

use penstock_proto::inference::v1::{Extension, ModerateRequest, ModerateResponse};

use super::request::DENIED;
use crate::{
    answer::sane_id,
    error::{Error, Fault},
    json::{
        read::{extension, object, raw, skip, text},
        write::Writer,
    },
    upstream::status::engine_error,
};

/// Members of a request that the contract names: no extension may stand for one.
const REQUEST: &[&str] = &["model", "input"];

/// The body of a request.
pub(super) fn encode(request: &ModerateRequest, model: &str) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        object.raw("input", "input", Some(&request.input_json));
        object.extensions("", &request.extensions, REQUEST, DENIED);
    });
    writer.finish()
}

/// Reads the judgements that answer `request`.
pub(super) fn read(json: &[u8], request: &ModerateRequest) -> Result<ModerateResponse, Fault> {
    let Reading { id, results, error, extensions } = serde_json::from_slice::<Judgements>(json)
        .map_err(|_| Fault::bad_answer("the engine sent what is no list of judgements"))?
        .0;
    if let Some(error) = error {
        return Err(engine_error(error.as_bytes()));
    }
    let results = results.filter(|results| results.starts_with('['));
    let results_json = results.ok_or_else(|| Fault::bad_answer("the engine sent no judgements"))?;
    Ok(ModerateResponse {
        id: sane_id(id.unwrap_or_default(), "modr"),
        model: request.model.clone().unwrap_or_default(),
        results_json,
        extensions,
    })
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    id: Option<String>,
    results: Option<String>,
    error: Option<String>,
    extensions: Vec<Extension>,
}

object!(Judgements(Reading), |reading, map| {
    "id" => reading.id = text(raw(&mut map)?),
    "results" => reading.results = raw(&mut map)?.map(str::to_owned),
    "error" => reading.error = raw(&mut map)?.map(str::to_owned),
    "model" => skip(&mut map)?,
} else |other| extension(&mut reading.extensions, &other, &mut map)?);

#[cfg(test)]
mod tests {
    use penstock_proto::Reason;

    use super::*;

    fn request() -> ModerateRequest {
        ModerateRequest {
            model: Some("asked".into()),
            input_json: r#"[ "a", "b" ]"#.into(),
            extensions: vec![Extension { name: "x".into(), json: "[1]".into() }],
        }
    }

    #[test]
    fn the_input_goes_out_and_the_results_come_back_as_they_are() {
        let body = encode(&request(), "engine/model").unwrap();
        assert_eq!(body, br#"{"model":"engine/model","input":[ "a", "b" ],"x":[1]}"#);
        let json =
            r#"{"id":"modr-7","model":"path","results":[ {"flagged": true, "scores":{"a":1e-7}} ],"y":2}"#;
        let answer = read(json.as_bytes(), &request()).unwrap();
        assert_eq!((answer.id.as_str(), answer.model.as_str()), ("modr-7", "asked"));
        assert_eq!(answer.results_json, r#"[ {"flagged": true, "scores":{"a":1e-7}} ]"#);
        assert_eq!(answer.extensions, [Extension { name: "y".into(), json: "2".into() }]);
        let without_id = read(br#"{"results":[]}"#, &request()).unwrap();
        assert!(without_id.id.starts_with("modr-") && without_id.id.len() > 16, "{}", without_id.id);
    }

    #[test]
    fn c6_nonsense_is_a_bad_answer() {
        for json in ["", "[]", "{}", r#"{"results":{}}"#, r#"{"results":null}"#] {
            assert_eq!(
                read(json.as_bytes(), &request()).unwrap_err().reason,
                Reason::EngineBadAnswer,
                "{json}"
            );
        }
        let error = br#"{"error":{"message":"boom"},"results":[]}"#;
        assert_eq!(read(error, &request()).unwrap_err().reason, Reason::EngineFailed);
    }
}

//! The tool calls of one choice. Engines omit the index, reuse 0 for every call, repeat or omit ids: clients
//! get fragments keyed by index, and on each call's first fragment an id and a type.

use penstock_proto::inference::v1::ToolCall;

use crate::error::Fault;

/// Calls of one choice at most: a model that calls more is out of its mind.
const CALLS_MAX: usize = 1024;

/// The calls that a choice has made so far.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Call>);

#[derive(Debug)]
struct Call {
    /// The engine's own index.
    theirs: Option<i64>,
    /// The engine's own id.
    id: Option<String>,
    /// What was last seen of its arguments ended an object.
    closed: bool,
}

impl Calls {
    /// Whether there was any call.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Puts index, id and type of fragments right. `stream`: the index is shown only there.
    pub(super) fn normalise(&mut self, fragments: &mut [ToolCall], stream: bool) -> Result<(), Fault> {
        for fragment in fragments {
            fragment.id.take_if(|id| id.is_empty());
            let index = match self.known(fragment) {
                Some(index) => {
                    fragment.id = None;
                    fragment.r#type = None;
                    index
                }
                None => self.add(fragment)?,
            };
            let arguments = fragment.function.as_ref().and_then(|function| function.arguments.as_deref());
            if let (Some(call), Some(text)) = (self.0.get_mut(index), arguments.map(str::trim_end)) {
                call.closed = if text.is_empty() { call.closed } else { text.ends_with('}') };
            }
            fragment.index = stream.then_some(i64::try_from(index).unwrap_or(i64::MAX));
        }
        Ok(())
    }

    /// The place of the call that the fragment continues.
    fn known(&self, fragment: &ToolCall) -> Option<usize> {
        let place = match (fragment.index, &fragment.id) {
            (Some(index), _) => self.0.iter().rposition(|call| call.theirs == Some(index))?,
            (None, Some(id)) => self.0.iter().rposition(|call| call.id.as_ref() == Some(id))?,
            (None, None) => {
                let names_another = fragment.function.as_ref().is_some_and(|f| f.name.is_some());
                self.0.len().checked_sub(1).filter(|_| !names_another)?
            }
        };
        let known = self.0.get(place)?;
        let same = match (&fragment.id, &known.id) {
            (Some(fresh), Some(known)) => fresh == known,
            // Nothing tells two calls with one index apart but that no JSON goes on with `{` after its `}`.
            _ => !(known.closed && begins(fragment)),
        };
        same.then_some(place)
    }

    fn add(&mut self, fragment: &mut ToolCall) -> Result<usize, Fault> {
        if self.0.len() >= CALLS_MAX {
            return Err(Fault::bad_answer("the engine sent too many tool calls"));
        }
        self.0.push(Call { theirs: fragment.index, id: fragment.id.clone(), closed: false });
        fragment.id.get_or_insert_with(|| format!("call_{}", uuid::Uuid::now_v7().simple()));
        let kind = if fragment.custom.is_some() { "custom" } else { "function" };
        fragment.r#type.get_or_insert_with(|| kind.to_owned());
        if let Some(function) = &mut fragment.function {
            function.arguments.get_or_insert_default();
        }
        Ok(self.0.len() - 1)
    }
}

/// Whether a fragment looks like the begin of a call: a name, and arguments that begin.
fn begins(fragment: &ToolCall) -> bool {
    fragment.function.as_ref().is_some_and(|function| {
        let arguments = function.arguments.as_deref().unwrap_or_default().trim_start();
        function.name.is_some() && (arguments.is_empty() || arguments.starts_with('{'))
    })
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::FunctionCall;

    use super::*;

    fn fragment(index: Option<i64>, id: Option<&str>, name: Option<&str>) -> ToolCall {
        ToolCall {
            index,
            id: id.map(str::to_owned),
            function: Some(FunctionCall { name: name.map(str::to_owned), ..FunctionCall::default() }),
            ..ToolCall::default()
        }
    }

    fn indices(mut fragments: Vec<ToolCall>) -> Vec<(i64, bool)> {
        Calls::default().normalise(&mut fragments, true).unwrap();
        fragments.iter().map(|call| (call.index.unwrap(), call.id.is_some())).collect()
    }

    #[test]
    fn fragments_are_keyed_by_index() {
        let fragments = vec![
            fragment(Some(0), Some("a"), Some("f")),
            fragment(Some(0), None, None),
            fragment(Some(1), Some("b"), Some("g")),
            fragment(Some(1), Some(""), None),
            fragment(Some(0), Some("a"), None),
        ];
        assert_eq!(indices(fragments), [(0, true), (0, false), (1, true), (1, false), (0, false)]);
    }

    #[test]
    fn a_missing_or_reused_index_is_mended() {
        let reused = vec![
            fragment(Some(0), Some("a"), Some("f")),
            fragment(Some(0), Some("b"), Some("g")),
            fragment(Some(0), None, None),
        ];
        assert_eq!(indices(reused), [(0, true), (1, true), (1, false)]);
        let missing = vec![
            fragment(None, None, Some("f")),
            fragment(None, None, None),
            fragment(None, None, Some("g")),
            fragment(None, Some("x"), None),
        ];
        assert_eq!(indices(missing), [(0, true), (0, false), (1, true), (2, true)]);
    }

    #[test]
    fn whole_calls_that_all_have_index_0_and_no_id_are_told_apart() {
        let whole = |arguments: &str| {
            let mut call = fragment(Some(0), None, Some("f"));
            call.function.as_mut().unwrap().arguments = Some(arguments.into());
            call
        };
        let calls = vec![whole("{\"a\":1}"), whole("{\"a\":2}"), whole("{"), whole("\"a\":{}"), whole("}")];
        assert_eq!(indices(calls), [(0, true), (1, true), (2, true), (2, false), (2, false)]);
    }

    #[test]
    fn calls_are_bounded() {
        let mut many: Vec<_> = (0..=1024).map(|index| fragment(Some(index), None, Some("f"))).collect();
        assert!(Calls::default().normalise(&mut many, true).is_err());
    }
}

//! Calls of tools, put together from their fragments.

use penstock_proto::inference::v1::ToolCall;
use serde_json::value::RawValue;

/// Bytes of all calls of an answer: what is more is no call but a model out of its mind.
const MAX_BYTES: usize = 4 << 20;

/// A call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Call {
    index: Option<i64>,
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

/// The calls of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    bytes: usize,
}

/// It is no call of a function, or too much.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoCall;

impl Calls {
    /// Takes a call, or a fragment of one: fragments share an index.
    pub(super) fn add(&mut self, fragment: &ToolCall) -> Result<(), NoCall> {
        let function = fragment.function.as_ref();
        let id = fragment.id.as_deref().unwrap_or_default();
        let name = function.and_then(|function| function.name.as_deref()).unwrap_or_default();
        let arguments = function.and_then(|function| function.arguments.as_deref()).unwrap_or_default();
        self.bytes += id.len() + name.len() + arguments.len();
        if fragment.custom.is_some() || self.bytes > MAX_BYTES {
            return Err(NoCall);
        }
        let known =
            fragment.index.and_then(|index| self.calls.iter().position(|call| call.index == Some(index)));
        let at = known.unwrap_or_else(|| {
            self.calls.push(Call { index: fragment.index, ..Call::default() });
            self.calls.len() - 1
        });
        let call = self.calls.get_mut(at).ok_or(NoCall)?;
        if call.id.is_none() {
            call.id.clone_from(&fragment.id);
        }
        call.name.push_str(name);
        call.arguments.push_str(arguments);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether each calls a function, with an object. No text at all is what engines send for no arguments.
    pub(super) fn are_whole(&self) -> bool {
        self.calls.iter().all(|call| {
            let json = call.arguments.trim();
            let is_object = json.starts_with('{') && serde_json::from_str::<&RawValue>(json).is_ok();
            !call.name.is_empty() && (json.is_empty() || is_object)
        })
    }

    /// The calls, once they are whole.
    pub(super) fn take(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }
}

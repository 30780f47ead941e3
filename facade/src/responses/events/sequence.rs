//! What every event has: its type, twice, and its number.

use bytes::{BufMut as _, BytesMut};

use crate::json::write::{key, value};

/// Numbers events.
#[derive(Debug, Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    /// Writes an event of this type, with what `members` writes.
    pub(super) fn event(&mut self, kind: &str, out: &mut BytesMut, members: impl FnOnce(&mut BytesMut)) {
        out.put_slice(b"event: ");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\ndata: {\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"sequence_number\":");
        value(out, &self.0);
        members(out);
        out.put_slice(b"}\n\n");
        self.0 += 1;
    }
}

/// Where a piece belongs: an item, and maybe a part of it by the name of its index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) item_id: &'a str,
    pub(super) output_index: usize,
    /// `"content_index":` or `"summary_index":`, and the index.
    pub(super) part: Option<(&'static str, usize)>,
}

impl Place<'_> {
    pub(super) fn write(&self, out: &mut BytesMut) {
        key(out, "\"item_id\":");
        value(out, self.item_id);
        key(out, "\"output_index\":");
        value(out, &self.output_index);
        if let Some((name, index)) = self.part {
            key(out, name);
            value(out, &index);
        }
    }
}

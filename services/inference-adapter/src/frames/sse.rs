//! Server-sent events as the HTML standard (section 9.2.6) has them: lines end with LF, CRLF or CR, a blank
//! line ends an event, several `data` lines are joined by LF, comments and the fields `event`, `id` and `retry`
//! are ignored, a leading BOM is dropped, an event that the stream's end cuts is discarded. But for one name:
//! the data of an event `error` becomes the member `error` of an object, as engines have it without the name.

use std::ops::Range;

use super::{Frames, TooLong};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts server-sent events into their data.
#[derive(Debug)]
pub(crate) struct Sse {
    /// A line that the last read left unfinished.
    line: Vec<u8>,
    /// Data of an event that the last read left unfinished, or that has several lines.
    data: Vec<u8>,
    /// Whether `data` holds at least one line, be it empty.
    has_data: bool,
    /// The event is named `error`.
    is_error: bool,
    /// The last read ended with CR: a LF at the start of the next one belongs to it.
    after_cr: bool,
    /// No line was read yet.
    at_start: bool,
    max: usize,
}

impl Frames for Sse {
    fn new(max: usize) -> Self {
        Self {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            is_error: false,
            after_cr: false,
            at_start: true,
            max,
        }
    }

    fn feed<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(first) = bytes.first() else { return Ok(()) };
        let mut at = usize::from(std::mem::take(&mut self.after_cr) && *first == b'\n');
        // The one data line of the event so far, as long as it stands in `bytes` itself.
        let mut lone: Option<Range<usize>> = None;
        while let Some(length) = memchr::memchr2(b'\r', b'\n', bytes.get(at..).unwrap_or_default()) {
            let line = at..at + length;
            at = self.after_line(bytes, line.end);
            if self.line.is_empty() && !self.at_start {
                self.whole_line(bytes, line, &mut lone, &mut on_frame)?;
            } else {
                self.joined_line(bytes.get(line).unwrap_or_default(), &mut on_frame)?;
            }
        }
        self.keep(bytes, lone);
        self.line.extend_from_slice(bytes.get(at..).unwrap_or_default());
        if self.line.len() + self.data.len() > self.max { Err(TooLong.into()) } else { Ok(()) }
    }

    fn finish<E: From<TooLong>>(&mut self, _: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        Ok(())
    }
}

impl Sse {
    /// Where the next line starts, given the end of a line.
    fn after_line(&mut self, bytes: &[u8], end: usize) -> usize {
        if bytes.get(end) == Some(&b'\r') {
            match bytes.get(end + 1) {
                Some(b'\n') => return end + 2,
                None => self.after_cr = true,
                Some(_) => {}
            }
        }
        end + 1
    }

    /// Takes a line that stands whole in `bytes`.
    fn whole_line<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        line: Range<usize>,
        lone: &mut Option<Range<usize>>,
        on_frame: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if line.is_empty() {
            return match lone.take() {
                Some(data) if data.len() > self.max => Err(TooLong.into()),
                Some(data) => emit(bytes.get(data).unwrap_or_default(), &mut self.is_error, on_frame),
                None => self.dispatch(on_frame),
            };
        }
        let whole = bytes.get(line.clone()).unwrap_or_default();
        let Some(data) = data_of(whole) else {
            self.is_error |= names_an_error(whole);
            return Ok(());
        };
        if lone.is_none() && !self.has_data {
            *lone = Some(line.end - data.len()..line.end);
            return Ok(());
        }
        self.keep(bytes, lone.take());
        self.append(data);
        if self.data.len() > self.max { Err(TooLong.into()) } else { Ok(()) }
    }

    /// Takes the end of a line whose start is in `self.line`, or of the very first line.
    fn joined_line<E: From<TooLong>>(
        &mut self,
        end: &[u8],
        on_frame: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(end);
        let whole =
            if std::mem::take(&mut self.at_start) { line.strip_prefix(BOM).unwrap_or(&line) } else { &line };
        if whole.is_empty() {
            self.dispatch(on_frame)?;
        } else if let Some(data) = data_of(whole) {
            self.append(data);
        } else {
            self.is_error |= names_an_error(whole);
        }
        line.clear();
        self.line = line;
        if self.data.len() > self.max { Err(TooLong.into()) } else { Ok(()) }
    }

    fn dispatch<E>(&mut self, on_frame: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if std::mem::take(&mut self.has_data) {
            emit(&self.data, &mut self.is_error, on_frame)?;
            self.data.clear();
        }
        self.is_error = false;
        Ok(())
    }

    /// Copies a data line that would not outlive the read.
    fn keep(&mut self, bytes: &[u8], lone: Option<Range<usize>>) {
        if let Some(data) = lone.and_then(|data| bytes.get(data)) {
            self.append(data);
        }
    }

    fn append(&mut self, data: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(data);
        self.has_data = true;
    }
}

/// Gives out the data of an event.
fn emit<E>(
    data: &[u8],
    is_error: &mut bool,
    on_frame: &mut impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if !std::mem::take(is_error) {
        return on_frame(data);
    }
    // What is no object says nothing that we could use but that there is an error.
    let is_object = data.trim_ascii().starts_with(b"{");
    let data: &[u8] = if is_object { data } else { b"\"\"" };
    on_frame(&[b"{\"error\":".as_slice(), data, b"}"].concat())
}

/// Whether a line is the field `event` with the value `error`.
fn names_an_error(line: &[u8]) -> bool {
    matches!(line, b"event: error" | b"event:error")
}

/// The value of a `data` field; `None` for a comment or another field.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    match line.strip_prefix(b"data")? {
        [] => Some(&[]),
        [b':', b' ', data @ ..] | [b':', data @ ..] => Some(data),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::cut, *};

    fn events(bytes: &[u8]) -> Vec<String> {
        let whole = cut::<Sse>(bytes, &[], 1000).unwrap();
        for at in 0..=bytes.len() {
            assert_eq!(cut::<Sse>(bytes, &[at], 1000).unwrap(), whole, "cut at {at}");
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(cut::<Sse>(bytes, &every, 1000).unwrap(), whole, "byte by byte");
        whole.into_iter().map(|event| String::from_utf8(event).unwrap()).collect()
    }

    #[test]
    fn c4_every_line_end_ends_a_line() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("data: a{end}{end}data: b{end}{end}");
            assert_eq!(events(text.as_bytes()), ["a", "b"]);
        }
        assert_eq!(events(b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn c4_data_is_read_as_the_standard_says() {
        assert_eq!(events(b"data:x\n\ndata: y\n\ndata:  z\n\n"), ["x", "y", " z"]);
        assert_eq!(events(b"data: a\ndata:b\ndata\n\n"), ["a\nb\n"]);
        assert_eq!(events(b"data:\n\n"), [""]);
        assert_eq!(events(b": ping\n\nevent: e\nid: 1\nretry: 5\ndata: a\ndatax: no\n\n"), ["a"]);
        assert_eq!(events(b"event: e\n\n\n\n: ping\n"), Vec::<String>::new());
    }

    #[test]
    fn c4_a_leading_bom_is_dropped_and_a_cut_event_discarded() {
        assert_eq!(events(b"\xEF\xBB\xBFdata: a\n\ndata: cut\n"), ["a"]);
        assert_eq!(events(b"\xEF\xBB\xBF\ndata: a\n\ndata: cut"), ["a"]);
    }

    #[test]
    fn c6_an_event_named_error_is_an_error_whatever_its_data_says() {
        let events = events(
            b"event: error\ndata: {\"message\":\"x\"}\n\ndata: a\n\nevent:error\ndata: boom\n\nevent: error\n\ndata: b\n\n",
        );
        assert_eq!(events, [r#"{"error":{"message":"x"}}"#, "a", r#"{"error":""}"#, "b"]);
    }

    #[test]
    fn c3_characters_of_several_bytes_survive_every_cut() {
        assert_eq!(events("data: Grüße 🦀 漢字\r\n\r\n".as_bytes()), ["Grüße 🦀 漢字"]);
    }

    #[test]
    fn c9_an_event_without_end_is_bounded() {
        for text in [
            &b"data: 01234567890\n\n"[..],
            b"data: 01234567890",
            b": 01234567890",
            b"data:01234\ndata:56789\n",
        ] {
            assert_eq!(cut::<Sse>(text, &[], 10), Err(TooLong), "{}", String::from_utf8_lossy(text));
            assert_eq!(cut::<Sse>(text, &[7], 10), Err(TooLong));
        }
        assert_eq!(cut::<Sse>(&b"data: 0123456789\n\n".repeat(50), &[], 16).unwrap().len(), 50);
    }

    proptest! {
        #[test]
        fn c3_where_the_reads_are_cut_does_not_matter(
            lines in prop::collection::vec("(data: ?[a-zé{}\" ]{0,12}|: x|event: y|id|)", 0..20),
            ends in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 20),
            cuts in prop::collection::vec(0usize..400, 0..20),
        ) {
            let text: String = lines.iter().zip(&ends).flat_map(|(line, end)| [line.as_str(), end]).collect();
            let seen = cut::<Sse>(text.as_bytes(), &cuts, 1000).unwrap();
            prop_assert_eq!(seen, cut::<Sse>(text.as_bytes(), &[], 1000).unwrap());
        }
    }
}

//! Newline-delimited JSON: one frame a line, blank lines skipped, the last line may lack its newline.

use super::{Frames, TooLong};

/// Cuts newline-delimited JSON into lines.
#[derive(Debug)]
pub(crate) struct Ndjson {
    unfinished: Vec<u8>,
    max: usize,
}

impl Frames for Ndjson {
    fn new(max: usize) -> Self {
        Self { unfinished: Vec::new(), max }
    }

    fn feed<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        mut on_frame: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if line.len() + self.unfinished.len() > self.max {
                return Err(TooLong.into());
            }
            if self.unfinished.is_empty() {
                emit(line, &mut on_frame)?;
            } else {
                self.unfinished.extend_from_slice(line);
                emit(&self.unfinished, &mut on_frame)?;
                self.unfinished.clear();
            }
        }
        if self.unfinished.len() + rest.len() > self.max {
            return Err(TooLong.into());
        }
        self.unfinished.extend_from_slice(rest);
        Ok(())
    }

    fn finish<E: From<TooLong>>(
        &mut self,
        mut on_frame: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        emit(&std::mem::take(&mut self.unfinished), &mut on_frame)
    }
}

fn emit<E>(line: &[u8], on_frame: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    match line.trim_ascii() {
        [] => Ok(()),
        line => on_frame(line),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::cut, *};

    #[test]
    fn blank_lines_are_skipped_and_the_last_newline_may_lack() {
        let lines = cut::<Ndjson>(b"{\"a\":1}\r\n\n \n{\"b\":2}", &[], 100).unwrap();
        assert_eq!(lines, [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
    }

    #[test]
    fn c9_a_line_without_end_is_bounded() {
        assert_eq!(cut::<Ndjson>(&[b'x'; 11], &[5], 10), Err(TooLong));
        assert_eq!(cut::<Ndjson>(b"xxxxxxxxxxx\n", &[], 10), Err(TooLong));
        assert!(cut::<Ndjson>(b"xxxxxxxxxx\nxxxxxxxxxx\n", &[3, 14], 10).is_ok());
    }

    proptest! {
        #[test]
        fn c3_where_the_reads_are_cut_does_not_matter(
            lines in prop::collection::vec("[^\r\n \t\u{b}\u{c}][^\r\n]{0,20}[^\\s]", 0..8),
            cuts in prop::collection::vec(0usize..500, 0..20),
        ) {
            let text = lines.join("\n");
            let seen = cut::<Ndjson>(text.as_bytes(), &cuts, 1000).unwrap();
            prop_assert_eq!(seen, cut::<Ndjson>(text.as_bytes(), &[], 1000).unwrap());
        }
    }
}

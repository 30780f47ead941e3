//! Turns an input into a text and the reads that it comes in.

/// The bytes up to the first zero are lengths of reads, used again and again; the rest is the text.
pub fn cut(input: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (lengths, whole) = input.split_at(at);
    let whole = whole.get(1..).unwrap_or_default();
    let mut rest = whole;
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(usize::from(*length)));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    (pieces, whole)
}

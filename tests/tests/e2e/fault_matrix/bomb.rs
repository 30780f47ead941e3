//! A gzip bomb of 400 KB that unpacks to 64 MB of blanks, made on the spot.

/// Bytes that one length-distance pair stands for, at most.
const RUN: usize = 258;
const UNPACKED: usize = 64 << 20;

/// A plain answer, as HTTP, that nobody asked to be compressed.
pub(super) fn bomb() -> Vec<u8> {
    let body = gzip();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n";
    let mut answer = format!("{head}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

/// RFC 1951 with fixed codes: one blank, then it again and again. The checksum is not right: whoever gets there has
/// unpacked it all.
fn gzip() -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, fixed codes: a header that is read from its low end.
    bits.push(0b011, 3, false);
    bits.push(0x30 + u32::from(b' '), 8, true);
    for _ in 0..UNPACKED / RUN {
        // Length 258 is symbol 285; distance 1 is code 0.
        bits.push(0b1100_0101, 8, true);
        bits.push(0, 5, true);
    }
    bits.push(0, 7, true);
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    gzip.extend(bits.bytes);
    gzip.extend([0; 8]);
    gzip
}

/// Bits as deflate packs them: from the low end of each byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    /// Codes go from their high end, everything else from the low one.
    fn push(&mut self, value: u32, count: u32, is_code: bool) {
        for at in 0..count {
            let bit = value >> if is_code { count - 1 - at } else { at } & 1;
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= (bit as u8) << (self.used % 8);
            self.used += 1;
        }
    }
}

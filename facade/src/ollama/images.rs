//! Images as Ollama has them, base64 without a word of what is in it, and as everybody else has them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use penstock_proto::inference::v1::{ContentPart, ImageUrl};

/// What is said of what is none.
pub(super) const REMEDY: &str = "must be base64 of a PNG, JPEG, GIF or WebP image, without `data:` before it";
/// So much of the text tells what it is: twelve bytes.
const HEAD: usize = 16;

/// A part of a message's content with the image in it. `None`: it is not known to be one.
pub(super) fn part(base64: &str) -> Option<ContentPart> {
    let kind = kind(base64)?;
    let url = format!("data:{kind};base64,{base64}");
    let image_url = Some(ImageUrl { url, ..ImageUrl::default() });
    Some(ContentPart { r#type: "image_url".to_owned(), image_url, ..ContentPart::default() })
}

/// The media type, by the first bytes.
fn kind(base64: &str) -> Option<&'static str> {
    let digits = base64.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let padding = base64.len() - digits.len();
    if !base64.len().is_multiple_of(4) || padding > 2 || !digits.bytes().all(is_digit) {
        return None;
    }
    let head = STANDARD.decode(base64.get(..HEAD)?).ok()?;
    match head.as_slice() {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        for (bytes, expected) in [
            (&b"\x89PNG\r\n\x1a\nxxxxx"[..], "image/png"),
            (b"\xff\xd8\xff\xe0xxxxxxxxx", "image/jpeg"),
            (b"GIF87axxxxxxx", "image/gif"),
            (b"GIF89axxxxxx", "image/gif"),
            (b"RIFF\x01\x02\x03\x04WEBPVP8", "image/webp"),
        ] {
            let base64 = STANDARD.encode(bytes);
            let part = part(&base64).unwrap();
            assert_eq!(part.image_url.unwrap().url, format!("data:{expected};base64,{base64}"));
        }
    }

    #[test]
    fn what_is_no_image_is_none() {
        let png = STANDARD.encode(b"\x89PNG\r\n\x1a\nxxxxxxxxxx");
        for text in [
            String::new(),
            "iVBORw0KGgo=".to_owned(),
            format!("data:image/png;base64,{png}"),
            format!("{png}\n"),
            format!("{png}===="),
            png[..png.len() - 1].to_owned(),
            STANDARD.encode(b"%PDF-1.7 xxxxxxxxxx"),
            STANDARD.encode(b"RIFF\x01\x02\x03\x04WAVExxxx"),
        ] {
            assert_eq!(part(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,40}") {
            part(&text);
        }
    }
}

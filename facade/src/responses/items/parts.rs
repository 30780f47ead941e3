//! Parts of what is said, as chat has them.

use penstock_proto::inference::v1::{
    ContentPart, ContentParts, Extension, File, ImageUrl, InputAudio, message::Content,
};

use super::{
    read::{Found, refuse_chats},
    text_part,
};
use crate::json::{
    object::{One, object},
    value::{Json, OrDefault, Text},
};

/// A part of what is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputPart {
    pub(super) r#type: String,
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
    image_url: Option<String>,
    detail: Option<String>,
    file_id: Option<String>,
    file_data: Option<String>,
    file_url: Option<String>,
    filename: Option<String>,
    input_audio: Option<InputAudio>,
    annotations: Option<String>,
    logprobs: Option<String>,
    extensions: Vec<Extension>,
}

object!(InputPart {
    "type" => r#type: OrDefault(Text),
    "text" => text: Text,
    "refusal" => refusal: Text,
    "image_url" => image_url: Text,
    "detail" => detail: Text,
    "file_id" => file_id: Text,
    "file_data" => file_data: Text,
    "file_url" => file_url: Text,
    "filename" => filename: Text,
    "input_audio" => input_audio: One::new(),
    "annotations" => annotations: Json::ANY,
    "logprobs" => logprobs: Json::ANY,
});

/// The parts of what somebody of this role, or a tool, said. A single text is said as such: so every engine
/// understands it.
pub(super) fn content(
    parts: Vec<InputPart>,
    member: &str,
    role: &str,
    found: &mut Found<'_>,
) -> Option<Content> {
    if parts.is_empty() && !matches!(role, "assistant" | "tool") {
        found.add(member, "must have at least one part");
    }
    let numbered = parts.into_iter().enumerate();
    let mut parts: Vec<_> =
        numbered.filter_map(|(n, part)| self::part(part, &format!("{member}[{n}]"), role, found)).collect();
    match parts.as_mut_slice() {
        [] => None,
        [ContentPart { text: text @ Some(_), extensions, .. }] if extensions.is_empty() => {
            text.take().map(Content::Text)
        }
        _ => Some(Content::Parts(ContentParts { parts })),
    }
}

fn part(mut part: InputPart, at: &str, role: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    refuse_chats(&mut part.extensions, &["file"], &format!("{at}."), found);
    let kind = part.r#type.as_str();
    if matches!(kind, "input_image" | "input_file" | "input_audio") && role != "user" {
        let message = "cannot be said to an engine here: it goes into a message of the role user";
        found.add(&format!("{at}.type"), message);
        return None;
    }
    match kind {
        "input_text" | "output_text" | "text" => {
            let text = found.required(&format!("{at}.text"), part.text)?;
            Some(ContentPart { extensions: part.extensions, ..text_part(text) })
        }
        // It was put beside the content.
        "refusal" if role == "assistant" => {
            found.required(&format!("{at}.refusal"), part.refusal)?;
            None
        }
        "input_image" => image(part, at, found),
        "input_file" => file(part, at, found),
        "input_audio" => audio(part, at, found),
        _ => {
            let message = match role {
                "user" => "must be input_text, input_image, input_file or input_audio",
                "assistant" => "must be output_text or refusal",
                _ => "must be input_text",
            };
            found.add(&format!("{at}.type"), message);
            None
        }
    }
}

fn image(part: InputPart, at: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    if part.file_id.is_some() {
        let message = "is not known here: give the image itself, or where it is, as image_url";
        found.add(&format!("{at}.file_id"), message);
        return None;
    }
    let url = part.image_url.filter(|url| !url.is_empty());
    let url = found.required(&format!("{at}.image_url"), url)?;
    if part.detail.as_deref().is_some_and(|word| !matches!(word, "auto" | "low" | "high")) {
        found.add(&format!("{at}.detail"), "must be one of auto, low, high");
    }
    let image_url = Some(ImageUrl { url, detail: part.detail, extensions: Vec::new() });
    let (r#type, extensions) = ("image_url".to_owned(), part.extensions);
    Some(ContentPart { r#type, image_url, extensions, ..ContentPart::default() })
}

fn file(part: InputPart, at: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    if part.file_url.is_some() {
        found.add(&format!("{at}.file_url"), "is not fetched here: give the file itself as file_data");
        return None;
    }
    if part.file_data.is_none() && part.file_id.is_none() {
        found.add(&format!("{at}.file_data"), "is required");
        return None;
    }
    let InputPart { file_data, file_id, filename, extensions, .. } = part;
    let file = Some(File { file_data, file_id, filename, extensions: Vec::new() });
    Some(ContentPart { r#type: "file".to_owned(), file, extensions, ..ContentPart::default() })
}

fn audio(part: InputPart, at: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    let audio = found.required(&format!("{at}.input_audio"), part.input_audio)?;
    let some = |text: &String| (!text.is_empty()).then_some(());
    let data = found.required(&format!("{at}.input_audio.data"), some(&audio.data));
    let format = found.required(&format!("{at}.input_audio.format"), some(&audio.format));
    data.and(format)?;
    let (r#type, extensions) = ("input_audio".to_owned(), part.extensions);
    Some(ContentPart { r#type, input_audio: Some(audio), extensions, ..ContentPart::default() })
}

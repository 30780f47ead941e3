//! Images and documents as parts of a message. Nothing is fetched, and no files are kept here: what says only where it
//! is, is refused unless the engine can get it.

use penstock_proto::inference::v1::{ContentPart, Extension, File, ImageUrl};
use serde_json::{Value, json};

use super::{
    super::request::{Block, Content, Source},
    Conversation, Parts, text_part,
};

impl Conversation<'_> {
    pub(super) fn image(
        &mut self,
        at: String,
        source: Source,
        extensions: Vec<Extension>,
        parts: &mut Parts,
    ) {
        let url = match (source.r#type.as_str(), source.media_type, source.data, source.url) {
            ("base64", Some(kind), Some(data), _) => format!("data:{kind};base64,{data}"),
            ("url", _, _, Some(url)) => url,
            (kind, media_type, data, _) => {
                return self.lacking(&at, kind, media_type.is_some(), data.is_some(), "base64 or url");
            }
        };
        let image_url = Some(ImageUrl { url, ..ImageUrl::default() });
        let r#type = "image_url".to_owned();
        parts.push(at, ContentPart { r#type, image_url, extensions, ..ContentPart::default() });
    }

    /// A PDF goes on as a file; what is text or made of blocks is said as such, after its title and context.
    pub(super) fn document(&mut self, at: String, block: Block, parts: &mut Parts) {
        if block.citations_json.as_deref().is_some_and(asks_for_citations) {
            let message = "no engine's citations are passed on: leave it out";
            self.found.add(format!("{at}.citations.enabled"), message);
        }
        let Some(source) = block.source else {
            return self.found.add(format!("{at}.source"), "is required");
        };
        let (title, context, extensions) = (block.title, block.context, block.extensions);
        let about = [title.clone(), context.clone()].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        let with = |text: String| if about.is_empty() { text } else { format!("{about}\n\n{text}") };
        match (source.r#type.as_str(), source.media_type.as_deref(), source.data, source.content) {
            ("text", _, Some(text), _) => parts.push(at, text_part(with(text), extensions)),
            ("content", _, _, Some(Content::Text(text))) => {
                parts.push(at, text_part(with(text), extensions));
            }
            ("content", _, _, Some(Content::Blocks(blocks))) => {
                if !about.is_empty() {
                    parts.push(at.clone(), text_part(about, extensions));
                }
                for (index, block) in blocks.into_iter().enumerate() {
                    let at = format!("{at}.source.content[{index}]");
                    match block.r#type.as_str() {
                        "text" | "image" => self.part(at, block, parts),
                        kind => self.strange(&at, kind, "must be text or image in a document"),
                    }
                }
            }
            ("base64", Some("application/pdf"), Some(data), _) => {
                let file_data = Some(format!("data:application/pdf;base64,{data}"));
                let file = Some(File { file_data, filename: title, ..File::default() });
                let mut extensions = extensions;
                extensions.extend(context.map(|context| Extension {
                    name: "context".to_owned(),
                    json: json!(context).to_string(),
                }));
                let r#type = "file".to_owned();
                parts.push(at, ContentPart { r#type, file, extensions, ..ContentPart::default() });
            }
            ("base64", Some(_), _, _) => {
                self.found.add(format!("{at}.source.media_type"), "must be application/pdf");
            }
            ("content", ..) => self.found.add(format!("{at}.source.content"), "is required"),
            ("url", ..) => {
                let message = "must be base64, text or content: nothing is fetched for a document here";
                self.found.add(format!("{at}.source.type"), message);
            }
            (kind, media_type, data, _) => {
                let needs = kind == "text" || media_type.is_some();
                self.lacking(&at, kind, needs, data.is_some(), "base64, text or content");
            }
        }
    }

    /// Tells what a source lacks, or that nobody here knows its type.
    fn lacking(&mut self, at: &str, kind: &str, media_type: bool, data: bool, kinds: &str) {
        let at = format!("{at}.source");
        match kind {
            "base64" | "text" => {
                for (member, is_there) in [("media_type", media_type), ("data", data)] {
                    if !is_there {
                        self.found.add(format!("{at}.{member}"), "is required");
                    }
                }
            }
            "url" => self.found.add(format!("{at}.url"), "is required"),
            "" => self.found.add(format!("{at}.type"), "is required"),
            "file" => {
                let message = format!("must be {kinds}: no files are kept here");
                self.found.add(format!("{at}.type"), message);
            }
            _ => self.found.add(format!("{at}.type"), format!("must be {kinds}")),
        }
    }
}

fn asks_for_citations(json: &str) -> bool {
    let known = serde_json::from_str::<Value>(json).unwrap_or_default();
    known.get("enabled") == Some(&Value::Bool(true))
}

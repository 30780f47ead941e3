//! `Debug` of the messages that carry a secret, or that are what a caller asked to keep: it never shows that.

use std::fmt;

use crate::{
    auth::v1::{AuthenticateRequest, CreateResponse, RotateResponse},
    cache::v1::Object,
    inference::v1::{MetadataPair, StoredCompletion, StoredMessage, StoredResponse},
};

impl fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticateRequest").finish_non_exhaustive()
    }
}

impl fmt::Debug for CreateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateResponse").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for RotateResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateResponse").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("id", &self.id).field("created", &self.created).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredCompletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("StoredCompletion");
        printed.field("id", &self.id).field("created", &self.created).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = f.debug_struct("StoredResponse");
        printed.field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredMessage").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for MetadataPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataPair").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::v1::{GenerateRequest, Message, Metadata, message::Content};

    fn object(value: &str) -> Object {
        let pairs = vec![MetadataPair { key: "k".into(), value: value.into() }];
        Object { metadata: Some(Metadata { pairs }), ..Object::default() }
    }

    fn request(user: String) -> GenerateRequest {
        GenerateRequest { user: Some(user), ..GenerateRequest::default() }
    }

    fn message(text: String) -> Message {
        Message { content: Some(Content::Text(text)), ..Message::default() }
    }

    #[test]
    fn no_secret_is_printed() {
        let secret = "sk-penstock-canary".to_owned();
        let printed = [
            format!("{:?}", AuthenticateRequest { credential: secret.clone() }),
            format!("{:?}", CreateResponse { key: None, secret: secret.clone() }),
            format!("{:?}", RotateResponse { key: None, secret: secret.clone() }),
            format!("{:?}", Object { content: secret.clone().into(), ..object(&secret) }),
            format!(
                "{:?}",
                StoredCompletion { request: Some(request(secret.clone())), ..StoredCompletion::default() }
            ),
            format!(
                "{:?}",
                StoredResponse { request: Some(request(secret.clone())), ..StoredResponse::default() }
            ),
            format!("{:?}", object(&secret).metadata),
            format!("{:?}", StoredMessage { id: "i".into(), message: Some(message(secret)) }),
        ];
        assert!(printed.iter().all(|text| !text.contains("canary")), "{printed:?}");
    }
}

//! The facade: OpenAI over HTTP on one side, the mesh's gRPC on the other.

mod chat;
mod error;
mod json;

//! Inference adapter.
mod answer;
mod engine;
mod error;
mod frames;
mod json;
mod upstream;

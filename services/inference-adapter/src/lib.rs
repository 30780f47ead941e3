//! Inference adapter.
mod frames;

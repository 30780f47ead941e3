//! What every service stands on, written once: configuration, telemetry, metrics, health, the server with its
//! stack of layers, channels to other services, deadlines and request ids, tasks and shutdown. It knows
//! nothing of language models, keys or caches.

pub mod config;

//! Clients of health.

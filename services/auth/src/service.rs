//! The gRPC faces of the keyring: decode, do, encode. The clock of the service stands here.

mod auth;
mod decode;
mod encode;
mod keys;
mod verdicts;
mod writes;

use std::time::{Duration, SystemTime};

pub(crate) use self::{auth::AuthService, keys::KeysService, verdicts::Verdicts, writes::Writes};

/// Where a service reads the time; tests set it.
pub(crate) type Clock = fn() -> SystemTime;

/// The time, in whole milliseconds: finer moments only make answers long.
pub(crate) fn clock() -> SystemTime {
    let now = SystemTime::now();
    let beyond =
        now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos() % 1_000_000);
    now - Duration::from_nanos(beyond.into())
}

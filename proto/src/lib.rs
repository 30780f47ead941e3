//! The contract of the mesh: generated messages, clients and servers, and what belongs to the contract
//! itself: the error reasons, the metadata keys, validation and the fingerprint of a request.
//! It knows no HTTP, JSON only where a message carries it as text, and depends on no other crate of ours.

pub mod error;
pub mod fingerprint;
pub mod limits;
pub mod metadata;
pub mod pieces;
pub mod reason;
mod secrets;
pub mod stored;
pub mod validate;

pub use error::{Error, Violation};
pub use reason::Reason;

/// Encoded descriptors of every file of the contract, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/penstock.bin"));

macro_rules! areas {
    ($($area:ident $package:literal)*) => {$(
        #[doc = concat!("Generated from the package `", $package, "`; the comments stand in the .proto file.")]
        #[allow(missing_docs, clippy::all, clippy::pedantic, clippy::disallowed_methods)]
        pub mod $area {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    )*};
}

areas! {
    inference "penstock.inference.v1"
    auth "penstock.auth.v1"
    ratelimit "penstock.ratelimit.v1"
    cache "penstock.cache.v1"
    adapter "penstock.adapter.v1"
    status "penstock.status.v1"
    router "penstock.router.v1"
}

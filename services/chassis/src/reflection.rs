//! Reflection, so that grpcurl and the like work unaided: v1, and v1alpha for old builds.

use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Adds reflection over the contract, and over health, to `routes`. Only `services` are listed.
///
/// # Errors
/// The descriptors cannot be read: a bug of ours.
pub fn with_reflection(routes: Routes, services: &[&str]) -> Result<Routes, Error> {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(penstock_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        services.iter().fold(builder, |builder, service| builder.with_service_name(*service))
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

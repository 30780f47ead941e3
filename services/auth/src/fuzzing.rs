//! A door for the fuzz target in `tests/fuzz`. Not there in any other build.

use crate::key::Credential;

/// The public id of a credential that has the form of a key.
pub fn public_id(credential: &str) -> Option<String> {
    Credential::of(credential.to_owned().into())?.id().map(str::to_owned)
}

//! `Debug` of the messages that carry a secret: it never shows the secret.

use std::fmt;

use crate::auth::v1::{AuthenticateRequest, CreateResponse, RotateResponse};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_printed() {
        let secret = "sk-penstock-canary".to_owned();
        let printed = [
            format!("{:?}", AuthenticateRequest { credential: secret.clone() }),
            format!("{:?}", CreateResponse { key: None, secret: secret.clone() }),
            format!("{:?}", RotateResponse { key: None, secret }),
        ];
        assert!(printed.iter().all(|text| !text.contains("canary")), "{printed:?}");
    }
}

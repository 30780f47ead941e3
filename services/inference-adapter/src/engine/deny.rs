//! Members of requests that no engine gets (A7, A8). Everything else that the contract does not name passes
//! unchanged; an engine's own list stands in its file, an operator's in the configuration.

use penstock_proto::{Violation, inference::v1::Extension};

use crate::json::write::fold;

/// Names that steer a gateway: an upstream's address, its credential, its headers. Refused for every engine.
pub(crate) const STEERING: &[&str] = &[
    "api_base",
    "base_url",
    "api_key",
    "api_type",
    "api_version",
    "organization",
    "custom_llm_provider",
    "headers",
    "extra_headers",
    "default_headers",
    "proxy",
    "proxies",
];

/// A violation for each member that is on one of the lists, whatever its case.
pub(crate) fn denied(
    extensions: &[Extension],
    engine: &[&str],
    configured: &[String],
) -> Result<(), Vec<Violation>> {
    let is_denied = |extension: &&Extension| {
        let name = fold(&extension.name);
        STEERING.contains(&&*name)
            || engine.contains(&&*name)
            || configured.iter().any(|denied| fold(denied) == name)
    };
    let found: Vec<_> = extensions
        .iter()
        .filter(is_denied)
        .map(|extension| {
            Violation::new(&*extension.name, "is not allowed through this gateway: leave it out")
        })
        .collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_a8_lists_hold_whatever_the_case() {
        let named = |name: &str| vec![Extension { name: name.into(), json: "1".into() }];
        let configured = ["Grammar".to_owned()];
        for name in ["api_base", "API_Base", "id_slot", "ID_SLOT", "grammar", "GRAMMAR"] {
            let found = denied(&named(name), &["id_slot"], &configured).unwrap_err();
            assert_eq!(found[0].field, name);
        }
        for name in ["top_k", "chat_template_kwargs", "slot"] {
            assert_eq!(denied(&named(name), &["id_slot"], &configured), Ok(()));
        }
    }
}

//! What the commands that call a running Penstock share: its address, the caller's key, moments in words. A key comes
//! from a file or the environment, never from the command line, where every user of the machine could read it.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow};
use penstock_chassis::config::Environment;
use penstock_proto::{Error, metadata::AUTHORIZATION};
use prost_types::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// Where Penstock is unless somebody says otherwise.
pub(crate) const DEFAULT_ADDRESS: &str = "http://127.0.0.1:4000";
/// Variable that holds the admin key.
pub(crate) const ADMIN_KEY: &str = "PENSTOCK_ADMIN_KEY";
/// Variable that holds a key.
pub(crate) const API_KEY: &str = "PENSTOCK_API_KEY";

/// How long a connection may take: longer, and the address is wrong.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// 9999-12-31T23:59:59Z, the last moment that RFC 3339 can write.
const LAST_MOMENT: Duration = Duration::from_secs(253_402_300_799);

/// The address of a Penstock.
///
/// # Errors
/// It is none.
pub(crate) fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from_shared(address.to_owned()).ok();
    endpoint
        .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"))
        .map(|endpoint| endpoint.connect_timeout(CONNECT_TIMEOUT))
        .with_context(|| format!("{address} is not an address such as {DEFAULT_ADDRESS}"))
}

/// A connection to the Penstock at `endpoint`.
///
/// # Errors
/// Nobody is there.
pub(crate) async fn connect(endpoint: &Endpoint) -> anyhow::Result<Channel> {
    let at = endpoint.uri().to_string();
    endpoint.connect().await.with_context(|| format!("cannot reach Penstock at {}", at.trim_end_matches('/')))
}

/// The key that a file holds, else the first that one of these variables does. `None`: there is none.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn key(
    file: Option<&Path>,
    environment: &Environment,
    variables: &[&str],
) -> anyhow::Result<Option<SecretString>> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the key from {}", file.display()))?,
        None => {
            let mut values = variables.iter().filter_map(|name| environment.get(name));
            values.find(|value| !value.trim().is_empty()).unwrap_or_default().to_owned()
        }
    };
    Ok(Some(text.trim()).filter(|key| !key.is_empty()).map(SecretString::from))
}

/// A key as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// # Errors
    /// No key has such characters.
    pub(crate) fn new(key: &SecretString) -> anyhow::Result<Self> {
        let text = SecretString::from(format!("Bearer {}", key.expose_secret()));
        // The error's own text is left out: it may quote what it refuses.
        let mut value = MetadataValue::try_from(text.expose_secret().as_bytes())
            .map_err(|_| anyhow!("the key that was given holds characters that no key has"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Puts the key into a request.
    pub(crate) fn sign<T>(&self, request: &mut Request<T>) {
        request.metadata_mut().insert(AUTHORIZATION, self.0.clone());
    }
}

/// RFC 3339 to the second; `None` for no moment.
pub(crate) fn moment(stamp: Option<Timestamp>) -> Option<String> {
    let moment = SystemTime::try_from(stamp?).ok()?;
    // Beyond it the formatter panics; nothing of ours has such a moment.
    let writable = moment.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since <= LAST_MOMENT);
    Some(if writable {
        humantime::format_rfc3339_seconds(moment).to_string()
    } else {
        "out of range".to_owned()
    })
}

/// What the status says, with every violation on a line of its own.
pub(crate) fn in_words(status: &Status) -> anyhow::Error {
    let error = Error::from(status);
    let mut words = error.message.into_owned();
    if let [_, _, ..] = error.violations.as_slice() {
        for violation in &error.violations {
            // Writing to a string cannot fail.
            let _ = write!(words, "\n  {}: {}", violation.field, violation.message);
        }
    }
    anyhow!(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_first_then_the_variables_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, " of the file\n").unwrap();
        let environment = Environment::of([(API_KEY, " "), (ADMIN_KEY, "of the administrator")]);
        let key = |file: Option<&Path>, environment: &Environment| {
            let key = key(file, environment, &[API_KEY, ADMIN_KEY]).unwrap();
            key.map(|key| key.expose_secret().to_owned())
        };
        assert_eq!(key(Some(&file), &environment).as_deref(), Some("of the file"));
        assert_eq!(key(None, &environment).as_deref(), Some("of the administrator"));
        let both = Environment::of([(API_KEY, "of a caller"), (ADMIN_KEY, "of the administrator")]);
        assert_eq!(key(None, &both).as_deref(), Some("of a caller"));
        assert_eq!(key(None, &Environment::default()), None);
    }

    #[test]
    fn a_key_is_never_quoted() {
        let error = Bearer::new(&SecretString::from("geheim\n\u{1}")).unwrap_err();
        assert!(!format!("{error:#}").contains("geheim"), "{error:#}");
        let bearer = Bearer::new(&SecretString::from("geheim")).unwrap();
        assert!(!format!("{bearer:?}").contains("geheim"), "{bearer:?}");
    }
}

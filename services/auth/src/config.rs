//! The section `[auth]` and the admin key of the environment. Where the service listens is not its business.

use std::{path::PathBuf, time::Duration};

use penstock_chassis::config::{Environment, Section};
use secrecy::SecretString;

use crate::key::CREDENTIAL_MAX_BYTES;

/// Variable that holds the first admin key.
const ADMIN_KEY: &str = "PENSTOCK_ADMIN_KEY";
/// Shortest admin key, in characters: what a person chooses must withstand guessing over the network.
const ADMIN_KEY_MIN_CHARS: usize = 16;
/// How long a router may do without asking again. Revocations are pushed, so this only bounds what a lost
/// push could cost, and how long known callers go on while this service is away.
const MEMO_TTL: Duration = Duration::from_secs(30);
/// Longer, and a partition would keep a revoked key alive for longer than anybody expects.
const MEMO_TTL_MAX: Duration = Duration::from_secs(3600);

/// What the auth service needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of the key store and the pepper.
    pub data_dir: PathBuf,
    /// How long a verdict may be memoised.
    pub memo_ttl: Duration,
    /// The admin key of the environment.
    pub admin_key: Option<SecretString>,
}

impl Config {
    /// Reads the section; mistakes are noted in its document.
    pub fn read(section: &mut Section, environment: &Environment) -> Self {
        let data_dir = section.string("data_dir").unwrap_or_else(|| "penstock-data".to_owned());
        if data_dir.is_empty() {
            section.mistake("data_dir", "must not be empty");
        }
        Self {
            data_dir: data_dir.into(),
            memo_ttl: section.duration("memo_ttl", MEMO_TTL, Duration::ZERO..=MEMO_TTL_MAX),
            admin_key: admin_key(section, environment),
        }
    }
}

fn admin_key(section: &Section, environment: &Environment) -> Option<SecretString> {
    // Compose files pass variables on as empty ones when they are not set.
    let text = environment.get(ADMIN_KEY).filter(|text| !text.is_empty())?;
    // HTTP strips the white space around a credential, and files that secrets come from end in a newline.
    let text = text.trim();
    let message = if text.chars().count() < ADMIN_KEY_MIN_CHARS {
        format!("must have at least {ADMIN_KEY_MIN_CHARS} characters")
    } else if text.len() > CREDENTIAL_MAX_BYTES {
        format!("must have at most {CREDENTIAL_MAX_BYTES} bytes")
    } else if text.chars().any(char::is_control) {
        "must not contain control characters".to_owned()
    } else {
        return Some(SecretString::from(text));
    };
    section.mistake("", format!("the environment variable {ADMIN_KEY} {message}"));
    None
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::Document;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read(text: &str, admin_key: Option<&str>) -> (Config, String) {
        let environment = Environment::of(admin_key.map(|key| (ADMIN_KEY, key)));
        let mut document = Document::parse(Some(text), environment.clone()).unwrap();
        let config = Config::read(&mut document.section("auth"), &environment);
        (config, document.finish().err().map_or_else(String::new, |mistakes| mistakes.to_string()))
    }

    #[test]
    fn has_defaults() {
        let (config, mistakes) = read("", None);
        assert_eq!(mistakes, "");
        assert_eq!(config.data_dir, PathBuf::from("penstock-data"));
        assert_eq!(config.memo_ttl, MEMO_TTL);
        assert!(config.admin_key.is_none());
        assert!(read("", Some("")).0.admin_key.is_none());
    }

    #[test]
    fn the_admin_key_may_hold_spaces_and_is_trimmed() {
        let (config, mistakes) = read("[auth]\nmemo_ttl = '5s'\n", Some("correct horse battery\n"));
        assert_eq!((config.memo_ttl, mistakes.as_str()), (Duration::from_secs(5), ""));
        assert_eq!(config.admin_key.as_ref().unwrap().expose_secret(), "correct horse battery");
        assert!(!format!("{config:?}").contains("horse"));
        assert!(read("", Some("sixteen letters!")).0.admin_key.is_some());
    }

    #[test]
    fn an_admin_key_that_is_too_short_is_a_mistake_that_does_not_show_it() {
        for bad in ["fifteen letters", "            \t   ", "s\u{7}ixteen letters!", &"x".repeat(513)] {
            let (config, mistakes) = read("", Some(bad));
            assert!(config.admin_key.is_none());
            assert!(mistakes.contains(ADMIN_KEY) && !mistakes.contains("letters"), "{mistakes}");
        }
    }

    #[test]
    fn mistakes_have_their_line() {
        let (_, mistakes) = read("[auth]\ndata_dir = ''\nmemo_ttl = '2h'\n", None);
        assert!(mistakes.contains("line 2: auth.data_dir") && mistakes.contains("line 3: auth.memo_ttl"));
    }
}

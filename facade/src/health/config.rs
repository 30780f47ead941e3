//! What callers without a key see of health, section `[facade.health]`.

use penstock_chassis::config::Section;

/// What a caller without a key sees on the faces that need none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Public {
    /// The state as a whole, and how many endpoints are in which.
    Summary,
    /// And the names and states of services, stores and parts.
    Components,
    /// Everything that there is.
    Full,
}

/// A face of health that may need a key. Those of liveness and readiness never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// `/health`.
    Overview,
    /// `/health/status`.
    Status,
    /// `/health/models`.
    Models,
    /// `/health/services`.
    Services,
    /// `/health/history`.
    History,
    /// `penstock.status.v1` on the facade's port.
    Grpc,
}

const FACES: [(&str, Face); 6] = [
    ("overview", Face::Overview),
    ("status", Face::Status),
    ("models", Face::Models),
    ("services", Face::Services),
    ("history", Face::History),
    ("grpc", Face::Grpc),
];

/// Who sees what of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// What callers without a key see.
    pub public: Public,
    /// The faces that refuse them.
    pub need_key: Vec<Face>,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            // What a status page shows: no model, no engine, no reason.
            public: Public::Components,
            // What says how the mesh is made, or what it has been through.
            need_key: vec![Face::Models, Face::Services, Face::History],
        }
    }
}

impl HealthConfig {
    /// Reads the section; mistakes are collected in the document.
    pub(crate) fn read(section: &mut Section) -> Self {
        let default = Self::default();
        let levels =
            [("summary", Public::Summary), ("components", Public::Components), ("full", Public::Full)];
        let public = section.choice("public", &levels, default.public);
        let given = section.has("need_key");
        let names = section.strings("need_key");
        let mut need_key = Vec::new();
        for name in &names {
            match FACES.iter().find(|(word, _)| word == name) {
                Some((_, face)) if !need_key.contains(face) => need_key.push(*face),
                Some(_) => {}
                None => {
                    let words: Vec<_> = FACES.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                    let words = words.join(", ");
                    section.mistake("need_key", format!("holds \"{name}\"; must be some of {words}"));
                }
            }
        }
        Self { public, need_key: if given { need_key } else { default.need_key } }
    }
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::{Document, Environment};

    use super::*;

    fn read(text: &str) -> (HealthConfig, Result<(), String>) {
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let config = HealthConfig::read(&mut document.section("facade").table("health"));
        (config, document.finish().map_err(|mistakes| mistakes.to_string()))
    }

    #[test]
    fn faces_are_named_and_none_may_be() {
        assert_eq!(read("[facade]").0, HealthConfig::default());
        let (config, mistakes) = read("[facade.health]\npublic = 'full'\nneed_key = []");
        assert_eq!(config, HealthConfig { public: Public::Full, need_key: vec![] });
        assert_eq!(mistakes, Ok(()));
        let (config, _) = read("[facade.health]\nneed_key = ['grpc', 'overview', 'grpc']");
        assert_eq!(config.need_key, [Face::Grpc, Face::Overview]);
    }

    #[test]
    fn mistakes_are_named() {
        let (_, mistakes) = read("[facade.health]\npublic = 'all'\nneed_key = ['ready']");
        let mistakes = mistakes.unwrap_err();
        assert!(mistakes.contains("line 2: facade.health.public: is \"all\""), "{mistakes}");
        assert!(mistakes.contains("line 3: facade.health.need_key: holds \"ready\""), "{mistakes}");
    }
}

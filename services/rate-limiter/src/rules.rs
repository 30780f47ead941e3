//! Which limits apply to whom: from a subject to the buckets that it draws on.

use std::{sync::Arc, time::Duration};

use crate::bucket::Spec;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unit {
    /// Requests.
    Requests,
    /// Tokens, prompt and completion together.
    Tokens,
}

/// What shares one bucket of a configured limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every key has its own.
    Key,
    /// All keys of a tenant.
    Tenant,
    /// All requests for a model.
    Model,
    /// Everything.
    Mesh,
}

/// A limit of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// What shares one bucket.
    pub(crate) scope: Scope,
    /// Only this key id, tenant or model. None: each.
    pub(crate) only: Option<String>,
    /// What is counted.
    pub(crate) unit: Unit,
    /// How much.
    pub(crate) spec: Spec,
}

/// Who asks, and for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    /// Public id of the key.
    pub(crate) key_id: String,
    /// Tenant of the key.
    pub(crate) tenant: String,
    /// Registered name of the model.
    pub(crate) model: String,
    /// Limits of the key itself.
    pub(crate) own: Vec<(Unit, Spec)>,
}

/// Names a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Of the configured rule at this index.
    Rule(usize, Box<str>),
    /// Of a key itself. Its limit and burst are not in the name: changing them keeps what was used. The last
    /// member counts those that would have the same name.
    Own(Unit, Duration, Box<str>, usize),
    /// Of no subject: what is taken from it shows that buckets work.
    Probe,
}

/// A limit that applies.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) spec: Spec,
    pub(crate) key: Arc<Key>,
}

/// Every limit that applies to `subject`: those of `rules` in their order, then its own.
pub(crate) fn applied(rules: &[Rule], subject: &Subject) -> Vec<Applied> {
    let configured = rules.iter().enumerate().filter_map(|(index, rule)| {
        let of = match rule.scope {
            Scope::Key => subject.key_id.as_str(),
            Scope::Tenant => subject.tenant.as_str(),
            Scope::Model => subject.model.as_str(),
            Scope::Mesh => "",
        };
        let applies = rule.only.as_deref().is_none_or(|only| only == of);
        applies.then(|| Applied {
            name: name_of(rule.scope, rule.unit),
            unit: rule.unit,
            spec: rule.spec,
            key: Arc::new(Key::Rule(index, of.into())),
        })
    });
    let own = subject.own.iter().enumerate().map(|(index, (unit, spec))| {
        let earlier = subject.own.iter().take(index);
        let twins = earlier.filter(|(other, twin)| other == unit && twin.per() == spec.per()).count();
        Applied {
            name: match unit {
                Unit::Requests => "key.own.requests",
                Unit::Tokens => "key.own.tokens",
            },
            unit: *unit,
            spec: *spec,
            key: Arc::new(Key::Own(*unit, spec.per(), subject.key_id.as_str().into(), twins)),
        }
    });
    configured.chain(own).collect()
}

fn name_of(scope: Scope, unit: Unit) -> &'static str {
    match (scope, unit) {
        (Scope::Key, Unit::Requests) => "key.requests",
        (Scope::Key, Unit::Tokens) => "key.tokens",
        (Scope::Tenant, Unit::Requests) => "tenant.requests",
        (Scope::Tenant, Unit::Tokens) => "tenant.tokens",
        (Scope::Model, Unit::Requests) => "model.requests",
        (Scope::Model, Unit::Tokens) => "model.tokens",
        (Scope::Mesh, Unit::Requests) => "mesh.requests",
        (Scope::Mesh, Unit::Tokens) => "mesh.tokens",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn rule(scope: Scope, only: Option<&str>) -> Rule {
        let spec = Spec::new(1, Duration::from_secs(1), None);
        Rule { scope, only: only.map(str::to_owned), unit: Unit::Requests, spec }
    }

    fn subject(key_id: &str, tenant: &str, model: &str) -> Subject {
        Subject { key_id: key_id.into(), tenant: tenant.into(), model: model.into(), own: Vec::new() }
    }

    #[test]
    fn each_scope_draws_on_its_own_bucket() {
        let rules = [Scope::Key, Scope::Tenant, Scope::Model, Scope::Mesh].map(|scope| rule(scope, None));
        let keys = |subject: &Subject| {
            applied(&rules, subject).into_iter().map(|applied| applied.key).collect::<Vec<_>>()
        };
        // All names alike: still four buckets.
        let all = keys(&subject("x", "x", "x"));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 4);
        let other = keys(&subject("y", "x", "z"));
        let shared: Vec<bool> = all.iter().zip(&other).map(|(a, b)| a == b).collect();
        assert_eq!(shared, [false, true, false, true]);
    }

    #[test]
    fn a_rule_for_one_applies_to_no_other() {
        let rules = [rule(Scope::Tenant, Some("acme")), rule(Scope::Key, Some("acme"))];
        assert_eq!(applied(&rules, &subject("k", "acme", "m")).len(), 1);
        assert_eq!(applied(&rules, &subject("k", "Acme", "acme")).len(), 0);
    }

    #[test]
    fn own_limits_have_a_bucket_each_and_keep_it_when_they_change() {
        let minute = Duration::from_secs(60);
        let own = |limits: &[(u64, Duration)]| {
            let own = limits.iter().map(|(limit, per)| (Unit::Tokens, Spec::new(*limit, *per, None)));
            let subject = Subject { own: own.collect(), ..subject("k", "t", "m") };
            applied(&[], &subject).into_iter().map(|applied| applied.key).collect::<Vec<_>>()
        };
        let before = own(&[(1, minute), (2, minute), (3, 2 * minute)]);
        assert_eq!(before.iter().collect::<HashSet<_>>().len(), 3);
        assert_eq!(before, own(&[(10, minute), (20, minute), (30, 2 * minute)]));
    }
}

//! Tests of the configuration: what is read, what is refused, and that no secret is shown.

use penstock_chassis::config::Environment;
use secrecy::ExposeSecret as _;

use super::*;

fn read(text: &str, environment: &[(&str, &str)], sends: bool) -> (Config, Vec<String>) {
    let environment = Environment::of(environment.iter().copied());
    let mut document = Document::parse(Some(text), environment).unwrap();
    let config = Config::read(&mut document, sends);
    let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
    (config, mistakes.iter().map(ToString::to_string).collect())
}

#[test]
fn everything_has_a_default_but_where_to_send() {
    let text = "[alerts]\n[[alerts.webhooks]]\nurl = 'http://127.0.0.1:1/hook'\n\
                [[alerts.emails]]\nserver = 'mail.example'\nfrom = 'a@example.com'\nto = ['Ops <b@example.com>']";
    let (config, mistakes) = read(text, &[], true);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!(config.patience, Patience { after: 10 * SECOND, grace: 30 * SECOND });
    let names: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["webhook-1", "email-1"]);
    for target in &config.targets {
        assert!(!target.filter.kinds.contains(&Kind::Deployment) && target.filter.kinds.len() == 5);
        assert_eq!((target.max_per_hour, target.timeout), (60, 5 * SECOND));
    }
    let Way::Email(email) = &config.targets[1].way else { panic!("{:?}", config.targets[1]) };
    assert_eq!((email.port, email.tls), (587, Privacy::Starttls));
    assert_eq!(read("", &[], true).0.targets.len(), 0);
}

#[test]
fn secrets_come_from_the_environment_and_are_never_shown() {
    let text = "[alerts]\n[[alerts.webhooks]]\nurl_env = 'HOOK'\nformat = 'slack'\nsecret_env = 'SIGN'\n\
                [[alerts.emails]]\nserver = 'm'\nuser = 'u'\npassword_env = 'PASS'\nfrom = 'a@b.c'\nto = ['a@b.c']";
    let environment =
        [("HOOK", "https://hooks.example/canary-hook"), ("SIGN", "canary-sign"), ("PASS", "canary-pass")];
    let (config, mistakes) = read(text, &environment, true);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let Way::Webhook(webhook) = &config.targets[0].way else { panic!() };
    assert_eq!(webhook.url.expose_secret(), "https://hooks.example/canary-hook");
    assert!(webhook.is_https && webhook.format == Format::Slack);
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    // A process that does not send them does without, and one that does says what is missing.
    assert_eq!(read(text, &[], false).1, Vec::<String>::new());
    let (_, mistakes) = read(text, &[], true);
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    let (_, mistakes) = read(text, &[("HOOK", "canary"), ("SIGN", "x"), ("PASS", "x")], true);
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with("line 3: alerts.webhooks[0].url_env:"), "{mistakes:?}");
    assert!(!mistakes[0].contains("canary"), "{mistakes:?}");
}

#[test]
fn every_mistake_is_named_with_key_and_line() {
    let text = "[alerts]\nafter = 'soon'\nbefore = 1\n\
                [[alerts.webhooks]]\nname = 'a b'\nurl = 'ftp://x'\nformat = 'xml'\nkinds = ['models']\nmin_state = 'up'\n\
                [[alerts.webhooks]]\nurl = 'http://x'\nurl_env = 'X'\nmax_per_hour = 0\n\
                [[alerts.webhooks]]\nname = 'twice'\n\
                [[alerts.emails]]\nname = 'twice'\nserver = 'm'\nport = 0\ntls = 'none'\nuser = 'u'\npassword_env = 'P'\nfrom = 'nobody'\nto = ['a@b.c', 'x']\n\
                [[alerts.emails]]\nuser = 'u'\n";
    let (config, mistakes) = read(text, &[("P", "p")], true);
    assert!(config.targets.is_empty(), "{config:?}");
    let expected = [
        "line 2: alerts.after:",
        "line 3: alerts.before: is not a known key",
        "line 5: alerts.webhooks[0].name:",
        "line 6: alerts.webhooks[0].url:",
        "line 7: alerts.webhooks[0].format:",
        "line 8: alerts.webhooks[0].kinds: holds \"models\"",
        "line 9: alerts.webhooks[0].min_state:",
        "alerts.webhooks[1].url_env: stands beside url",
        "line 13: alerts.webhooks[1].max_per_hour:",
        "alerts.webhooks[2].url: is required",
        "line 17: alerts.emails[0].name: \"twice\" is the name of another target",
        "line 19: alerts.emails[0].port:",
        "line 20: alerts.emails[0].tls: must not be \"none\" with a password",
        "line 23: alerts.emails[0].from: \"nobody\"",
        "line 24: alerts.emails[0].to: \"x\"",
        "alerts.emails[1].server: is required",
        "alerts.emails[1].user: and password_env belong together",
        "alerts.emails[1].from: is required",
        "alerts.emails[1].to: is required",
    ];
    for one in expected {
        assert!(mistakes.iter().any(|mistake| mistake.contains(one)), "{one}\n{}", mistakes.join("\n"));
    }
    assert_eq!(mistakes.len(), expected.len(), "{}", mistakes.join("\n"));
}

//! Alerts: people are told by webhook and e-mail when something is lost for a while and when it is back, whatever
//! becomes of the other targets; and the rules for Prometheus fit the metrics that there are.

use std::{io::Write as _, path::Path, process::Stdio};

use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::until,
    inbox::{Letter, MailServer, Posted, Reply, Webhook},
    mesh::{Plan, deployment, model, one_model},
};
use serde_json::{Value, json};

const HOOK: &str = "/hook/canary-hook-3f81";
const PASSWORD: &str = "canary-password-5a07";
const SIGNING_KEY: &str = "canary-signing-key-c2d4";

/// Looks often, so that what is broken is soon seen; `after` is how long it must last.
fn impatient(after: &str) -> String {
    format!(
        "[inference_adapter]\ndiscovery_interval = \"100ms\"\n\
         [health]\n[[health.checks]]\nname = \"*\"\ninterval = \"100ms\"\n\
         [alerts]\nafter = \"{after}\"\ngrace = \"{after}\"\n"
    )
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[alerts.webhooks]]\nname = \"{name}\"\nurl = \"{url}\"\n{more}\n")
}

fn email(server: &MailServer) -> String {
    format!(
        "[[alerts.emails]]\nserver = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         user = \"robot\"\npassword_env = \"MAIL_PASSWORD\"\nfrom = \"Penstock <robot@example.com>\"\n\
         to = [\"ops@example.com\", \"Boss <boss@example.com>\"]\n",
        server.port()
    )
}

/// The change of a component in a notice.
fn change<'a>(notice: &'a Value, component: &str) -> Option<&'a Value> {
    notice["changes"].as_array()?.iter().find(|change| change["component"] == component)
}

/// Whether a JSON notice says that a component is in this state now.
fn says(posted: &Posted, component: &str, state: &str) -> bool {
    change(&posted.json(), component).is_some_and(|change| change["to"] == state)
}

/// Whether a text says it.
fn tells(text: &str, component: &str, state: &str) -> bool {
    text.contains(&format!("{component} is {state}"))
}

fn slack_text(posted: &Posted) -> String {
    posted.json()["text"].as_str().unwrap().to_owned()
}

fn subject(letter: &Letter) -> &str {
    letter.text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap()
}

both! {
    async fn people_are_told_of_a_loss_and_of_its_end(topology: Topology) {
        let (json, slack, mail) = (Webhook::start().await, Webhook::start().await, MailServer::start().await);
        let engine = Engine::start().await;
        let config = [
            impatient("200ms"),
            "[[alerts.webhooks]]\nname = \"json\"\nurl_env = \"HOOK\"\nsecret_env = \"SIGNING_KEY\"\n".into(),
            "kinds = [\"process\", \"service\", \"deployment\"]\n".into(),
            webhook("slack", &slack.url("/"), "format = \"slack\"\nkinds = [\"deployment\"]\n"),
            email(&mail),
            one_model(&engine),
        ];
        let plan = Plan::new(topology, &config.concat()).env("HOOK", &json.url(HOOK));
        let plan = plan.env("MAIL_PASSWORD", PASSWORD).env("SIGNING_KEY", SIGNING_KEY);
        let mut mesh = plan.start().await;
        for secret in [HOOK, PASSWORD, SIGNING_KEY] {
            mesh.keep_secret(secret);
        }
        let address = engine.address();
        drop(engine);
        let (engine, up, down) = ("deployment/main", "UP", "DOWN");

        let posted = json.wait("the notice of the loss", |posted| says(posted, engine, down)).await;
        let notice = posted.json();
        assert_eq!(posted.line, format!("POST {HOOK} HTTP/1.1"));
        assert_eq!(posted.header("content-type"), Some("application/json"));
        assert!(posted.header("x-penstock-signature").unwrap().starts_with("sha256="), "{posted:?}");
        assert_eq!((&notice["status"], &notice["service"]), (&json!("firing"), &json!("facade")));
        assert!(notice["version"].is_string() && notice["id"].is_string(), "{notice}");
        let lost = change(&notice, engine).unwrap();
        assert_eq!((&lost["kind"], &lost["from"]), (&json!("deployment"), &json!("UP")), "{lost}");
        assert!(lost["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{lost}");

        let posted = slack.wait("the same for Slack", |posted| tells(&slack_text(posted), engine, down)).await;
        assert!(posted.header("x-penstock-signature").is_none());
        let letter = mail.wait("the letter", |letter| tells(&letter.text, "router", "DEGRADED")).await;
        assert_eq!((letter.from.as_str(), letter.to.len()), ("robot@example.com", 2));
        assert_eq!(letter.login, Some(("robot".into(), PASSWORD.into())));
        assert!(subject(&letter).starts_with("[penstock] D"), "{letter:?}");
        assert!(letter.text.contains("Auto-Submitted: auto-generated"), "{letter:?}");
        // Nothing of what an engine or its address is.
        for text in [notice.to_string(), slack_text(&posted), letter.text] {
            assert!(!text.contains(&address.port().to_string()), "{text}");
        }

        let _engine = Engine::start_at(address).await;
        let posted = json.wait("the notice of the return", |posted| says(posted, engine, up)).await;
        assert_eq!(change(&posted.json(), engine).unwrap()["from"], down);
        until("the last word to be that all is well", async || {
            (json.posted().last()?.json()["status"] == "resolved").then_some(())
        }).await;
        slack.wait("the same for Slack", |posted| tells(&slack_text(posted), engine, up)).await;
        mail.wait("the letter", |letter| tells(&letter.text, "router", up)).await;
        // Nobody is told what he did not ask for, and every notice is another one.
        for posted in slack.posted() {
            assert!(!slack_text(&posted).contains("router"), "{posted:?}");
        }
        assert!(mail.letters().iter().all(|letter| !letter.text.contains("- deployment/")), "not by default");
        let notices: Vec<Value> = json.posted().iter().map(Posted::json).collect();
        let mut ids: Vec<String> = notices.iter().map(|notice| notice["id"].to_string()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), notices.len());
        let metrics = mesh.metrics(Service::Facade).await;
        for target in ["json", "slack", "email-1"] {
            let sent = format!("penstock_alerts_sent_total{{target=\"{target}\",outcome=\"sent\"}} ");
            assert!(metrics.lines().any(|line| line.starts_with(&sent) && !line.ends_with(" 0")), "{metrics}");
        }
        // Those who alert by the log have it, too.
        let of_alerts = |line: &Value| line["target"] == "penstock::alerts";
        let alerts: Vec<_> = mesh.log(Service::Facade).into_iter().filter(of_alerts).collect();
        for (message, state) in [("alert", down), ("resolved", up)] {
            let fits = |line: &&Value| {
                line["message"] == message && line["component"] == engine && line["state"] == state
            };
            assert!(alerts.iter().any(|line| fits(&line)), "{alerts:?}");
        }
    }
}

both! {
    /// What is back before it was told is not told; what comes after it is.
    async fn a_blip_is_nobody_s_business(topology: Topology) {
        let json = Webhook::start().await;
        let (blip, lost) = (Engine::start().await, Engine::start().await);
        let config = [
            impatient("5s"),
            webhook("json", &json.url("/"), "kinds = [\"deployment\"]"),
            deployment("blip", &blip.v1()), model("blip", &["blip"], ""),
            deployment("lost", &lost.v1()), model("lost", &["lost"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let is = async |state: u8| {
            let labels = "service=\"inference-adapter\",component=\"deployment/blip\",kind=\"deployment\"";
            let sample = format!("penstock_component_state{{{labels}}} {state}");
            until(&sample, async || {
                let metrics = mesh.metrics(Service::InferenceAdapter).await;
                metrics.lines().any(|line| line == sample).then_some(())
            }).await;
        };
        is(0).await;
        let address = blip.address();
        drop(blip);
        is(2).await;
        let _blip = Engine::start_at(address).await;
        is(0).await;
        drop(lost);
        json.wait("the notice of the other loss", |posted| says(posted, "deployment/lost", "DOWN")).await;
        let notices = json.posted();
        assert!(notices.iter().all(|posted| change(&posted.json(), "deployment/blip").is_none()), "{notices:?}");
    }
}

both! {
    /// A target that hangs, fails or refuses costs nobody else anything, and gets its notice when it can.
    async fn a_target_that_fails_holds_up_nobody(topology: Topology) {
        let silent = Webhook::replying([], Reply::Silence).await;
        let shaky = Webhook::replying([Reply::Status(500), Reply::Status(503)], Reply::Status(204)).await;
        let refusing = Webhook::replying([], Reply::Status(404)).await;
        let leading = Webhook::replying([], Reply::Status(302)).await;
        let (engine, mail) = (Engine::start().await, MailServer::start().await);
        let only = "timeout = \"300ms\"\nkinds = [\"deployment\"]\n";
        let config = [
            impatient("200ms"),
            webhook("silent", &silent.url(HOOK), only),
            webhook("shaky", &shaky.url(HOOK), only),
            webhook("refusing", &refusing.url(HOOK), only),
            webhook("leading", &leading.url(HOOK), only),
            email(&mail),
            // It asks for TLS, and this server has none: nothing goes there.
            email(&mail).replace("tls = \"none\"", "name = \"private\"").replace("ops@", "private@"),
            one_model(&engine),
        ];
        let mut mesh = Plan::new(topology, &config.concat()).env("MAIL_PASSWORD", PASSWORD).start().await;
        mesh.keep_secret(HOOK);
        mesh.keep_secret(PASSWORD);
        drop(engine);
        mail.wait("the letter", |letter| tells(&letter.text, "router", "DEGRADED")).await;
        until("the third attempt", async || (shaky.posted().len() == 3).then_some(())).await;
        let ids: Vec<_> = shaky.posted().iter().map(|posted| posted.json()["id"].clone()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "one notice, three attempts: {ids:?}");
        until("another attempt at the silent one", async || (silent.posted().len() > 1).then_some(())).await;
        let samples = [
            "{target=\"shaky\",outcome=\"failed\"} 2", "{target=\"shaky\",outcome=\"sent\"} 1",
            "{target=\"refusing\",outcome=\"rejected\"} 1", "{target=\"refusing\",outcome=\"failed\"} 0",
            "{target=\"leading\",outcome=\"rejected\"} 1", "{target=\"silent\",outcome=\"sent\"} 0",
        ];
        for sample in samples {
            until(sample, async || {
                let metrics = mesh.metrics(Service::Facade).await;
                metrics.contains(&format!("penstock_alerts_sent_total{sample}")).then_some(())
            }).await;
        }
        until("the attempt without TLS to fail", async || {
            let sample = |outcome| {
                format!("penstock_alerts_sent_total{{target=\"private\",outcome=\"{outcome}\"}} 0\n")
            };
            let metrics = mesh.metrics(Service::Facade).await;
            assert!(metrics.contains(&sample("sent")), "{metrics}");
            (!metrics.contains(&sample("failed"))).then_some(())
        }).await;
        assert!(mail.letters().iter().all(|letter| !letter.to.contains(&"private@example.com".to_owned())));
        assert_eq!((refusing.posted().len(), leading.posted().len()), (1, 1), "no second attempt, no redirect");
        // A courier that waits does not hold up the end.
        for (service, status) in mesh.stop().await {
            assert!(status.success(), "{}: {status}", service.name());
        }
    }
}

/// Runs promtool in the folder of the rules, with `input`: what it said, if it was content.
fn promtool(arguments: &[&str], input: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{path}:{}", tests.join(".promtool").display());
    let mut child = std::process::Command::new("promtool")
        .args(arguments)
        .env("PATH", path)
        .current_dir(tests.join("../deploy/prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: tests/run installs it");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}\n{input}", String::from_utf8_lossy(&said));
}

#[test]
fn the_rules_for_prometheus_are_right() {
    promtool(&["check", "rules", "--lint-fatal", "alerts.yaml"], "");
    promtool(&["test", "rules", "alerts_test.yaml"], "");
}

both! {
    /// promtool has no word against the metrics, and every metric that a rule looks at is there.
    async fn the_metrics_are_those_of_the_rules(topology: Topology) {
        let engine = Engine::start().await;
        let hook = Webhook::start().await;
        let mesh = Mesh::over(topology, &engine, &webhook("json", &hook.url("/"), "")).await;
        assert_eq!(mesh.client().chat(&penstock_tests::client::chat("test-model")).await.status, 200);
        let mut all = String::new();
        for service in mesh.processes_of_topology() {
            let text = mesh.metrics(*service).await;
            let text = classic(&text);
            promtool(&["check", "metrics"], &text);
            all += &text;
        }
        let rules = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/alerts.yaml"),
        ).unwrap();
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let mut names: Vec<&str> = rules.split(word).filter(|word| word.starts_with("penstock_")).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() >= 7, "{names:?}");
        for name in names {
            let family = format!("# TYPE {name} ");
            assert!(all.lines().any(|line| line.starts_with(&family)), "{name} is in no metrics\n{all}");
        }
    }
}

/// OpenMetrics as the older text format, which is what promtool reads: there a counter's family has the name of its
/// samples.
fn classic(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let counters: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .map(|name| format!(" {name} "))
        .collect();
    for line in lines.iter_mut().filter(|line| line.starts_with("# ")) {
        if let Some(name) = counters.iter().find(|name| line.contains(name.as_str())) {
            *line = line.replacen(name.as_str(), &format!(" {}_total ", name.trim()), 1);
        }
    }
    lines.join("\n") + "\n"
}

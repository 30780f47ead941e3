//! What a newcomer needs next, on standard output: the address, the key, the models and a line to paste.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use penstock_chassis::{CallContext, Channel, ServerConfig};
use penstock_proto::adapter::v1::{ListRequest, deployments_client::DeploymentsClient};
use secrecy::{ExposeSecret as _, SecretString};

/// Most models that are listed: a screen is short.
const MODELS_MAX: usize = 20;
/// How long the adapter may take to say what it found.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A model that can be asked for, and what is behind it.
#[derive(Debug)]
pub(crate) struct Offer {
    model: String,
    simulated: bool,
    engine: String,
}

/// The models that are offered now.
pub(crate) async fn models(config: &penstock_router::Config, adapter: &Channel) -> Vec<Offer> {
    let call = CallContext::background(TIMEOUT);
    let answer = DeploymentsClient::new(adapter.clone()).list(call.request(ListRequest {})).await;
    let deployments = answer.map(|answer| answer.into_inner().deployments).unwrap_or_default();
    let simulated = |id: &str| deployments.iter().any(|d| d.id == id && d.engine == "simulated");
    if config.routing.models.is_empty() {
        let offers = deployments.iter().map(|deployment| Offer {
            model: deployment.model.clone(),
            simulated: simulated(&deployment.id),
            engine: deployment.id.split('/').next().unwrap_or_default().to_owned(),
        });
        return offers.collect();
    }
    let offers = config.routing.models.iter().map(|model| Offer {
        model: model.name.clone(),
        simulated: model.deployments.iter().all(|target| simulated(&target.id)),
        engine: model.deployments.iter().map(|target| target.id.as_str()).collect::<Vec<_>>().join(", "),
    });
    offers.collect()
}

/// Prints where Penstock is, and the key if one was made now.
pub(crate) fn print_start(
    listen: &ServerConfig,
    key: Option<&SecretString>,
    admin_key_is_set: bool,
) -> io::Result<()> {
    let key = key.map(SecretString::expose_secret);
    io::stdout().write_all(start(listen, key, admin_key_is_set).as_bytes())
}

/// Prints the models and a line to paste.
pub(crate) fn print_models(
    listen: &ServerConfig,
    key: Option<&SecretString>,
    admin_key_is_set: bool,
    offers: &[Offer],
) -> io::Result<()> {
    let variable = if admin_key_is_set { "$PENSTOCK_ADMIN_KEY" } else { "$PENSTOCK_KEY" };
    let key = key.map_or(variable, SecretString::expose_secret);
    io::stdout().write_all(models_text(listen, key, offers).as_bytes())
}

/// Prints a key that was made now, for a process that serves keys alone.
pub(crate) fn print_key(key: Option<&SecretString>) -> io::Result<()> {
    let Some(key) = key else { return Ok(()) };
    writeln!(io::stdout(), "First API key, shown once: {}", key.expose_secret())
}

fn start(listen: &ServerConfig, key: Option<&str>, admin_key_is_set: bool) -> String {
    let base = format!("http://{}", reachable(listen.listen));
    let mut text = format!("Penstock {}\n\n", env!("CARGO_PKG_VERSION"));
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  Address  {base}/v1 (OpenAI's API; gRPC on the same port)");
    let _ = writeln!(text, "           {base} (Anthropic's API, Ollama's API)");
    let _ = writeln!(text, "  Metrics  http://{}/metrics", reachable(listen.metrics_listen));
    let _ = match key {
        Some(key) => writeln!(text, "  API key  {key} (made now, shown once: keep it)"),
        None if admin_key_is_set => writeln!(text, "  API key  the one in PENSTOCK_ADMIN_KEY"),
        None => writeln!(text, "  API key  the one shown at the first start"),
    };
    text
}

fn models_text(listen: &ServerConfig, key: &str, models: &[Offer]) -> String {
    let base = format!("http://{}", reachable(listen.listen));
    let mut text = String::new();
    for (index, offer) in models.iter().take(MODELS_MAX).enumerate() {
        let title = if index == 0 { "Models " } else { "       " };
        let what = if offer.simulated { "a simulated engine, not a language model" } else { &offer.engine };
        let _ = writeln!(text, "  {title}  {} ({what})", offer.model);
    }
    if models.len() > MODELS_MAX {
        let _ = writeln!(text, "           and {} more: GET {base}/v1/models", models.len() - MODELS_MAX);
    }
    let Some(offer) = models.iter().find(|offer| !offer.simulated).or(models.first()) else {
        let _ = writeln!(
            text,
            "  Models   none: the configuration has no [[deployments]]; see penstock.example.toml"
        );
        return text;
    };
    let model = &offer.model;
    let _ = write!(
        text,
        "\nTry it:\n\n  curl -N {base}/v1/chat/completions \\\n    -H \"Authorization: Bearer {key}\" \
         -H 'Content-Type: application/json' \\\n    -d '{{\"model\":\"{model}\",\"stream\":true,\
         \"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'\n\n"
    );
    text
}

/// An address that a client on this machine can reach: not the wildcard.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => ([0, 0, 0, 0, 0, 0, 0, 1], v6.port()).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(model: &str, simulated: bool) -> Offer {
        Offer { model: model.into(), simulated, engine: "ollama:11434".into() }
    }

    fn listen() -> ServerConfig {
        ServerConfig { listen: ([0, 0, 0, 0], 4000).into(), metrics_listen: ([127, 0, 0, 1], 9400).into() }
    }

    #[test]
    fn a_real_model_is_tried_before_the_simulated_one() {
        assert!(start(&listen(), Some("sk-x"), false).contains("sk-x (made now, shown once"));
        let text =
            models_text(&listen(), "sk-x", &[offer("penstock-simulated", true), offer("llama", false)]);
        assert!(text.contains("curl -N http://127.0.0.1:4000/v1/chat/completions"), "{text}");
        assert!(text.contains("\"model\":\"llama\"") && text.contains("Bearer sk-x"), "{text}");
        assert!(text.contains("penstock-simulated (a simulated engine, not a language model)"), "{text}");
    }

    #[test]
    fn without_a_new_key_none_is_shown() {
        assert!(start(&listen(), None, true).contains("the one in PENSTOCK_ADMIN_KEY"));
        assert!(start(&listen(), None, false).contains("the one shown at the first start"));
        let text = models_text(&listen(), "$PENSTOCK_KEY", &[offer("m", false)]);
        assert!(text.contains("Bearer $PENSTOCK_KEY"), "{text}");
    }
}

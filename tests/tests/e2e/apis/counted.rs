//! Limits, metrics and the access log count a request once, by whichever API it is asked.

use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology,
    apis::Api,
    both,
    bounded::until,
    mesh::{deployment, model},
};
use serde_json::json;

use super::{APIS, ask, asking};

both! {
    async fn one_limit_is_for_all_of_them_together(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 8 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let mut left = 8;
        for api in APIS {
            for stream in [false, true] {
                let got = ask(api, &mesh.client(), stream).await;
                got.said();
                left -= 1;
                assert_eq!(got.header("x-ratelimit-limit-requests"), Some("8"), "{api:?}");
                assert_eq!(got.header("x-ratelimit-remaining-requests"), Some(left.to_string().as_str()), "{api:?}");
            }
        }
        let chat = ask(Api::Chat, &mesh.client(), false).await;
        for api in APIS {
            for stream in [false, true] {
                let got = ask(api, &mesh.client(), stream).await;
                assert_eq!(got.refused().status, 429, "{api:?}");
                let code = chat.refused().code.clone().filter(|_| api != Api::Messages);
                assert_eq!(got.refused().code, code, "{api:?}");
                let seconds: u64 = got.header("retry-after").expect("told how long to wait").parse().unwrap();
                let milliseconds: u64 = got.header("retry-after-ms").unwrap().parse().unwrap();
                assert_eq!(milliseconds.div_ceil(1000), seconds, "{api:?}");
                assert_eq!(got.header("x-should-retry"), Some("true"), "{api:?}");
                assert_eq!(got.header("x-ratelimit-remaining-requests"), Some("0"), "{api:?}");
            }
        }
        assert_eq!(engine.calls().len(), 8);
    }
}

both! {
    /// What may come is reserved, by the bound in the words of each API, and what came is settled.
    async fn tokens_are_reserved_and_settled(topology: Topology) {
        let engine = Engine::playing(Script { usage: (7, 4), ..Script::default() }).await;
        let limit = "[[limits]]\napplies_to = \"key\"\ntokens = { per = \"1h\", limit = 1000 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let bound = |api: Api, tokens: u64, stream: bool| {
            asking(api, "test-model", json!({"max_completion_tokens": tokens}), stream)
        };
        let chat = Api::Chat.ask(&mesh.client(), &bound(Api::Chat, 5000, false)).await;
        for api in APIS {
            let got = api.ask(&mesh.client(), &bound(api, 5000, false)).await;
            api.agrees(&chat.outcome, &got.outcome);
            assert_eq!((got.status, got.header("x-should-retry")), (429, Some("false")), "{api:?}");
            assert_eq!(got.header("retry-after"), None, "{api:?}: it can never pass");
        }
        assert_eq!(engine.calls().len(), 0);
        for api in APIS {
            for stream in [false, true] {
                // Each reserves most of the bucket: without the settling of the one before it would be refused.
                until("the reservation to be settled", async || {
                    let got = api.ask(&mesh.client(), &bound(api, 850, stream)).await;
                    assert_eq!(got.header("x-ratelimit-limit-tokens"), Some("1000"), "{api:?}");
                    (got.status == 200).then_some(())
                }).await;
            }
        }
        assert_eq!(engine.calls().len(), 8);
    }
}

/// The value of the samples of `metric` whose labels hold all of `labels`, added up.
fn sum(metrics: &str, metric: &str, labels: &[&str]) -> f64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(metric) && labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

both! {
    async fn each_route_has_its_count_and_the_router_counts_them_alike(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[router]\nretries = 0\n").await;
        let routed = async |label: &str| {
            sum(&mesh.metrics(Service::Router).await, "penstock_rpc_total", &["Inference/Generate", label])
        };
        // In one process router and adapter count into the same registry.
        let each = if topology == Topology::Mesh { 1.0 } else { 2.0 };
        for api in APIS {
            let (whole, failed) = (routed("\"OK\"").await, routed("Inference").await);
            for stream in [false, true] {
                ask(api, &mesh.client(), stream).await.said();
            }
            engine.next(Script::status(400));
            ask(api, &mesh.client(), false).await.refused();
            until("the calls to be counted", async || {
                let now = (routed("\"OK\"").await - whole, routed("Inference").await - failed);
                (now == (2.0 * each, 3.0 * each)).then_some(())
            }).await;
            let text = mesh.metrics(Service::Facade).await;
            let route = format!("route=\"{}\"", api.path());
            let count = |status: &str| sum(&text, "penstock_http_requests_total", &[&route, status]);
            assert_eq!((count("status=\"200\""), count("status=\"400\"")), (2.0, 1.0), "{api:?}: {text}");
        }
    }
}

both! {
    async fn each_leaves_one_line_in_the_access_log(topology: Topology) {
        let engine = Engine::start().await;
        // A deployment for each, so that none suffers from the failures of another.
        let each = APIS.map(|api| {
            let name = format!("{api:?}").to_lowercase();
            deployment(&name, &engine.v1()) + &model(&name, &[&name], "after_commit = \"error\"")
        });
        let mut mesh = Mesh::start(topology, &format!("[router]\nretries = 0\n{}", each.concat())).await;
        let mut lines = Vec::new();
        for api in APIS {
            let name = format!("{api:?}").to_lowercase();
            for (kind, stream, script, outcome) in [
                ("plain", false, Script::default(), "OK"),
                ("stream", true, Script::default(), "OK"),
                ("failed", false, Script::status(500), "ENGINE_FAILED"),
                ("cut", true, Script::broken(["a"], Step::Cut), "ENGINE_CUT"),
            ] {
                let id = format!("{kind}-{api:?}");
                engine.next(script);
                let client = mesh.client().with_header("x-request-id", &id);
                let got = api.ask(&client, &asking(api, &name, json!({}), stream)).await;
                assert_eq!(got.header("x-request-id"), Some(id.as_str()), "{api:?}");
                lines.push((id, outcome));
            }
        }
        let about = |mesh: &Mesh, id: &str| -> Vec<serde_json::Value> {
            let log = mesh.log(Service::Router).into_iter();
            log.filter(|line| line["message"] == "answered" && line["request_id"] == id).collect()
        };
        for (id, outcome) in &lines {
            let line = until(&format!("the line about {id}"), async || about(&mesh, id).pop()).await;
            assert_eq!(line["outcome"], *outcome, "{line}");
        }
        mesh.stop().await;
        for (id, _) in &lines {
            assert_eq!(about(&mesh, id).len(), 1, "{id}");
        }
    }
}

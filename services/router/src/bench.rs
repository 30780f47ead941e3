//! The choice for `examples/decision.rs`, which measures it. Not for anybody else.

use std::{sync::Arc, time::Duration};

use penstock_proto::{
    adapter::v1::Price,
    auth::v1::Principal,
    inference::v1::{
        Capabilities, ChatInput, GenerateRequest, Message, generate_request::Input, message::Content,
    },
};

use crate::{
    choose::{Asked, decide},
    config::{ModelConfig, Routing, Strategy, Target},
    decision::{Candidate, Steering},
    needs::Needs,
    registry::{Deployment, Registry},
};

/// A model with many deployments, and a request for it.
#[derive(Debug)]
pub struct Bench {
    registry: Registry,
    candidates: Vec<Candidate>,
    principal: Principal,
    steering: Steering,
    request: GenerateRequest,
}

impl Bench {
    /// A model of that strategy; of its deployments each has another weight, price and load.
    pub fn new(strategy: Strategy, deployments: u32) -> Self {
        let ids: Vec<_> = (0..deployments).map(|n| format!("deployment-{n}")).collect();
        let targets = ids.iter().zip(0..).map(|(id, n)| Target {
            id: id.clone(),
            weight: f64::from(1 + n % 3),
            priority: 1,
        });
        let model = ModelConfig {
            name: "m".into(),
            deployments: targets.collect(),
            strategy,
            ..ModelConfig::default()
        };
        let deployment = |(id, n): (&String, u32)| {
            let deployment = Deployment {
                id: id.clone(),
                price: Some(Price { input: f64::from(n * 7 % 13), output: 1.0 }),
                capabilities: Some(Capabilities { context_tokens: Some(8192), ..Capabilities::default() }),
                loaded: Some(n % 2 == 0),
                max_concurrent: 4,
                ..Deployment::default()
            };
            deployment.load.times(false).first_content(Duration::from_millis(u64::from(n * 31 % 97)));
            Arc::new(deployment)
        };
        let reported: Vec<_> = ids.iter().zip(0..).map(deployment).collect();
        let candidate = |one: &Arc<Deployment>| Candidate { model: "m".into(), deployment: Arc::clone(one) };
        let content = Content::Text("What is the capital of France? ".repeat(40));
        let message = Message { role: "user".into(), content: Some(content), ..Message::default() };
        Self {
            candidates: reported.iter().map(candidate).collect(),
            registry: Registry::new(&Routing { models: vec![model], auto: None }, &reported),
            principal: Principal::default(),
            steering: Steering::default(),
            request: GenerateRequest {
                input: Some(Input::Chat(ChatInput { messages: vec![message] })),
                ..GenerateRequest::default()
            },
        }
    }

    /// One whole decision; gives how many would be asked.
    pub fn decide(&self) -> usize {
        let asked = Asked {
            name: "m",
            needs: Needs::CHAT,
            prompt_tokens: 310,
            completion_tokens: 256,
            principal: &self.principal,
            steering: &self.steering,
            request: Some(&self.request),
            counts: false,
            attempts: 4,
            all: false,
        };
        let decided = decide(&self.registry, &asked);
        decided.ok().and_then(|decided| decided.route.ok()).map_or(0, |route| route.candidates.len())
    }

    /// What it is compared with: a copy of the list, sorted by a number at random.
    pub fn baseline(&self) -> usize {
        let mut copy: Vec<_> = self.candidates.iter().map(|one| (fastrand::u64(..), one.clone())).collect();
        copy.sort_unstable_by_key(|(number, _)| *number);
        copy.len()
    }
}

//! Callers by gRPC: the same policy, the same answer, errors with their details.

use std::time::Duration;

use penstock_proto::inference::v1::{GenerateResponse, ListModelsRequest};
use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::within,
    client,
    grpc::{channel, chat, inference, keyed, reason},
    mesh::{deployment, model, one_model},
};
use serde_json::Value;
use tonic::{Code, Streaming};
use tonic_types::StatusExt as _;

async fn texts(mut answer: Streaming<GenerateResponse>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(message) = within("a message", answer.message()).await.unwrap() {
        for chunk in message.chunks {
            let contents = chunk.choices.into_iter().filter_map(|choice| choice.delta?.content);
            texts.extend(contents.filter(|text| !text.is_empty()));
        }
    }
    texts
}

both! {
    async fn get_the_same_answer_chunk_for_chunk(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut grpc = inference(mesh.grpc()).await;
        let mut request = chat("test-model");
        request.stream = true;
        let answer = within("Generate", grpc.generate(keyed(mesh.key(), request))).await.unwrap();
        assert!(answer.metadata().contains_key("x-request-id"));
        assert_eq!(answer.metadata().get("x-penstock-model").unwrap(), "test-model");
        let by_grpc = texts(answer.into_inner()).await;
        let events = mesh.client().stream(&client::chat("test-model")).await.rest().await;
        let by_rest: Vec<String> = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok())
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .filter(|text| !text.is_empty())
            .collect();
        assert_eq!(by_grpc, by_rest);
        assert_eq!(by_grpc.concat(), "Hello, world!");
        assert_eq!(engine.calls()[0].body, engine.calls()[1].body);

        let plain = within("Generate", grpc.generate(keyed(mesh.key(), chat("test-model")))).await.unwrap();
        assert_eq!(texts(plain.into_inner()).await, ["Hello, world!"]);
        let models = grpc.list_models(keyed(mesh.key(), ListModelsRequest { model: None })).await.unwrap();
        assert_eq!(models.into_inner().models[0].id, "test-model");
    }
}

both! {
    async fn meet_the_same_policy(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 1 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let mut grpc = inference(mesh.grpc()).await;
        let refused = grpc.generate(chat("test-model")).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "INVALID_API_KEY"));
        let refused = grpc.generate(keyed("wrong", chat("test-model"))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "INVALID_API_KEY"));
        let refused = grpc.generate(keyed(mesh.key(), chat("nobody"))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "MODEL_NOT_FOUND"));

        let mut wrong = chat("test-model");
        wrong.temperature = Some(9.0);
        wrong.n = Some(0);
        let refused = grpc.generate(keyed(mesh.key(), wrong)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
        let details = refused.get_error_details();
        let fields: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["temperature", "n"]);
        assert_eq!(engine.calls().len(), 0);

        let answer = grpc.generate(keyed(mesh.key(), chat("test-model"))).await.unwrap();
        assert_eq!(texts(answer.into_inner()).await.concat(), "Hello, world!");
        let refused = grpc.generate(keyed(mesh.key(), chat("test-model"))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE_LIMIT_EXCEEDED"));
        assert!(refused.get_error_details().retry_info().is_some());
        assert_eq!(refused.metadata().get("x-ratelimit-limit-requests").unwrap(), "1");
    }
}

both! {
    /// Never OK for what was cut.
    async fn see_how_a_stream_ended(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut request = chat("test-model");
        request.stream = true;
        let mut answer =
            inference(mesh.grpc()).await.generate(keyed(mesh.key(), request)).await.unwrap().into_inner();
        let end = loop {
            match within("a message or the end", answer.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a cut answer ended with OK"),
                Err(status) => break status,
            }
        };
        assert_eq!((end.code(), reason(&end).as_str()), (Code::Unavailable, "ENGINE_CUT"));
    }
}

both! {
    /// A deadline bounds the stream's body, not only its head, and reaches the engine.
    async fn have_their_deadline_kept(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut message = chat("test-model");
        message.stream = true;
        let mut request = keyed(mesh.key(), message);
        // Set by hand: tonic's own timeout would end the call on this side.
        request.metadata_mut().insert("grpc-timeout", "400m".parse().unwrap());
        let mut answer = inference(mesh.grpc()).await.generate(request).await.unwrap().into_inner();
        let end = loop {
            match within("a message or the end", answer.message()).await {
                Ok(message) => assert!(message.is_some(), "the deadline was not kept"),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
        engine.call(0).await.ended().await;
    }
}

both! {
    /// B8: what services say to each other is not for callers to say.
    async fn cannot_choose_a_deployment(topology: Topology) {
        let (engine, secret) = (Engine::start().await, Engine::start().await);
        let config =
            [one_model(&engine), deployment("secret", &secret.v1()), model("other", &["secret"], "")];
        let mesh = Mesh::start(topology, &config.concat()).await;
        for address in [mesh.grpc(), mesh.address(Service::Facade)] {
            let mut request = keyed(mesh.key(), chat("test-model"));
            request.metadata_mut().insert("x-penstock-deployment", "secret".parse().unwrap());
            let answer = inference(address).await.generate(request).await.unwrap();
            assert_eq!(texts(answer.into_inner()).await.concat(), "Hello, world!");
        }
        assert_eq!((engine.calls().len(), secret.calls().len()), (2, 0));
    }
}

both! {
    /// A16: the facade's one port takes gRPC and passes it on; what nobody serves is UNIMPLEMENTED.
    async fn come_in_by_the_facade_as_well(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let facade = mesh.address(Service::Facade);
        let mut request = chat("test-model");
        request.stream = true;
        let answer = inference(facade).await.generate(keyed(mesh.key(), request)).await.unwrap();
        assert_eq!(texts(answer.into_inner()).await.len(), 4);
        let refused = inference(facade).await.generate(chat("test-model")).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_API_KEY");

        let mut grpc = tonic::client::Grpc::new(channel(facade).await);
        for path in ["/penstock.inference.v1.Inference/Nothing", "/nobody.v1.Nobody/Get"] {
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<ListModelsRequest, ListModelsRequest>::default();
            let call = grpc.unary(tonic::Request::new(ListModelsRequest::default()), path.parse().unwrap(), codec);
            let refused = within(path, call).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented, "{path}: {refused:?}");
        }
    }
}

both! {
    async fn that_leave_stop_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut message = chat("test-model");
        message.stream = true;
        let mut best = Duration::MAX;
        for attempt in 0..5 {
            let mut grpc = inference(mesh.grpc()).await;
            let mut answer = grpc.generate(keyed(mesh.key(), message.clone())).await.unwrap().into_inner();
            within("the first message", answer.message()).await.unwrap().unwrap();
            let left = std::time::Instant::now();
            drop((answer, grpc));
            let call = engine.call(attempt).await;
            call.ended().await;
            best = best.min(call.gone_at().unwrap().saturating_duration_since(left));
        }
        assert!(best <= Duration::from_millis(100), "the engine was stopped after {best:?} at best");
    }
}

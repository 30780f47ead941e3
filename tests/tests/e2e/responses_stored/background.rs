//! Responses that nobody waits for: made, ended, lost with their router, finished or not by a shutdown.

use super::*;

both! {
    async fn nobody_waits_and_it_is_made(topology: Topology) {
        let engine = Engine::playing(Script::gated(["Hello", ", world!"])).await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let begun = create(&client, &asked("?", json!({"background": true, "instructions": "be brief"}))).await;
        let id = id(&begun);
        assert_eq!((&begun["status"], &begun["background"]), (&json!("in_progress"), &json!(true)));
        assert_eq!((&begun["output"], &begun["completed_at"]), (&json!([]), &Value::Null));
        assert_eq!(get(&client, &id).await, begun);
        assert_eq!(items(&client, &id, "").await["data"].as_array().unwrap().len(), 1);
        let metrics = mesh.metrics(Service::Router).await;
        assert!(metrics.contains("penstock_background_responses 1"), "{metrics}");
        let early = post(&client, &asked("?", json!({"previous_response_id": id}))).await;
        assert_eq!(early.problem(422, "invalid_value")["error"]["param"], "previous_response_id");
        let other = another_tenant(&mut mesh).await;
        for answer in [other.get(&path(&id)).await, cancel(&other, &id).await, delete(&other, &id).await] {
            answer.problem(404, "not_found");
        }
        engine.open(3);
        let made = reaches(&client, &id, "completed").await;
        assert_eq!(made["output"][0]["content"][0]["text"], "Hello, world!");
        assert_eq!((&made["usage"]["input_tokens"], &made["background"]), (&json!(7), &json!(true)));
        assert_eq!(cancel(&client, &id).await.json(), made, "what has ended stays as it is");
        until("the place to be free", async || {
            let metrics = mesh.metrics(Service::Router).await;
            metrics.contains("penstock_background_responses 0").then_some(())
        })
        .await;
        engine.open(3);
        create(&client, &asked("and?", json!({"previous_response_id": id}))).await;
        assert_eq!(heard(&engine, 1).await, said(&[("user", "?"), ("assistant", "Hello, world!"), ("user", "and?")]));
        assert_eq!(delete(&client, &id).await.status, 200);
        client.get(&path(&id)).await.problem(404, "not_found");
    }
}

both! {
    /// C1: who ends it ends the engine's work, too; what came of it before is not passed off as an answer.
    async fn cancelled_or_deleted_while_the_engine_hangs(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let first = id(&create(&client, &asked("?", json!({"background": true}))).await);
        let call = engine.call(0).await;
        let cancelled = cancel(&client, &first).await.json();
        assert_eq!((&cancelled["status"], &cancelled["output"]), (&json!("cancelled"), &json!([])));
        assert_eq!(call.ended().await, End::ClientGone);
        assert_eq!(get(&client, &first).await, cancelled);
        assert_eq!(cancel(&client, &first).await.json(), cancelled, "once more changes nothing");
        let go_on = post(&client, &asked("?", json!({"previous_response_id": first}))).await;
        go_on.problem(422, "invalid_value");
        let second = id(&create(&client, &asked("?", json!({"background": true}))).await);
        let call = engine.call(1).await;
        assert_eq!(delete(&client, &second).await.status, 200);
        client.get(&path(&second)).await.problem(404, "not_found");
        assert_eq!(call.ended().await, End::ClientGone);
        until("the jobs to have ended", async || {
            let metrics = mesh.metrics(Service::Router).await;
            metrics.contains("penstock_background_responses 0").then_some(())
        })
        .await;
        client.get(&path(&second)).await.problem(404, "not_found");
        assert_eq!(get(&client, &first).await, cancelled);
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    async fn an_engine_that_fails_is_told_when_asked(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
        let mesh = Mesh::over(topology, &engine, "[router]\nretries = 0\n").await;
        let client = mesh.client();
        let begun = id(&create(&client, &asked("?", json!({"background": true}))).await);
        let failed = reaches(&client, &begun, "failed").await;
        assert_eq!(failed["error"]["code"], "server_error");
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(!message.is_empty() && !failed.to_string().contains("secret detail"), "{failed}");
        assert_eq!((&failed["output"], &failed["completed_at"]), (&json!([]), &Value::Null));
        // What is wrong from the start is refused at the start, and nothing is begun.
        for (members, field) in [
            (json!({"store": false}), "background"), (json!({"stream": true}), "stream"),
            (json!({"temperature": 9}), "temperature"),
        ] {
            let wrong = post(&client, &asked("?", with(json!({"background": true}), members))).await;
            assert_eq!(wrong.problem(422, "invalid_value")["error"]["param"], field);
        }
        let unknown = with(asked("?", json!({"background": true})), json!({"model": "nobody"}));
        post(&client, &unknown).await.problem(404, "model_not_found");
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// By gRPC, where no facade has looked at it: what no Generate would begin is not begun either.
    async fn what_is_wrong_is_never_begun(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut client = ResponsesClient::new(channel(mesh.grpc()).await);
        let right = GenerateRequest {
            store: Some(true),
            response: Some(ResponseTerms::default()),
            ..grpc::chat("test-model")
        };
        let start = |request: &GenerateRequest| {
            keyed(mesh.key(), StartResponseRequest { request: Some(request.clone()) })
        };
        let mut only_cached = start(&right);
        only_cached.metadata_mut().insert("cache-control", "only-if-cached".parse().unwrap());
        assert_eq!(reason(&client.start(only_cached).await.unwrap_err()), "NOT_CACHED");
        let terms = |request_json: &str| {
            Some(ResponseTerms { request_json: Some(request_json.to_owned()), ..ResponseTerms::default() })
        };
        for response in [None, terms("x"), terms("[]")] {
            let wrong = start(&GenerateRequest { response, ..right.clone() });
            assert_eq!(reason(&client.start(wrong).await.unwrap_err()), "INVALID_REQUEST");
        }
        let metrics = mesh.metrics(Service::Router).await;
        assert!(metrics.contains("penstock_background_responses 0"), "{metrics}");
        assert!(engine.calls().is_empty());
    }
}

both! {
    /// G8: as many as may be, and no more; one that ends makes room.
    async fn a_full_house_says_so(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "[router]\nbackground_max = 1\n").await;
        let client = mesh.client();
        let first = id(&create(&client, &asked("?", json!({"background": true}))).await);
        engine.call(0).await;
        let full = post(&client, &asked("?", json!({"background": true}))).await;
        full.problem(503, "overloaded");
        assert!(full.header("retry-after").is_some());
        cancel(&client, &first).await;
        engine.next(Script::default());
        let second = until("room for another one", async || {
            let answer = post(&client, &asked("?", json!({"background": true}))).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        reaches(&client, &id(&second), "completed").await;
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    /// I4: what nobody will finish is said to have failed, once its time is up.
    async fn a_killed_router_leaves_nothing_pending_for_ever(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mut mesh = Mesh::over(topology, &engine, "[router]\nbackground_timeout = \"2s\"\n").await;
        let client = mesh.client();
        let begun = id(&create(&client, &asked("?", json!({"background": true}))).await);
        let call = engine.call(0).await;
        mesh.kill(Service::Router);
        assert_eq!(call.ended().await, End::ClientGone);
        mesh.restart(Service::Router);
        mesh.ready().await;
        let failed = until("what is lost to have failed", async || {
            let answer = client.get(&path(&begun)).await;
            (answer.status == 200 && answer.json()["status"] == "failed").then(|| answer.json())
        })
        .await;
        let message = failed["error"]["message"].as_str().unwrap();
        assert!(message.contains("stopped"), "{failed}");
        assert_eq!(delete(&client, &begun).await.status, 200);
        client.get(&path(&begun)).await.problem(404, "not_found");
        assert_eq!(engine.calls().len(), 1, "nobody asks again for what failed");
    }
}

both! {
    /// D: a background answer has a deadline of its own.
    async fn what_takes_too_long_fails(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "[router]\nbackground_timeout = \"1s\"\n").await;
        let client = mesh.client();
        let begun = id(&create(&client, &asked("?", json!({"background": true}))).await);
        let call = engine.call(0).await;
        let failed = reaches(&client, &begun, "failed").await;
        assert_eq!(failed["error"]["code"], "server_error");
        assert_eq!(call.ended().await, End::ClientGone);
    }
}

both! {
    /// I2: an answer that is being made while nobody waits is finished before the process ends.
    async fn a_shutdown_finishes_what_it_can(topology: Topology) {
        // Longer than a process waits for any other task.
        let slow = [Step::Wait(Duration::from_secs(4)), Step::Text("Hello".into()), Step::Finish("stop"), Step::Usage,
            Step::Done];
        let engine = Engine::playing(Script::steps(slow)).await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let begun = id(&create(&client, &asked("?", json!({"background": true}))).await);
        engine.call(0).await;
        mesh.process(Service::Router).terminate();
        assert!(mesh.process(Service::Router).exit().await.success());
        mesh.restart(Service::Router);
        mesh.ready().await;
        let made = until("the router to be reached again", async || {
            let answer = client.get(&path(&begun)).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!((&made["status"], &made["output"][0]["content"][0]["text"]), (&json!("completed"), &json!("Hello")));
    }
}

both! {
    /// I2: what cannot be finished in time is stored as what it is.
    async fn a_shutdown_says_what_it_could_not_finish(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mut mesh = Mesh::over(topology, &engine, "[shutdown]\ndrain_limit = \"300ms\"\n").await;
        let client = mesh.client();
        let begun = id(&create(&client, &asked("?", json!({"background": true}))).await);
        let call = engine.call(0).await;
        mesh.process(Service::Router).terminate();
        assert!(mesh.process(Service::Router).exit().await.success());
        assert_eq!(call.ended().await, End::ClientGone);
        let said = mesh.process(Service::Router).said();
        assert_eq!(said.matches("\"message\":\"answered\"").count(), 1, "it is accounted for: {said}");
        mesh.restart(Service::Router);
        mesh.ready().await;
        let failed = until("the router to be reached again", async || {
            let answer = client.get(&path(&begun)).await;
            (answer.status == 200).then(|| answer.json())
        })
        .await;
        assert_eq!(failed["status"], "failed", "{failed}");
        assert_eq!(failed["error"]["code"], "server_error");
    }
}

/// What one router makes another one sees, ends and deletes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_routers_are_as_one() {
    let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
    let mesh = Plan::new(Topology::Mesh, &one_model(&engine)).twice(Service::Router).start().await;
    let mut here = ResponsesClient::new(channel(mesh.grpc()).await);
    let mut there = ResponsesClient::new(channel(mesh.second_address()).await);
    let mut request = grpc::chat("test-model");
    (request.store, request.response) = (Some(true), Some(ResponseTerms::default()));
    let start = StartResponseRequest { request: Some(request) };
    for (call, deletes) in [false, true].into_iter().enumerate() {
        let begun =
            here.start(keyed(mesh.key(), start.clone())).await.unwrap().into_inner().response.unwrap();
        let call = engine.call(call).await;
        let get = GetResponseRequest { id: begun.id.clone(), without_input: true };
        let seen = there.get(keyed(mesh.key(), get.clone())).await.unwrap().into_inner().response.unwrap();
        assert_eq!(seen, begun);
        if deletes {
            there.delete(keyed(mesh.key(), DeleteResponseRequest { id: begun.id })).await.unwrap();
        } else {
            let cancel = CancelResponseRequest { id: begun.id };
            let ended = there.cancel(keyed(mesh.key(), cancel)).await.unwrap().into_inner().response.unwrap();
            assert_eq!(ended.status(), ResponseStatus::Cancelled);
        }
        assert_eq!(call.ended().await, End::ClientGone, "the other one hears of it");
        let after = here.get(keyed(mesh.key(), get)).await;
        match after {
            Ok(_) if deletes => panic!("what is deleted is there"),
            Ok(seen) => assert_eq!(seen.into_inner().response.unwrap().status(), ResponseStatus::Cancelled),
            Err(status) => assert!(deletes && reason(&status) == "NOT_FOUND", "{status:?}"),
        }
    }
    engine.next(Script::default());
    let begun = there.start(keyed(mesh.key(), start)).await.unwrap().into_inner().response.unwrap();
    let get = GetResponseRequest { id: begun.id, without_input: true };
    until("what the other one makes", async || {
        let got = here.get(keyed(mesh.key(), get.clone())).await.unwrap().into_inner().response.unwrap();
        (got.status() == ResponseStatus::Completed).then_some(())
    })
    .await;
}

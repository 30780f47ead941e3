//! Whom a request is put to, and when: before an adapter in this process that does as it is told. The clock is
//! paused, and by chance every pause is as long as it can be.

mod scripted;

use std::time::Duration;

use futures_util::StreamExt as _;
use penstock_proto::inference::v1::{CountTokensRequest, EmbedRequest, GenerateRequest};

use self::scripted::*;
use super::*;
use crate::config::{Hedge, ModelConfig};

#[tokio::test(start_paused = true)]
async fn the_first_that_answers_answers() {
    let bench = Bench::new(&["a", "b", "z"]);
    assert_eq!(bench.ask().await, answered("a", "Hello", 0));
    assert_eq!(bench.adapter.asked(), "a!@0");
    assert_eq!(bench.noted(), "first:a=OK");
    assert_eq!(bench.adapter.left(), "", "the call was heard to its end");
}

#[tokio::test(start_paused = true)]
async fn a_single_deployment_is_asked_again_after_growing_pauses() {
    let bench =
        Bench::new(&["a"]).plays("a", fail(Reason::EngineFailed)).plays("a", fail(Reason::EngineOverloaded));
    assert_eq!(bench.ask().await, answered("a", "Hello", 0));
    assert_eq!(bench.adapter.asked(), "a@0 a@100 a@300");
    assert_eq!(bench.noted(), "first:a=ENGINE_FAILED retry:a=ENGINE_OVERLOADED retry:a=OK");
}

#[tokio::test(start_paused = true)]
async fn one_that_keeps_failing_is_asked_three_times_and_no_more() {
    let mut bench = Bench::new(&["a"]);
    for _ in 0..9 {
        bench = bench.plays("a", fail(Reason::EngineFailed));
    }
    assert_eq!(bench.ask().await, Err((Reason::EngineFailed, 1)));
    assert_eq!(bench.adapter.asked(), "a@0 a@100 a@300");
}

#[tokio::test(start_paused = true)]
async fn another_deployment_is_asked_at_once_and_another_model_last() {
    let bench = Bench::new(&["a", "b", "z"])
        .plays("a", fail(Reason::EngineTimeout))
        .plays("b", fail(Reason::EngineUnreachable));
    assert_eq!(bench.ask().await, answered("z", "Hello", 2));
    assert_eq!(bench.adapter.asked(), "a!@0 b@0 z@0");
    assert_eq!(
        bench.noted(),
        "first:a=ENGINE_TIMEOUT failover:b=ENGINE_UNREACHABLE fallback:z=OK",
        "and `z` is asked for its own model"
    );
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_tried_once_more_at_once() {
    let bench = Bench::new(&["a", "b"]).plays("a", fail(Reason::EngineReset));
    assert_eq!(bench.ask().await, answered("a", "Hello", 0));
    assert_eq!(bench.adapter.asked(), "a!@0 a!@0");
}

/// D3.
#[tokio::test(start_paused = true)]
async fn an_engine_is_not_asked_sooner_than_it_said() {
    let bench = Bench::new(&["a"]).plays("a", fail_until(Reason::EngineOverloaded, 1500));
    assert_eq!(bench.ask().await, answered("a", "Hello", 0));
    assert_eq!(bench.adapter.asked(), "a@0 a@1600");
    let bench = Bench::new(&["a"]).plays("a", fail_until(Reason::EngineOverloaded, 60_000));
    let (error, _) = bench.begin().await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(60)), "the caller is told");
    assert_eq!(bench.adapter.asked(), "a@0");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_is_begun_that_the_deadline_does_not_leave_room_for() {
    let mut bench = Bench::new(&["a"]).plays("a", fail(Reason::EngineFailed));
    bench.caller.context = CallContext::background(Duration::from_millis(140));
    assert_eq!(bench.ask().await, Err((Reason::EngineFailed, 1)));
    assert_eq!(bench.adapter.asked(), "a@0");
    assert_eq!(bench.adapter.began.elapsed(), Duration::ZERO, "and nobody waits for nothing");
    bench.caller.context = CallContext::background(Duration::ZERO);
    assert_eq!(bench.ask().await, Err((Reason::DeadlineExceeded, 0)));
}

/// D5: what is not in the budget is not asked, and the caller learns when to come back.
#[tokio::test(start_paused = true)]
async fn without_budget_the_first_error_goes_out() {
    let bench = Bench::new(&["a", "b"]).without_budget().plays("a", fail(Reason::EngineFailed));
    let (error, failures) = bench.begin().await.unwrap_err();
    assert_eq!((error.reason, failures), (Reason::EngineFailed, 1));
    assert_eq!(error.retry_after, Some(RETRY_AFTER));
    assert_eq!(bench.adapter.asked(), "a!@0");
    assert!(bench.measure("penstock_retry_budget_exhausted_total 1"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_was_not_asked_costs_no_budget() {
    let bench = Bench::new(&["a", "b", "c"])
        .without_budget()
        .plays("a", fail_until(Reason::CircuitOpen, 5000))
        .plays("b", fail_until(Reason::EngineBusy, 9000));
    assert_eq!(bench.ask().await, answered("c", "Hello", 2));
    assert!(bench.measure("penstock_retry_budget_exhausted_total 0"));
    // And what was taken for one that then was not asked is given back.
    let mut bench = Bench::new(&["a", "b", "z"]);
    bench.dispatch.budget = Arc::new(Mutex::new(Budget::new(0.1, 0, Instant::now())));
    (0..9).for_each(|_| bench.dispatch.budget().deposit(Instant::now()));
    let bench = bench.plays("a", fail(Reason::EngineTimeout)).plays("b", fail(Reason::CircuitOpen));
    assert_eq!(bench.ask().await, answered("z", "Hello", 2));
    let (error, _) = {
        let bench = bench.plays("a", fail(Reason::EngineTimeout));
        bench.begin().await.unwrap_err()
    };
    assert_eq!(error.reason, Reason::EngineTimeout, "the one further attempt was used");
}

/// What was never asked was never paid for.
#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_in_a_pause_costs_no_budget() {
    let mut bench = Bench::new(&["a"]).plays("a", fail_until(Reason::EngineOverloaded, 1500));
    bench.dispatch.budget = Arc::new(Mutex::new(Budget::new(0.0, 1, Instant::now())));
    let left = |bench: &Bench| {
        let mut budget = bench.dispatch.budget();
        std::iter::from_fn(|| budget.withdraw(Instant::now())).count()
    };
    tokio::time::timeout(Duration::from_secs(1), bench.ask()).await.unwrap_err();
    assert_eq!(bench.adapter.asked(), "a@0");
    assert_eq!(left(&bench), 10);
    // And with nothing left nobody waits.
    let bench = bench.plays("a", fail_until(Reason::EngineOverloaded, 1500));
    let began = Instant::now();
    assert_eq!(bench.ask().await, Err((Reason::EngineOverloaded, 1)));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(bench.measure("penstock_retry_budget_exhausted_total 1"));
}

/// D5: all engines fail under load.
#[tokio::test(start_paused = true)]
async fn failing_engines_are_asked_a_share_more_than_there_are_requests() {
    let mut bench = Bench::new(&["a", "b"]);
    bench.dispatch.budget = Arc::new(Mutex::new(Budget::new(0.2, 1, Instant::now())));
    for id in ["a", "b"] {
        let plays = std::iter::repeat_n(fail(Reason::EngineFailed), 1000).collect();
        bench.adapter.plays.lock().unwrap().insert(id.into(), plays);
    }
    let all = (0..200).map(|_| bench.ask());
    let ends = futures_util::future::join_all(all).await;
    assert!(ends.iter().all(|end| end.as_ref().is_err_and(|(reason, _)| *reason == Reason::EngineFailed)));
    let asked = bench.adapter.asked.lock().unwrap().len();
    assert!((200..=200 + 40 + 10).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn where_nobody_was_asked_the_caller_learns_who_is_back_first() {
    let bench = Bench::new(&["a", "b"])
        .plays("a", fail_until(Reason::CircuitOpen, 3000))
        .plays("b", fail_until(Reason::CircuitOpen, 1000));
    let (error, failures) = bench.begin().await.unwrap_err();
    assert_eq!((error.reason, failures), (Reason::CircuitOpen, 2));
    assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
    let bench = Bench::new(&["a", "b"])
        .plays("a", fail(Reason::EngineTimeout))
        .plays("b", fail_until(Reason::CircuitOpen, 1000));
    assert_eq!(bench.ask().await, Err((Reason::EngineTimeout, 2)), "what an engine said tells more");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_waited_for_only_where_nobody_else_is_left() {
    let mut bench = Bench::new(&["a", "b", "z"]);
    for id in ["a", "b"] {
        bench = bench.plays(id, fail_until(Reason::EngineBusy, 5000));
    }
    assert_eq!(bench.ask().await, answered("a", "Hello", 1));
    assert_eq!(bench.adapter.asked(), "a!@0 b@0 a@0");
}

/// What may yet be done about the answer is bounded by the engines that were asked, not by those that were left alone.
#[tokio::test(start_paused = true)]
async fn engines_that_were_asked_are_counted() {
    let bench = Bench::new(&["a", "b", "c"])
        .plays("a", fail(Reason::CircuitOpen))
        .plays("b", fail(Reason::EngineTimeout));
    let begun = bench.begin().await.unwrap();
    assert_eq!((begun.candidate.id(), begun.failures, begun.asked), ("c", 2, 2));
    let busy =
        Bench::new(&["a", "b"]).plays("a", fail(Reason::EngineBusy)).plays("b", fail(Reason::EngineBusy));
    let begun = busy.begin().await.unwrap();
    assert_eq!((begun.candidate.id(), begun.failures, begun.asked), ("a", 1, 1));
    let hedged = Bench::new(&["a", "b"]).hedging(300).plays("a", vec![Silence]);
    assert_eq!(hedged.begin().await.unwrap().asked, 2);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_or_ends_before_its_first_content_is_asked_of_another() {
    for beginning in [
        vec![Say(""), Fail(Error::new(Reason::EngineCut, "x"))],
        vec![Say(""), Say("")],
        vec![Wait(10), Fail(Error::new(Reason::EngineBadAnswer, "x"))],
    ] {
        let bench = Bench::new(&["a", "b"]).plays("a", beginning);
        assert_eq!(bench.ask().await, answered("b", "Hello", 1));
    }
    let broken = vec![Say("Hel"), Fail(Error::new(Reason::EngineCut, "x"))];
    let bench = Bench::new(&["a", "b"]).plays("a", broken);
    assert_eq!(bench.ask().await, answered("a", "Hel<broken>", 0), "after it, it is the answer");
    assert_eq!(bench.adapter.asked(), "a!@0");
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_goes_to_a_larger_context_only() {
    let mut bench = Bench::new(&["a", "b"]).plays("a", fail(Reason::ContextLengthExceeded));
    assert_eq!(bench.ask().await, Err((Reason::ContextLengthExceeded, 1)));
    bench.route.on_context = vec![candidate("large", "y")];
    let bench = bench.plays("a", fail(Reason::ContextLengthExceeded));
    assert_eq!(bench.ask().await, answered("y", "Hello", 1));
    assert_eq!(bench.adapter.asked(), "a!@0 a!@0 y@0");
}

#[tokio::test(start_paused = true)]
async fn a_filters_refusal_goes_to_another_model_only_if_there_is_one_for_it() {
    let filtered = || vec![Say(""), Finish("content_filter")];
    for refusal in [filtered(), fail(Reason::ContentFiltered)] {
        let mut bench = Bench::new(&["a", "b"]).plays("a", refusal.clone());
        bench.route.on_filter = vec![candidate("free", "y")];
        assert_eq!(bench.ask().await, answered("y", "Hello", 1));
        assert_eq!(bench.noted(), "first:a=CONTENT_FILTERED fallback:y=OK");
        // Those refuse, too.
        let bench = bench.plays("a", refusal.clone()).plays("y", refusal);
        assert_eq!(bench.ask().await, Err((Reason::ContentFiltered, 2)));
    }
    let bench = Bench::new(&["a", "b"]).plays("a", filtered());
    assert_eq!(bench.ask().await, answered("a", "", 0), "else it is the answer");
    let mut bench = Bench::new(&["a"]).plays("a", vec![Say("so far"), Finish("content_filter")]);
    bench.route.on_filter = vec![candidate("free", "y")];
    assert_eq!(bench.ask().await, answered("a", "so far", 0), "as is one that said something");
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_of_a_deployment_is_noted() {
    let bench = Bench::new(&["a", "b"]).plays("a", late(30));
    let begun = bench.begin().await.unwrap();
    assert_eq!(bench.load(0).expected(), Some(Duration::from_millis(30)));
    assert_eq!(bench.load(0).in_flight(), 1, "until the stream has ended");
    drop(begun);
    assert_eq!(bench.load(0).in_flight(), 0);
    let silent = vec![Wait(5000), Fail(Error::new(Reason::EngineTimeout, "x"))];
    let bench = Bench::new(&["a", "b"]).plays("a", silent).plays("b", fail(Reason::EngineRejected));
    bench.ask().await.unwrap_err();
    assert_eq!(bench.load(0).expected(), Some(Duration::from_secs(5)), "a timeout costs its time");
    assert_eq!(bench.load(1).expected(), None, "a refusal says nothing of it");
    assert_eq!((bench.load(0).in_flight(), bench.load(1).in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_leaves_nothing_behind() {
    let bench = Bench::new(&["a", "b"]).hedging(100).plays("a", vec![Silence]).plays("b", vec![Silence]);
    tokio::time::timeout(Duration::from_secs(1), bench.ask()).await.unwrap_err();
    assert_eq!(bench.adapter.asked(), "a!@0 b!@100");
    assert_eq!((bench.load(0).in_flight(), bench.load(1).in_flight()), (0, 0));
    assert_eq!(bench.noted(), "first:a=CANCELLED hedge:b=CANCELLED");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(bench.adapter.left().len(), "a b".len(), "both calls were left");
}

mod hedging {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_loses_to_the_one_beside_it() {
        let bench = Bench::new(&["a", "b", "c"]).hedging(300).plays("a", vec![Silence]).plays("b", late(10));
        assert_eq!(bench.ask().await, answered("b", "late", 0));
        assert_eq!(bench.adapter.asked(), "a!@0 b!@300");
        assert_eq!(bench.noted(), "first:a=LOST hedge:b=OK");
        assert_eq!(bench.adapter.left(), "a", "its call was closed");
        assert_eq!(bench.load(0).in_flight(), 0);
        assert_eq!(bench.load(0).expected(), Some(Duration::from_millis(310)), "it takes at least so long");
        assert!(bench.measure("penstock_hedges_total{outcome=\"won\"} 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_in_time_is_never_hedged_and_one_that_comes_first_wins() {
        let bench = Bench::new(&["a", "b"]).hedging(300).plays("a", late(299));
        assert_eq!(bench.ask().await, answered("a", "late", 0));
        assert_eq!(bench.adapter.asked(), "a!@0");
        let bench = Bench::new(&["a", "b"]).hedging(300).plays("a", late(400)).plays("b", late(1000));
        assert_eq!(bench.ask().await, answered("a", "late", 0));
        assert_eq!(bench.noted(), "first:a=OK hedge:b=LOST");
        assert_eq!(bench.adapter.left(), "b");
        assert!(bench.measure("penstock_hedges_total{outcome=\"lost\"} 1"));
    }

    #[tokio::test(start_paused = true)]
    async fn if_one_of_the_two_fails_the_other_goes_on() {
        let bench =
            Bench::new(&["a", "b"]).hedging(300).plays("a", late(900)).plays("b", fail(Reason::EngineFailed));
        assert_eq!(bench.ask().await, answered("a", "late", 1));
        assert!(bench.measure("penstock_hedges_total{outcome=\"failed\"} 1"));
        let fails = vec![Wait(400), Fail(Error::new(Reason::EngineRejected, "x"))];
        let bench = Bench::new(&["a", "b"]).hedging(300).plays("a", fails).plays("b", late(900));
        assert_eq!(bench.ask().await, answered("b", "late", 1));
        assert_eq!(bench.noted(), "first:a=ENGINE_REJECTED hedge:b=OK");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_hedged_once_and_goes_on_if_both_fail() {
        let fails = |after| vec![Wait(after), Fail(Error::new(Reason::EngineTimeout, "x"))];
        let bench = Bench::new(&["a", "b", "c", "d"])
            .hedging(300)
            .plays("a", fails(1000))
            .plays("b", fails(500))
            .plays("c", late(2000));
        assert_eq!(bench.ask().await, answered("c", "late", 2));
        assert_eq!(bench.adapter.asked(), "a!@0 b!@300 c!@1000");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_hedged_without_budget_or_with_another_model_or_without_experience() {
        let bench = Bench::new(&["a", "b"]).hedging(300).without_budget().plays("a", late(900));
        assert_eq!(bench.ask().await, answered("a", "late", 0));
        assert_eq!(bench.adapter.asked(), "a!@0");
        let bench = Bench::new(&["a", "z"]).hedging(300).plays("a", late(900));
        assert_eq!(bench.ask().await, answered("a", "late", 0));
        assert_eq!(bench.adapter.asked(), "a@0");
        let policy = ModelConfig { hedge: Some(Hedge::P95), ..ModelConfig::default() };
        let bench = Bench::new(&["a", "b"]).policy(policy).plays("a", late(9000));
        assert_eq!(bench.ask().await, answered("a", "late", 0));
        assert_eq!(bench.adapter.asked(), "a!@0", "how long it takes is not known yet");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_of_one_piece_are_hedged_too() {
        let bench = Bench::new(&["a", "b"]).hedging(300).plays("a", vec![Silence]);
        let request = EmbedRequest::default();
        let begun = bench.dispatch.begin(&bench.caller, request, bench.route.clone()).await.unwrap();
        assert_eq!(begun.candidate.id(), "b");
        assert_eq!(bench.adapter.asked(), "a!@0 b!@300");
        assert_eq!((bench.load(0).in_flight(), bench.load(1).in_flight()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_a_count_takes_says_nothing_of_answers() {
    let bench = Bench::new(&["a"]);
    let request = CountTokensRequest::default();
    let begun = bench.dispatch.begin(&bench.caller, request, bench.route.clone()).await.unwrap();
    assert_eq!((begun.answer.input_tokens, bench.load(0).expected()), (7, None));
    bench.dispatch.begin(&bench.caller, EmbedRequest::default(), bench.route.clone()).await.unwrap();
    assert!(bench.load(0).expected().is_some());
}

mod holding_back {
    use super::*;

    fn breaks(after: u64) -> Vec<Step> {
        vec![Say("Hel"), Wait(after), Fail(Error::new(Reason::EngineCut, "x"))]
    }

    #[tokio::test(start_paused = true)]
    async fn what_breaks_within_it_was_never_seen() {
        let bench = Bench::new(&["a", "b"]).holding_back(10, 500).plays("a", breaks(400));
        assert_eq!(bench.ask().await, answered("b", "Hello", 1));
        assert_eq!(bench.noted(), "first:a=ENGINE_CUT failover:b=OK");
        for (chars, milliseconds) in [(0, 500), (3, 500), (10, 399)] {
            let bench = Bench::new(&["a", "b"]).holding_back(chars, milliseconds).plays("a", breaks(400));
            assert_eq!(bench.ask().await, answered("a", "Hel<broken>", 0), "{chars} {milliseconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_characters_its_time_or_the_answer_and_nothing_is_lost() {
        let words = || vec![Say("Hel"), Wait(10), Say("lo"), Wait(10), Say(" you"), Finish("stop")];
        for (chars, milliseconds, held_back, took) in
            [(0, 999, "Hel", 0), (4, 999, "Hello", 10), (99, 15, "Hello", 15), (99, 999, "Hello you", 20)]
        {
            let bench = Bench::new(&["a"]).holding_back(chars, milliseconds).plays("a", words());
            let begun = bench.begin().await.unwrap();
            assert_eq!(text(&begun.answer.0), held_back);
            assert_eq!(bench.adapter.began.elapsed().as_millis(), took);
            let (held_back, rest) = begun.answer;
            let rest: Vec<_> = rest.map(Result::unwrap).collect().await;
            assert_eq!(text(&held_back) + &text(&rest), "Hello you");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_whatever_the_configuration_says() {
        let word: &'static str = "x".repeat(64 << 10).leak();
        let bench = Bench::new(&["a"]).holding_back(usize::MAX, 60_000).plays("a", vec![Say(word); 64]);
        let (held_back, _) = bench.begin().await.unwrap().answer;
        assert!((4..=5).contains(&held_back.len()), "{}", held_back.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_streamed_is_not_held_back() {
        let bench = Bench::new(&["a", "b"]).holding_back(10, 500).plays("a", breaks(400));
        let begun =
            bench.dispatch.begin(&bench.caller, GenerateRequest::default(), bench.route.clone()).await;
        assert_eq!(begun.unwrap().candidate.id(), "a");
        assert_eq!(bench.adapter.began.elapsed(), Duration::ZERO);
    }
}

mod one {
    use super::*;

    async fn one(bench: &Bench) -> Result<Stream, Error> {
        let candidate = &bench.route.candidates[0];
        let asking = Asking { caller: &bench.caller, candidate, tokens: 1, may_queue: true };
        bench.dispatch.one(&asking, GenerateRequest::default(), AttemptKind::Replay).await
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_noted_paid_for_and_never_repeated() {
        let bench = Bench::new(&["a", "b"]).plays("a", fail(Reason::EngineReset));
        assert_eq!(one(&bench).await.unwrap_err().reason, Reason::EngineReset);
        assert_eq!(text(&one(&bench).await.unwrap().0), "Hello");
        assert_eq!(bench.adapter.asked(), "a@0 a@0");
        assert_eq!(bench.noted(), "replay:a=ENGINE_RESET replay:a=OK");
    }

    #[tokio::test(start_paused = true)]
    async fn without_budget_nobody_is_asked() {
        let bench = Bench::new(&["a"]).without_budget();
        let error = one(&bench).await.unwrap_err();
        assert_eq!((error.reason, error.retry_after), (Reason::ModelUnavailable, Some(RETRY_AFTER)));
        assert_eq!((bench.adapter.asked(), bench.noted()), (String::new(), String::new()));
    }
}

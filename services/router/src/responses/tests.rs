//! Who wins, and what is stored, against a store in memory that takes its turns as a test says.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use penstock_chassis::{Channel, Chassis};
use penstock_proto::{
    auth::v1::Principal,
    cache::v1::{
        DeleteRequest, DeleteResponse, GetRequest, GetResponse, ListRequest, ListResponse, Object, ObjectKey,
        PutRequest, PutResponse, UpdateRequest, UpdateResponse,
        objects_server::{Objects, ObjectsServer},
    },
    inference::v1::{ChatInput, Choice, GenerateChunk, ResponseTerms, TextInput},
    stored::RESPONSE,
};
use proptest::prelude::*;
use prost::Message as _;
use tonic::service::Routes;

use super::{
    jobs::{came_to, finish},
    *,
};
use crate::{
    merge::Merged,
    stored::{Identity, Keeper},
};

/// Where an object is: tenant, kind, id.
type Place = (String, String, String);

#[derive(Clone, Debug, Default)]
struct Memory {
    objects: Arc<Mutex<HashMap<Place, Object>>>,
    /// How often others come first, call by call.
    turns: Arc<Mutex<VecDeque<u8>>>,
    /// How the next puts fail.
    failures: Arc<Mutex<VecDeque<Reason>>>,
}

impl Memory {
    async fn turn(&self) {
        let turns = self.turns.lock().unwrap().pop_front().unwrap_or_default();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn kept(&self) -> HashMap<String, StoredResponse> {
        let objects = self.objects.lock().unwrap();
        let kept = objects.iter();
        kept.map(|((_, kind, _), object)| {
            (kind.clone(), StoredResponse::decode(object.content.clone()).unwrap())
        })
        .collect()
    }
}

fn place(key: Option<ObjectKey>) -> Place {
    let ObjectKey { tenant, kind, id } = key.unwrap();
    (tenant, kind, id)
}

#[tonic::async_trait]
impl Objects for Memory {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        self.turn().await;
        let PutRequest { tenant, kind, object } = request.into_inner();
        if let Some(reason) = self.failures.lock().unwrap().pop_front() {
            return Err(Error::new(reason, "x").into());
        }
        let object = object.unwrap();
        let mut objects = self.objects.lock().unwrap();
        let place = (tenant, kind, object.id.clone());
        if objects.contains_key(&place) {
            return Err(Error::new(Reason::Conflict, "x").into());
        }
        objects.insert(place, object);
        Ok(Response::new(PutResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.turn().await;
        let object = self.objects.lock().unwrap().get(&place(request.into_inner().key)).cloned();
        let object = Some(object.ok_or_else(|| Error::new(Reason::NotFound, "x"))?);
        Ok(Response::new(GetResponse { object }))
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        self.turn().await;
        let gone = self.objects.lock().unwrap().remove(&place(request.into_inner().key));
        gone.ok_or_else(|| Error::new(Reason::NotFound, "x"))?;
        Ok(Response::new(DeleteResponse {}))
    }
}

struct Fixture {
    memory: Memory,
    keeper: Keeper,
    records: Records,
    context: CallContext,
    identity: Identity,
}

impl Fixture {
    fn new() -> Self {
        let (chassis, memory) = (Chassis::default(), Memory::default());
        let channel = Channel::local(Routes::new(ObjectsServer::new(memory.clone())), &chassis);
        let keeper = Keeper::new(&channel, Duration::from_secs(2), &chassis);
        let context = CallContext::background(Duration::from_secs(60));
        let principal = Principal { tenant: "t".into(), ..Principal::default() };
        let identity = identity(Kind::Response, &context, &principal);
        Self { memory, records: Records::new(&keeper, "t".into()), keeper, context, identity }
    }

    /// One that goes on.
    async fn begin(&self) {
        let pending = StoredResponse {
            deadline: Some(self.identity.created + 60),
            background: true,
            ..self.identity.clone().response(request(), ResponseStatus::InProgress)
        };
        self.records.put(&self.context, RESPONSE_PENDING, &pending).await.unwrap();
    }

    /// What its job does at the end.
    async fn end(&self, outcome: Result<Merged, Error>) {
        let record = came_to(self.identity.clone(), request(), outcome);
        finish(&self.records, &self.context, record).await;
        self.records.settle(&self.context, &self.identity.id).await;
    }

    async fn look(&self) -> Result<StoredResponse, Reason> {
        let looked = self.records.look(&self.context, &self.identity.id, self.identity.created).await;
        looked.map_err(|status| Error::from(&status).reason)
    }

    async fn status(&self) -> Result<ResponseStatus, Reason> {
        self.look().await.map(|response| response.status())
    }
}

fn request() -> GenerateRequest {
    let input = Some(Input::Chat(ChatInput::default()));
    GenerateRequest { model: "m".into(), store: Some(true), input, ..GenerateRequest::default() }
}

fn answer() -> Merged {
    let choice = Choice { finish_reason: Some("stop".into()), ..Choice::default() };
    let answer = GenerateChunk { model: "m".into(), choices: vec![choice], ..GenerateChunk::default() };
    Merged { answer, lossy: vec![], bytes: 1 }
}

#[tokio::test]
async fn one_that_goes_on_is_seen_until_it_has_come_to_something() {
    let fixture = Fixture::new();
    assert_eq!(fixture.status().await, Err(Reason::NotFound));
    fixture.begin().await;
    assert_eq!(fixture.status().await, Ok(ResponseStatus::InProgress));
    let later = fixture.identity.created + 60;
    let lost = fixture.records.look(&fixture.context, &fixture.identity.id, later).await.unwrap();
    assert_eq!((lost.status(), lost.failure.as_deref()), (ResponseStatus::Failed, Some("DRAINING")));
    fixture.end(Ok(answer())).await;
    let ended = fixture.look().await.unwrap();
    assert_eq!((ended.status(), ended.background), (ResponseStatus::Completed, true));
    assert_eq!(ended.answer.unwrap().id, fixture.identity.id);
    let kept = fixture.memory.kept();
    assert!(kept.len() == 1 && kept.contains_key(RESPONSE), "nothing is pending any more: {kept:?}");
    let others = Records::new(&fixture.keeper, "other".into());
    let id = &fixture.identity.id;
    for refused in [
        others.look(&fixture.context, id, 0).await.map(drop),
        others.cancel(&fixture.context, id, 0).await.map(drop),
        others.delete(&fixture.context, id).await,
    ] {
        assert_eq!(Error::from(&refused.unwrap_err()).reason, Reason::NotFound, "B10");
    }
    assert_eq!(fixture.status().await, Ok(ResponseStatus::Completed));
}

#[tokio::test]
async fn what_failed_says_why_and_has_no_answer() {
    let fixture = Fixture::new();
    fixture.begin().await;
    fixture.end(Err(Error::new(Reason::EngineCut, "the engine's answer was cut"))).await;
    let failed = fixture.look().await.unwrap();
    assert_eq!(failed.status(), ResponseStatus::Failed);
    assert_eq!(failed.failure.as_deref(), Some("ENGINE_CUT"));
    assert_eq!(failed.failure_message.as_deref(), Some("the engine's answer was cut"));
    assert!(failed.answer.is_none() && failed.completed.is_none() && failed.deadline.is_none());
}

/// E10: what cannot be stored as it is, is stored as what it is.
#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_stored_is_a_failure() {
    let large = Reason::RequestTooLarge;
    for (failures, status, input) in [
        (vec![Reason::ServiceUnavailable; 2], Ok(ResponseStatus::Completed), true),
        (vec![large], Ok(ResponseStatus::Failed), true),
        (vec![large, large], Ok(ResponseStatus::Failed), false),
        (vec![Reason::ServiceUnavailable; 3], Err(Reason::NotFound), false),
    ] {
        let fixture = Fixture::new();
        fixture.memory.failures.lock().unwrap().extend(failures.clone());
        fixture.end(Ok(answer())).await;
        let seen = fixture.look().await;
        assert_eq!(
            seen.as_ref().map(StoredResponse::status).map_err(|reason| *reason),
            status,
            "{failures:?}"
        );
        let Ok(seen) = seen else { continue };
        assert_eq!(seen.request.unwrap().input.is_some(), input, "{failures:?}");
        if status == Ok(ResponseStatus::Failed) {
            assert_eq!(seen.failure.as_deref(), Some("REQUEST_TOO_LARGE"));
            assert!(seen.answer.is_none());
        }
    }
}

#[tokio::test]
async fn there_are_as_many_jobs_as_there_may_be() {
    let jobs = Jobs::new(2, &Chassis::default());
    let first = jobs.enter("a", "t").unwrap();
    let _second = jobs.enter("b", "t").unwrap();
    let full = jobs.enter("c", "t").unwrap_err();
    assert_eq!(full.reason, Reason::Overloaded);
    assert!(full.retry_after.is_some());
    drop(first);
    jobs.end("a");
    let _third = jobs.enter("c", "t").unwrap();
    let none = Jobs::new(0, &Chassis::default()).enter("a", "t").unwrap_err();
    assert_eq!((none.reason, none.violations[0].field.as_str()), (Reason::InvalidRequest, "background"));
}

/// B10: not even all places.
#[tokio::test]
async fn no_tenant_takes_the_places_of_all_others() {
    let jobs = Jobs::new(8, &Chassis::default());
    let enter = |tenant: &str, number: usize| jobs.enter(&format!("{tenant}{number}"), tenant);
    let mut greedy: Vec<_> = (0..6).map(|number| enter("greedy", number).unwrap()).collect();
    assert_eq!(enter("greedy", 6).unwrap_err().reason, Reason::Overloaded);
    let _others = [enter("other", 0).unwrap(), enter("other", 1).unwrap()];
    assert_eq!(enter("third", 0).unwrap_err().reason, Reason::Overloaded);
    greedy.truncate(5);
    assert_eq!(enter("greedy", 6).unwrap_err().reason, Reason::Overloaded);
    assert_eq!(enter("other", 2).unwrap_err().reason, Reason::Overloaded);
    enter("third", 0).unwrap();
}

#[test]
fn what_nobody_waits_for_has_to_be_found_again() {
    let fields = |request: GenerateRequest| {
        not_to_be_found(&request).into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let right = GenerateRequest { response: Some(ResponseTerms::default()), ..request() };
    assert!(fields(right.clone()).is_empty());
    assert_eq!(fields(GenerateRequest { store: None, ..right.clone() }), ["store"]);
    assert_eq!(fields(GenerateRequest { response: None, ..right.clone() }), ["response"]);
    let text = Some(Input::Text(TextInput::default()));
    assert_eq!(fields(GenerateRequest { store: Some(false), input: text, ..right }), ["store", "messages"]);
}

proptest! {
    /// However job, cancel and delete come in between each other: what is said once stays true.
    #[test]
    fn whoever_is_first_says_what_it_comes_to(
        turns in prop::collection::vec(0..12_u8, 64), cancels: bool, deletes: bool, answered: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            fixture.begin().await;
            fixture.memory.turns.lock().unwrap().extend(turns);
            let (context, id) = (&fixture.context, &fixture.identity.id);
            let outcome = if answered { Ok(answer()) } else { Err(Error::new(Reason::EngineCut, "x")) };
            let made = if answered { ResponseStatus::Completed } else { ResponseStatus::Failed };
            let cancel = async {
                if !cancels { return None }
                Some(fixture.records.cancel(context, id, fixture.identity.created).await)
            };
            let delete = async {
                if !deletes { return None }
                Some(fixture.records.delete(context, id).await)
            };
            let watch = async {
                let mut seen = Vec::new();
                for _ in 0..6 {
                    seen.push(fixture.status().await);
                }
                seen
            };
            let ((), cancelled, deleted, mut seen) = tokio::join!(fixture.end(outcome), cancel, delete, watch);
            let last = fixture.status().await;
            let kept = fixture.memory.kept();
            assert!(!kept.contains_key(RESPONSE_PENDING), "{kept:?}");
            if let Some(deleted) = deleted {
                deleted.unwrap();
                assert_eq!(last, Err(Reason::NotFound), "what is deleted stays so, whatever the job does");
                let content = |response: &StoredResponse| response.request.as_ref().unwrap().input.is_some();
                assert!(!kept.values().any(content), "{kept:?}");
                return;
            }
            let last = last.unwrap();
            assert!(last == made || cancels && last == ResponseStatus::Cancelled, "{last:?}");
            if let Some(cancelled) = cancelled {
                assert_eq!(cancelled.unwrap().status(), last, "who cancels hears what it comes to");
            }
            // It goes on, and then it has ended; it is never not there.
            seen.dedup();
            let expected = [Ok(ResponseStatus::InProgress), Ok(last)];
            assert!(expected.ends_with(&seen) || expected.starts_with(&seen), "{seen:?}");
        });
    }
}

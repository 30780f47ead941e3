//! Storing against a store that does as it is told.

use std::sync::Mutex;

use penstock_proto::{
    cache::v1::{
        DeleteRequest, DeleteResponse, GetRequest, GetResponse, ListRequest, ListResponse, PutRequest,
        PutResponse, UpdateRequest, UpdateResponse,
        objects_server::{Objects, ObjectsServer},
    },
    inference::v1::{
        ChatInput, Choice, Delta, GenerateResponse, Message, Metadata, MetadataPair, ResponseStatus,
        ResponseTerms, StoredCompletion, StoredResponse, TextInput, generate_request::Input,
    },
};
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, service::Routes};

use super::*;
use crate::{accounting::tests::recorder, answer::Answer};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Works,
    Refuses,
    Stalls,
}

#[derive(Clone, Debug)]
struct Scripted {
    mood: Mood,
    put: std::sync::Arc<Mutex<Vec<PutRequest>>>,
}

#[tonic::async_trait]
impl Objects for Scripted {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        match self.mood {
            Mood::Refuses => return Err(Error::new(Reason::ServiceUnavailable, "x").into()),
            Mood::Stalls => std::future::pending().await,
            Mood::Works => self.put.lock().unwrap().push(request.into_inner()),
        }
        Ok(Response::new(PutResponse {}))
    }
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn keeper(mood: Mood) -> (Keeper, Scripted) {
    let (chassis, scripted) = (Chassis::default(), Scripted { mood, put: std::sync::Arc::default() });
    let routes = Routes::new(ObjectsServer::new(scripted.clone()));
    (Keeper::new(&Channel::local(routes, &chassis), Duration::from_secs(2), &chassis), scripted)
}

fn request() -> GenerateRequest {
    let pairs = vec![MetadataPair { key: "k".into(), value: "v".into() }];
    GenerateRequest {
        store: Some(true),
        input: Some(Input::Chat(ChatInput::default())),
        metadata: Some(Metadata { pairs }),
        ..GenerateRequest::default()
    }
}

fn keep(keeper: &Keeper, left: Duration) -> Box<Keep> {
    keep_for(keeper, left, &request())
}

fn keep_for(keeper: &Keeper, left: Duration, request: &GenerateRequest) -> Box<Keep> {
    let principal = Principal { tenant: "t".into(), ..Principal::default() };
    keeper.keep(&CallContext::background(left), &principal, request).unwrap()
}

fn piece(content: &str, finish_reason: Option<&str>) -> GenerateResponse {
    let delta = Some(Delta { content: Some(content.into()), ..Delta::default() });
    let choice = Choice { delta, finish_reason: finish_reason.map(str::to_owned), ..Choice::default() };
    let (id, model) = ("of-the-engine".into(), "m".into());
    GenerateResponse {
        chunks: vec![GenerateChunk {
            id,
            model,
            created: 7,
            choices: vec![choice],
            ..GenerateChunk::default()
        }],
    }
}

fn answer(messages: Vec<GenerateResponse>, keep: Box<Keep>) -> Answer {
    Answer::new(messages, None, false, false, Some(keep), recorder().0)
}

#[tokio::test]
async fn what_was_given_out_is_what_is_stored_under_the_id_of_every_chunk() {
    let (keeper, store) = keeper(Mood::Works);
    let mut answer =
        answer(vec![piece("a", None), piece("b", Some("stop"))], keep(&keeper, Duration::from_secs(60)));
    let mut given = Vec::new();
    while let Some(message) = answer.next().await {
        given.extend(message.unwrap().chunks);
    }
    let put = store.put.lock().unwrap().remove(0);
    let object = put.object.unwrap();
    assert!(
        given.len() == 2
            && given.iter().all(|chunk| chunk.id == object.id && chunk.created == object.created)
    );
    assert!(object.id.starts_with("chatcmpl-") && object.id.len() == 9 + 32, "{}", object.id);
    assert_eq!(
        (put.tenant.as_str(), put.kind.as_str(), object.model.as_str()),
        ("t", "chat.completion", "m")
    );
    assert_eq!(object.metadata, request().metadata);
    let stored = StoredCompletion::decode(object.content).unwrap();
    let whole = stored.answer.unwrap();
    assert_eq!(whole.choices[0].delta.as_ref().unwrap().content.as_deref(), Some("ab"));
    assert_eq!((stored.id, whole.id), (object.id.clone(), object.id));
    assert_eq!(stored.request.unwrap().store, Some(true));
    assert_eq!(keeper.lost.get(), 0);
}

#[tokio::test]
async fn a_response_is_stored_with_its_conversation_under_a_name_of_its_own() {
    let (keeper, store) = keeper(Mood::Works);
    let message = Message { role: "user".into(), ..Message::default() };
    let asked = GenerateRequest {
        input: Some(Input::Chat(ChatInput { messages: vec![message] })),
        response: Some(ResponseTerms::default()),
        ..request()
    };
    let keep = keep_for(&keeper, Duration::from_secs(60), &asked);
    let given: Vec<_> = answer(vec![piece("ab", Some("stop"))], keep).collect().await;
    let put = store.put.lock().unwrap().remove(0);
    let object = put.object.unwrap();
    assert_eq!((put.tenant.as_str(), put.kind.as_str(), object.model.as_str()), ("t", "response", "m"));
    let stored = StoredResponse::decode(object.content).unwrap();
    assert!(stored.id.starts_with("resp_") && stored.id.len() == 5 + 32, "{}", stored.id);
    let named = |chunk: &GenerateChunk| chunk.id == stored.id && chunk.created == stored.created;
    assert!(object.id == stored.id && named(&given[0].as_ref().unwrap().chunks[0]));
    assert!(named(stored.answer.as_ref().unwrap()));
    assert_eq!(stored.status(), ResponseStatus::Completed);
    assert_eq!(stored.request, Some(asked), "all of it: it is gone on from");
    assert!(stored.completed >= Some(stored.created) && stored.deadline.is_none() && !stored.background);
}

/// C11.
#[tokio::test]
async fn what_is_not_whole_is_not_stored() {
    let (keeper, store) = keeper(Mood::Works);
    let outcomes: Vec<_> =
        answer(vec![piece("a", None)], keep(&keeper, Duration::from_secs(60))).collect().await;
    assert!(outcomes.last().unwrap().is_err());
    let mut left =
        answer(vec![piece("a", None), piece("b", Some("stop"))], keep(&keeper, Duration::from_secs(60)));
    left.next().await.unwrap().unwrap();
    drop(left);
    assert!(store.put.lock().unwrap().is_empty());
}

/// E10: a store that fails or says nothing costs its answer nothing but the wait; not even near the deadline.
#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_stored_ends_well() {
    for (mood, left, longest) in [
        (Mood::Refuses, Duration::from_secs(60), Duration::from_millis(100)),
        (Mood::Stalls, Duration::from_secs(60), Duration::from_millis(2100)),
        (Mood::Stalls, Duration::from_secs(1), Duration::from_millis(600)),
    ] {
        let (keeper, _) = keeper(mood);
        let start = tokio::time::Instant::now();
        let outcomes: Vec<_> = answer(vec![piece("a", Some("stop"))], keep(&keeper, left)).collect().await;
        assert!(outcomes.len() == 1 && outcomes[0].is_ok(), "{mood:?}");
        assert!(start.elapsed() < longest, "{mood:?}: {:?}", start.elapsed());
        assert_eq!(keeper.lost.get(), 1);
    }
}

#[tokio::test]
async fn only_conversations_that_ask_for_it_are_stored() {
    let (keeper, _) = keeper(Mood::Works);
    let context = CallContext::background(Duration::from_secs(1));
    let asks = |request: GenerateRequest| keeper.keep(&context, &Principal::default(), &request).is_some();
    assert!(asks(request()));
    assert!(!asks(GenerateRequest { store: None, ..request() }));
    assert!(!asks(GenerateRequest { store: Some(false), ..request() }));
    assert!(!asks(GenerateRequest { input: Some(Input::Text(TextInput::default())), ..request() }));
    let response = Some(ResponseTerms::default());
    assert!(asks(GenerateRequest { response: response.clone(), ..request() }));
    assert!(!asks(GenerateRequest { response, store: None, ..request() }), "terms alone keep nothing");
}

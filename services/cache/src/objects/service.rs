//! The gRPC face of the store of objects: decode, call, encode.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use penstock_proto::{
    Violation,
    cache::v1::{
        DeleteRequest, DeleteResponse, GetRequest, GetResponse, ListRequest, ListResponse,
        Object as ObjectMessage, ObjectKey, PutRequest, PutResponse, UpdateRequest, UpdateResponse,
        objects_server::Objects,
    },
    inference::v1::{Metadata, MetadataPair},
    stored, validate,
};
use tonic::{Request, Response, Status};

use super::{Head, Measures, Object, ObjectStore, Place, Query};
use crate::Error;

/// Longest tenant, kind, id and model, in bytes.
const NAME_MAX_BYTES: usize = 256;
/// How far ahead another machine's clock may be, in seconds.
const AHEAD_MAX: u64 = 3600;

/// Where the time comes from, in Unix seconds.
pub(crate) type Clock = fn() -> u64;

/// The time.
pub(crate) fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[derive(Debug)]
pub(crate) struct ObjectsService {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) measures: Arc<Measures>,
    pub(crate) clock: Clock,
}

#[tonic::async_trait]
impl Objects for ObjectsService {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let PutRequest { tenant, kind, object } = request.into_inner();
        let now = (self.clock)();
        let mut found = Found::default();
        found.name("tenant", &tenant);
        found.name("kind", &kind);
        let object = found.object(object.unwrap_or_default(), now);
        found.none()?;
        self.measures.note(self.store.put(tenant, kind, object, now).await)?;
        self.measures.works();
        Ok(Response::new(PutResponse {}))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let place = place(request.into_inner().key)?;
        let object = self.measures.note(self.store.get(place, (self.clock)()).await)?;
        Ok(Response::new(GetResponse { object: Some(message(object)) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let ListRequest { tenant, kind, after, limit, newest_first, model, metadata } = request.into_inner();
        let mut found = Found::default();
        found.name("tenant", &tenant);
        found.name("kind", &kind);
        let limit = stored::limit(limit).unwrap_or_else(|violation| {
            found.0.push(violation);
            0
        });
        let metadata = found.metadata(metadata);
        found.none()?;
        let query = Query { tenant, kind, after, limit, newest_first, model, metadata };
        let page = self.measures.note(self.store.list(query, (self.clock)()).await)?;
        let objects = page.objects.into_iter().map(message).collect();
        Ok(Response::new(ListResponse { objects, has_more: page.has_more }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        let UpdateRequest { key, metadata } = request.into_inner();
        let place = place(key)?;
        let mut found = Found::default();
        let metadata = found.metadata(metadata);
        found.none()?;
        let object = self.measures.note(self.store.update(place, metadata, (self.clock)()).await)?;
        self.measures.works();
        Ok(Response::new(UpdateResponse { object: Some(message(object)) }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        let place = place(request.into_inner().key)?;
        self.measures.note(self.store.delete(place, (self.clock)()).await)?;
        self.measures.works();
        Ok(Response::new(DeleteResponse {}))
    }
}

/// What is wrong with a message.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn name(&mut self, field: &str, name: &str) {
        if name.is_empty() {
            self.0.push(Violation::new(field, "is required"));
        } else if name.len() > NAME_MAX_BYTES {
            self.0.push(Violation::new(field, format!("is longer than {NAME_MAX_BYTES} bytes")));
        }
    }

    fn object(&mut self, object: ObjectMessage, now: u64) -> Object {
        let ObjectMessage { id, created, model, metadata, content } = object;
        self.name("object.id", &id);
        self.name("object.model", &model);
        let created = u64::try_from(created).unwrap_or_default();
        if created == 0 || created > now.saturating_add(AHEAD_MAX) {
            self.0.push(Violation::new("object.created", "must be a moment in the past"));
        }
        let metadata = self.metadata(metadata);
        Object { id, head: Head { created, model, metadata }, content }
    }

    fn metadata(&mut self, metadata: Option<Metadata>) -> Vec<(String, String)> {
        let metadata = metadata.unwrap_or_default();
        self.0.extend(validate::metadata(&metadata));
        metadata.pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
    }

    fn none(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Invalid(self.0)) }
    }
}

/// A place that can be one: where nothing can be is nothing.
fn place(key: Option<ObjectKey>) -> Result<Place, Error> {
    let ObjectKey { tenant, kind, id } = key.unwrap_or_default();
    let mut found = Found::default();
    found.name("key.tenant", &tenant);
    found.name("key.kind", &kind);
    found.none()?;
    if id.is_empty() || id.len() > NAME_MAX_BYTES {
        return Err(Error::NotFound);
    }
    Ok(Place { tenant, kind, id })
}

fn message(object: Object) -> ObjectMessage {
    let Object { id, head: Head { created, model, metadata }, content } = object;
    let pairs = metadata.into_iter().map(|(key, value)| MetadataPair { key, value }).collect();
    ObjectMessage {
        id,
        created: i64::try_from(created).unwrap_or(i64::MAX),
        model,
        metadata: Some(Metadata { pairs }),
        content,
    }
}

#[cfg(test)]
mod tests;

//! `auth.v1.Keys`: management of keys, for callers with the scope `admin`.

use penstock_proto::auth::v1::{
    CreateRequest, CreateResponse, GetRequest, GetResponse, ListRequest, ListResponse, RevokeRequest,
    RevokeResponse, RotateRequest, RotateResponse, UpdateRequest, UpdateResponse, keys_server::Keys,
};
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{Clock, Verdicts, Writes, decode, encode};
use crate::{
    Error,
    keyring::Keyring,
    record::{Record, Scope},
};

/// The service.
#[derive(Debug)]
pub(crate) struct KeysService {
    pub(crate) writes: Writes,
    pub(crate) verdicts: Verdicts,
    pub(crate) clock: Clock,
}

impl KeysService {
    fn keyring(&self) -> &Keyring {
        self.writes.keyring()
    }

    /// The id of the key that asks, if it may manage keys.
    fn admit(&self, metadata: &MetadataMap) -> Result<String, Error> {
        let verdict = self.keyring().authenticate(decode::credential(metadata)?, (self.clock)());
        self.verdicts.count(&verdict);
        let principal = verdict.map_err(|_| Error::Unauthenticated)?.principal;
        if principal.may(Scope::Admin) { Ok(principal.key_id) } else { Err(Error::NotAdmin) }
    }
}

#[tonic::async_trait]
impl Keys for KeysService {
    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        let by = self.admit(request.metadata())?;
        let now = (self.clock)();
        let draft = decode::create(request.into_inner(), now)?;
        let (record, secret) = self
            .writes
            .run(move |keyring| {
                let done = keyring.create(draft, now)?;
                trail(&done.0, &by, "created");
                Ok(done)
            })
            .await?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(CreateResponse { key: Some(encode::key(&record)), secret }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.admit(request.metadata())?;
        let id = decode::key_id(request.into_inner().key_id)?;
        let record = self.keyring().get(&id).ok_or(Error::NotFound)?;
        Ok(Response::new(GetResponse { key: Some(encode::key(&record)) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        self.admit(request.metadata())?;
        let keys = self.keyring().list().iter().map(|record| encode::key(record)).collect();
        Ok(Response::new(ListResponse { keys }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        let by = self.admit(request.metadata())?;
        let (id, edit) = decode::update(request.into_inner())?;
        let record = self
            .writes
            .run(move |keyring| {
                let done = keyring.update(&id, edit)?;
                trail(&done, &by, "updated");
                Ok(done)
            })
            .await?;
        Ok(Response::new(UpdateResponse { key: Some(encode::key(&record)) }))
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        let by = self.admit(request.metadata())?;
        let now = (self.clock)();
        let (id, grace) = decode::rotate(request.into_inner())?;
        let (record, secret) = self
            .writes
            .run(move |keyring| {
                let done = keyring.rotate(&id, grace, now)?;
                trail(&done.0, &by, "rotated");
                Ok(done)
            })
            .await?;
        let secret = secret.expose_secret().to_owned();
        Ok(Response::new(RotateResponse { key: Some(encode::key(&record)), secret }))
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let by = self.admit(request.metadata())?;
        let now = (self.clock)();
        let id = decode::key_id(request.into_inner().key_id)?;
        let record = self
            .writes
            .run(move |keyring| {
                let done = keyring.revoke(&id, now)?;
                trail(&done, &by, "revoked");
                Ok(done)
            })
            .await?;
        Ok(Response::new(RevokeResponse { key: Some(encode::key(&record)) }))
    }
}

/// Who changed what. Called where the change is made, so that a caller who leaves does not escape it.
fn trail(record: &Record, by: &str, change: &'static str) {
    tracing::info!(key_id = record.principal.key_id, by, change, "key changed");
}

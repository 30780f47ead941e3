//! `penstock keys`: manages API keys of a running Penstock over gRPC. The admin key comes from the environment
//! or a file, never from the command line, where every user of the machine could read it.

mod arguments;
mod output;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use penstock_chassis::config::Environment;
use penstock_proto::{
    auth::v1::{
        AllowedModels, CreateRequest, GetRequest, Key, KeyLimits, ListRequest, RevokeRequest, RotateRequest,
        UpdateRequest, keys_client::KeysClient,
    },
    ratelimit::v1::Limit,
};
use tonic::{Request, transport::Channel};

use crate::caller::{self, ADMIN_KEY, Bearer, DEFAULT_ADDRESS, in_words};

/// How long a call may take: a change waits for others and for the disk, but never this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer: a list of as many keys as a store can hold, each with a few labels.
const ANSWER_MAX_BYTES: usize = 128 << 20;

/// Manage API keys of a running Penstock.
#[derive(Args, Debug)]
pub(crate) struct Keys {
    /// Address of Penstock.
    #[arg(long, global = true, value_name = "URL", default_value = DEFAULT_ADDRESS)]
    addr: String,
    /// File that holds the admin key; without it, the environment variable PENSTOCK_ADMIN_KEY is used.
    #[arg(long, global = true, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key. Its secret is printed once and kept nowhere.
    Create(Create),
    /// List all keys, oldest first.
    List,
    /// Show one key.
    Get {
        /// Public id of the key.
        key_id: String,
    },
    /// Change a key; what is not named stays as it is.
    Update(Update),
    /// Give a key a new secret; the old one stays valid for a while.
    Rotate {
        /// Public id of the key.
        key_id: String,
        /// How long the old secret stays valid, such as "1h"; at most 30 days. Default: 1 hour.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        grace_period: Option<Duration>,
    },
    /// End a key for good, at once.
    Revoke {
        /// Public id of the key.
        key_id: String,
    },
}

#[derive(Args, Debug)]
struct Create {
    /// Name for people.
    #[arg(long)]
    name: String,
    /// Owner of the key. Default: default.
    #[arg(long)]
    tenant: Option<String>,
    /// What the key may do: inference or admin. May be repeated. Default: inference.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Model that the key may use, such as "llama*". May be repeated. Default: all.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Limit of the key, such as "requests=60/1m" or "tokens=100000/1h/20000" (burst). May be repeated.
    #[arg(long = "limit", value_name = "LIMIT", value_parser = arguments::limit)]
    limits: Vec<Limit>,
    /// How long the key is valid, such as "30d". Default: for ever.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
    /// When the key ends, such as "2030-01-31T12:00:00Z". Default: never.
    #[arg(long, value_name = "MOMENT", value_parser = humantime::parse_rfc3339, conflicts_with = "expires_in")]
    expires_at: Option<SystemTime>,
    /// Label for accounting, such as "team=blue". May be repeated.
    #[arg(long = "metadata", value_name = "NAME=VALUE", value_parser = arguments::label)]
    metadata: Vec<(String, String)>,
}

#[derive(Args, Debug)]
struct Update {
    /// Public id of the key.
    key_id: String,
    /// New name.
    #[arg(long)]
    name: Option<String>,
    /// Model that the key may use, in place of those it has. May be repeated.
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Let the key use all models.
    #[arg(long, conflicts_with = "models")]
    all_models: bool,
    /// Limit of the key, in place of those it has, as for create. May be repeated.
    #[arg(long = "limit", value_name = "LIMIT", value_parser = arguments::limit)]
    limits: Vec<Limit>,
    /// Take all limits from the key.
    #[arg(long, conflicts_with = "limits")]
    no_limits: bool,
}

impl Keys {
    /// Does what was asked and prints the answer.
    ///
    /// # Errors
    /// Penstock cannot be reached, or refuses.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let answer = self.answer(&Environment::of_process(), SystemTime::now()).await?;
        let mut stdout = io::stdout().lock();
        match stdout.write_all(answer.as_bytes()).and_then(|()| stdout.flush()) {
            // Whoever reads has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot print the answer"),
        }
    }

    async fn answer(self, environment: &Environment, now: SystemTime) -> anyhow::Result<String> {
        let bearer = self.bearer(environment)?;
        let mut session = Session { client: self.connect().await?, bearer };
        let print = output::Style { json: self.json, now };
        match self.command {
            Command::Create(create) => {
                let (key, secret) = session.create(create.into_request(now)?).await?;
                Ok(print.secret(&key, &secret))
            }
            Command::List => Ok(print.list(&session.list().await?)),
            Command::Get { key_id } => Ok(print.key(&session.get(key_id).await?)),
            Command::Update(update) => Ok(print.key(&session.update(update.into_request()).await?)),
            Command::Rotate { key_id, grace_period } => {
                let grace_period = grace_period
                    .map(TryInto::try_into)
                    .transpose()
                    .context("the grace period is too long")?;
                let (key, secret) = session.rotate(RotateRequest { key_id, grace_period }).await?;
                Ok(print.secret(&key, &secret))
            }
            Command::Revoke { key_id } => Ok(print.key(&session.revoke(key_id).await?)),
        }
    }

    fn bearer(&self, environment: &Environment) -> anyhow::Result<Bearer> {
        let key = caller::key(self.admin_key_file.as_deref(), environment, &[ADMIN_KEY])?;
        let missing =
            || format!("no admin key: set {ADMIN_KEY}, or name a file that holds it by --admin-key-file");
        Bearer::new(&key.with_context(missing)?)
    }

    async fn connect(&self) -> anyhow::Result<KeysClient<Channel>> {
        let endpoint = caller::endpoint(&self.addr)?.timeout(CALL_TIMEOUT);
        let channel = caller::connect(&endpoint).await?;
        Ok(KeysClient::new(channel).max_decoding_message_size(ANSWER_MAX_BYTES))
    }
}

impl Create {
    fn into_request(self, now: SystemTime) -> anyhow::Result<CreateRequest> {
        let ends = match self.expires_in {
            Some(span) => Some(now.checked_add(span).context("the time until the end is too long")?),
            None => self.expires_at,
        };
        Ok(CreateRequest {
            name: self.name,
            tenant: self.tenant,
            scopes: self.scopes,
            allowed_models: self.models,
            limits: self.limits,
            expires_at: ends.map(Into::into),
            metadata: self.metadata.into_iter().collect(),
        })
    }
}

impl Update {
    fn into_request(self) -> UpdateRequest {
        let (models, limits) = (self.models, self.limits);
        UpdateRequest {
            key_id: self.key_id,
            name: self.name,
            allowed_models: (self.all_models || !models.is_empty()).then_some(AllowedModels { models }),
            limits: (self.no_limits || !limits.is_empty()).then_some(KeyLimits { limits }),
        }
    }
}

/// The calls, each with the admin key, each error in words.
struct Session {
    client: KeysClient<Channel>,
    bearer: Bearer,
}

impl Session {
    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        self.bearer.sign(&mut request);
        request
    }

    async fn create(&mut self, message: CreateRequest) -> anyhow::Result<(Key, String)> {
        let request = self.call(message);
        let made = self.client.create(request).await.map_err(|status| in_words(&status))?.into_inner();
        Ok((there(made.key)?, made.secret))
    }

    async fn list(&mut self) -> anyhow::Result<Vec<Key>> {
        let request = self.call(ListRequest {});
        Ok(self.client.list(request).await.map_err(|status| in_words(&status))?.into_inner().keys)
    }

    async fn get(&mut self, key_id: String) -> anyhow::Result<Key> {
        let request = self.call(GetRequest { key_id });
        there(self.client.get(request).await.map_err(|status| in_words(&status))?.into_inner().key)
    }

    async fn update(&mut self, message: UpdateRequest) -> anyhow::Result<Key> {
        let request = self.call(message);
        there(self.client.update(request).await.map_err(|status| in_words(&status))?.into_inner().key)
    }

    async fn rotate(&mut self, message: RotateRequest) -> anyhow::Result<(Key, String)> {
        let request = self.call(message);
        let rotated = self.client.rotate(request).await.map_err(|status| in_words(&status))?.into_inner();
        Ok((there(rotated.key)?, rotated.secret))
    }

    async fn revoke(&mut self, key_id: String) -> anyhow::Result<Key> {
        let request = self.call(RevokeRequest { key_id });
        there(self.client.revoke(request).await.map_err(|status| in_words(&status))?.into_inner().key)
    }
}

fn there(key: Option<Key>) -> anyhow::Result<Key> {
    key.context("the answer holds no key")
}

#[cfg(test)]
mod tests;

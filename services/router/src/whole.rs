//! Requests whose answer comes in one piece and is never kept: vectors, judgements and counts. They go the way of
//! all requests: who asks, what, for which model, the limits, then one deployment after the other.

use penstock_chassis::Channel;
use penstock_proto::{
    Error, Reason, Violation,
    auth::v1::Principal,
    inference::v1::{
        CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, GenerateRequest,
        ModerateRequest, ModerateResponse, Prompt, Usage, inference_client::InferenceClient, prompt::Kind,
    },
    validate,
};
use prost::Message as _;
use tonic::Status;

use crate::{
    accounting::BYTES_PER_TOKEN,
    attempts::{Ask, Asking},
    needs::Needs,
    principals::may_use,
    registry::{Model, Registry},
};

/// A request whose answer comes in one piece.
pub(crate) trait Whole: Ask {
    /// What it needs of a deployment.
    fn needs(&self) -> Needs;

    /// Everything that is wrong with it.
    fn violations(&self) -> Vec<Violation>;

    /// The model that is asked for; where none is named, the one that is meant.
    fn asked_model<'a>(&'a self, registry: &'a Registry, principal: &Principal) -> Result<&'a str, Error>;

    /// Tokens that it will cost, by its size.
    fn estimate(&self) -> u64;

    /// What it did cost.
    fn usage(answer: &Self::Answer) -> Option<&Usage>;

    /// The request for a text whose tokens are to be counted, if that is what it asks for.
    fn counted(&self) -> Option<&GenerateRequest> {
        None
    }

    /// Whether tokens in the answer are our estimate.
    fn is_estimated(answer: &Self::Answer) -> bool {
        Self::usage(answer).is_some_and(|usage| usage.estimated)
    }
}

impl Ask for EmbedRequest {
    type Answer = EmbedResponse;

    async fn ask(
        mut self,
        mut adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> Result<EmbedResponse, Status> {
        self.model = asking.candidate.model.to_string();
        let _busy = asking.candidate.deployment.load.enter();
        Ok(adapter.embed(asking.addressed(self)?).await?.into_inner())
    }
}

impl Whole for EmbedRequest {
    fn needs(&self) -> Needs {
        Needs::EMBEDDINGS
    }

    fn violations(&self) -> Vec<Violation> {
        validate::embed_request(self)
    }

    fn asked_model<'a>(&'a self, _: &'a Registry, _: &Principal) -> Result<&'a str, Error> {
        Ok(&self.model)
    }

    fn estimate(&self) -> u64 {
        self.input.as_ref().map_or(0, tokens_of)
    }

    fn usage(answer: &EmbedResponse) -> Option<&Usage> {
        answer.usage.as_ref()
    }
}

impl Ask for ModerateRequest {
    type Answer = ModerateResponse;

    async fn ask(
        mut self,
        mut adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> Result<ModerateResponse, Status> {
        self.model = Some(asking.candidate.model.to_string());
        let _busy = asking.candidate.deployment.load.enter();
        Ok(adapter.moderate(asking.addressed(self)?).await?.into_inner())
    }
}

impl Whole for ModerateRequest {
    fn needs(&self) -> Needs {
        Needs::MODERATIONS
    }

    fn violations(&self) -> Vec<Violation> {
        validate::moderate_request(self)
    }

    /// Without a model only those count that are said to judge: nobody is asked on the off-chance.
    fn asked_model<'a>(&'a self, registry: &'a Registry, principal: &Principal) -> Result<&'a str, Error> {
        if let Some(model) = &self.model {
            return Ok(model);
        }
        let judges = |model: &Model| model.capabilities.is_some_and(|can| can.moderations == Some(true));
        let meant = |model: &&Model| judges(model) && may_use(principal, &model.name, &model.name);
        registry.models().find(meant).map(|model| &*model.name).ok_or_else(|| {
            let message = "no model that the API key may use answers moderations: name one in `model`, or set \
                           `capabilities = { moderations = true }` on a deployment whose engine does";
            Error::new(Reason::NotOffered, message)
        })
    }

    fn estimate(&self) -> u64 {
        self.input_json.len().div_ceil(BYTES_PER_TOKEN) as u64
    }

    fn usage(_: &ModerateResponse) -> Option<&Usage> {
        None
    }
}

impl Ask for CountTokensRequest {
    type Answer = CountTokensResponse;
    /// A tokenizer is much faster than a model.
    const IS_TIMED: bool = false;

    async fn ask(
        mut self,
        mut adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> Result<CountTokensResponse, Status> {
        self.request.get_or_insert_default().model = asking.candidate.model.to_string();
        let _busy = asking.candidate.deployment.load.enter();
        Ok(adapter.count_tokens(asking.addressed(self)?).await?.into_inner())
    }
}

impl Whole for CountTokensRequest {
    /// Those of the request itself: what nobody could answer has no tokens.
    fn needs(&self) -> Needs {
        self.request.as_ref().map(Needs::of).unwrap_or_default()
    }

    fn violations(&self) -> Vec<Violation> {
        validate::count_tokens_request(self)
    }

    fn asked_model<'a>(&'a self, _: &'a Registry, _: &Principal) -> Result<&'a str, Error> {
        Ok(self.request.as_ref().map_or("", |request| &request.model))
    }

    /// Nothing is read or said by a model.
    fn estimate(&self) -> u64 {
        0
    }

    fn usage(_: &CountTokensResponse) -> Option<&Usage> {
        None
    }

    fn counted(&self) -> Option<&GenerateRequest> {
        self.request.as_ref()
    }

    fn is_estimated(answer: &CountTokensResponse) -> bool {
        answer.estimated
    }
}

/// Tokens of a prompt: counted where it comes as tokens, else by its size.
pub(crate) fn tokens_of(prompt: &Prompt) -> u64 {
    let tokens = match &prompt.kind {
        Some(Kind::Tokens(list)) => list.values.len(),
        Some(Kind::TokenLists(lists)) => lists.values.iter().map(|list| list.values.len()).sum(),
        Some(Kind::Text(_) | Kind::Texts(_)) => prompt.encoded_len().div_ceil(BYTES_PER_TOKEN),
        None => 0,
    };
    tokens as u64
}

/// How many texts a prompt has.
pub(crate) fn texts_of(prompt: &Prompt) -> u64 {
    let texts = match &prompt.kind {
        Some(Kind::Texts(list)) => list.values.len(),
        Some(Kind::TokenLists(lists)) => lists.values.len(),
        Some(Kind::Text(_) | Kind::Tokens(_)) | None => 1,
    };
    texts as u64
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Capabilities, TextList, TokenList, TokenLists};

    use super::*;
    use crate::{config::Routing, registry::Deployment};

    fn prompt(kind: Kind) -> Prompt {
        Prompt { kind: Some(kind) }
    }

    #[test]
    fn tokens_are_counted_and_texts_are_measured() {
        let tokens = |count| TokenList { values: vec![100_000; count] };
        assert_eq!(tokens_of(&prompt(Kind::Tokens(tokens(7)))), 7);
        let lists = prompt(Kind::TokenLists(TokenLists { values: vec![tokens(3), tokens(4)] }));
        assert_eq!((tokens_of(&lists), texts_of(&lists)), (7, 2));
        let texts = prompt(Kind::Texts(TextList { values: vec!["x".repeat(400); 3] }));
        assert!((300..310).contains(&tokens_of(&texts)), "{}", tokens_of(&texts));
        assert_eq!((texts_of(&texts), texts_of(&prompt(Kind::Text("x".into())))), (3, 1));
    }

    #[test]
    fn without_a_model_the_first_that_judges_and_may_be_used_is_meant() {
        let deployment = |model: &str, judges| {
            let capabilities = Some(Capabilities { moderations: Some(judges), ..Capabilities::default() });
            Deployment { id: model.into(), model: model.into(), capabilities, ..Deployment::default() }.into()
        };
        let registry = Registry::new(
            &Routing::default(),
            &[deployment("a", false), deployment("b", true), deployment("c", true)],
        );
        let meant = |request: &ModerateRequest, allowed: &[&str]| {
            let allowed_models = allowed.iter().map(ToString::to_string).collect();
            let principal = Principal { allowed_models, ..Principal::default() };
            request.asked_model(&registry, &principal).map(str::to_owned).map_err(|error| error.reason)
        };
        let request = ModerateRequest::default();
        assert_eq!(meant(&request, &[]), Ok("b".into()));
        assert_eq!(meant(&request, &["a", "c"]), Ok("c".into()));
        assert_eq!(meant(&request, &["a"]), Err(Reason::NotOffered));
        let named = ModerateRequest { model: Some("a".into()), ..request };
        assert_eq!(meant(&named, &[]), Ok("a".into()));
    }
}

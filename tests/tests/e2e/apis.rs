//! All that holds of chat holds of every API by which answers are asked for: one test for all of them, which
//! goes over the four.

mod access;
mod cached;
mod counted;
mod failures;
mod faults;
mod leaving;
mod mistakes;
mod way;

use penstock_tests::{
    apis::{Api, Got},
    client::{self, Client, with},
    exact::Json,
};
use serde_json::{Value, json};

/// All of them.
const APIS: [Api; 4] = Api::ALL;

/// The question of `client::chat` for `model` with further members, in the words of an API.
fn asking(api: Api, model: &str, members: Value, stream: bool) -> Json {
    let chat = Json::parse(&with(client::chat(model), members).to_string());
    api.question(&chat, stream).unwrap_or_else(|what| panic!("{api:?} has no words for {what}"))
}

/// That question as it is.
fn hello(api: Api, stream: bool) -> Json {
    asking(api, "test-model", json!({}), stream)
}

/// Asks it.
async fn ask(api: Api, client: &Client, stream: bool) -> Got {
    api.ask(client, &hello(api, stream)).await
}

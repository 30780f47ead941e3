//! Requests for vectors in parts: an engine gets no more texts at once than it may, and the answers become one,
//! in the order of the texts. Pure; who asks is `Upstream`.

use penstock_proto::{
    Violation,
    inference::v1::{EmbedRequest, EmbedResponse, Prompt, TextList, TokenLists, Usage, prompt::Kind},
};

use crate::error::{Error, Fault};

/// Most numbers of one answer: 64 MiB, half of what a gRPC message may hold.
const VALUES_MAX: usize = 16 << 20;

/// How many texts a prompt has.
pub(crate) fn texts_in(prompt: &Prompt) -> usize {
    match &prompt.kind {
        Some(Kind::Text(_) | Kind::Tokens(_)) => 1,
        Some(Kind::Texts(list)) => list.values.len(),
        Some(Kind::TokenLists(lists)) => lists.values.len(),
        None => 0,
    }
}

/// `request` in parts of at most `most` texts; empty: it is small enough as it is.
pub(crate) fn parts(request: &EmbedRequest, most: usize) -> Vec<EmbedRequest> {
    let part = |kind| EmbedRequest {
        model: request.model.clone(),
        input: Some(Prompt { kind: Some(kind) }),
        dimensions: request.dimensions,
        user: request.user.clone(),
        extensions: request.extensions.clone(),
    };
    match request.input.as_ref().and_then(|prompt| prompt.kind.as_ref()) {
        Some(Kind::Texts(list)) if list.values.len() > most => {
            let parts = list.values.chunks(most);
            parts.map(|values| part(Kind::Texts(TextList { values: values.to_vec() }))).collect()
        }
        Some(Kind::TokenLists(lists)) if lists.values.len() > most => {
            let parts = lists.values.chunks(most);
            parts.map(|values| part(Kind::TokenLists(TokenLists { values: values.to_vec() }))).collect()
        }
        _ => Vec::new(),
    }
}

/// Adds the answer to the next part.
pub(crate) fn append(whole: &mut Option<EmbedResponse>, part: EmbedResponse) -> Result<(), Fault> {
    let Some(known) = whole else {
        *whole = Some(part);
        return Ok(());
    };
    known.embeddings.extend(part.embeddings);
    known.usage = match (known.usage.take(), part.usage) {
        (Some(sum), Some(more)) => Some(Usage {
            prompt_tokens: sum.prompt_tokens.saturating_add(more.prompt_tokens),
            total_tokens: sum.total_tokens.saturating_add(more.total_tokens),
            ..sum
        }),
        // The sum of some parts is not the sum of all.
        _ => None,
    };
    check_size(known)
}

/// Checks that an answer can travel.
pub(crate) fn check_size(answer: &EmbedResponse) -> Result<(), Fault> {
    if answer.embeddings.iter().map(|one| one.values.len()).sum::<usize>() > VALUES_MAX {
        return Err(Fault::bad_answer("the engine's vectors are over the size limit"));
    }
    Ok(())
}

/// Checks that the vectors have the length that was asked for: engines that cannot choose it say nothing.
pub(crate) fn check_dimensions(request: &EmbedRequest, answer: &EmbedResponse) -> Result<(), Error> {
    let Some(asked) = request.dimensions else { return Ok(()) };
    let other = |length: usize| i64::try_from(length) != Ok(asked);
    match answer.embeddings.iter().map(|one| one.values.len()).find(|length| other(*length)) {
        Some(length) => {
            let message = format!("this model makes vectors of {length} numbers: leave it out");
            Err(Error::Unsupported(vec![Violation::new("dimensions", message)]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Embedding, TokenList};
    use proptest::prelude::*;

    use super::*;

    fn texts(count: usize) -> EmbedRequest {
        let values = (0..count).map(|number| number.to_string()).collect();
        let input = Some(Prompt { kind: Some(Kind::Texts(TextList { values })) });
        EmbedRequest { model: "m".into(), input, dimensions: Some(1), ..EmbedRequest::default() }
    }

    fn answer(values: Vec<f32>, tokens: Option<i64>) -> EmbedResponse {
        let usage = |tokens| Usage { prompt_tokens: tokens, total_tokens: tokens, ..Usage::default() };
        let embeddings = values.into_iter().map(|value| Embedding { values: vec![value] }).collect();
        EmbedResponse { model: "m".into(), embeddings, usage: tokens.map(usage), ..EmbedResponse::default() }
    }

    #[test]
    fn one_text_is_never_cut_and_token_lists_are_texts() {
        let of = |kind| EmbedRequest { input: Some(Prompt { kind: Some(kind) }), ..EmbedRequest::default() };
        assert!(parts(&of(Kind::Text("long".into())), 1).is_empty());
        assert!(parts(&of(Kind::Tokens(TokenList { values: vec![1; 9] })), 1).is_empty());
        let lists = of(Kind::TokenLists(TokenLists { values: vec![TokenList { values: vec![1] }; 5] }));
        assert_eq!(parts(&lists, 2).len(), 3);
        assert!(parts(&lists, 5).is_empty());
    }

    #[test]
    fn usage_is_added_up_unless_a_part_has_none() {
        let mut whole = None;
        append(&mut whole, answer(vec![1.0], Some(3))).unwrap();
        append(&mut whole, answer(vec![2.0], Some(4))).unwrap();
        assert_eq!(whole.as_ref().unwrap().usage.as_ref().unwrap().total_tokens, 7);
        append(&mut whole, answer(vec![3.0], None)).unwrap();
        assert_eq!(whole.unwrap().usage, None);
    }

    /// H: nothing is stripped in silence.
    #[test]
    fn another_length_than_was_asked_for_is_told() {
        let mut request = texts(1);
        assert!(check_dimensions(&request, &answer(vec![1.0], None)).is_ok());
        request.dimensions = Some(2);
        assert!(matches!(check_dimensions(&request, &answer(vec![1.0], None)), Err(Error::Unsupported(_))));
        request.dimensions = None;
        assert!(check_dimensions(&request, &answer(vec![1.0], None)).is_ok());
    }

    #[test]
    fn what_cannot_travel_is_refused() {
        let embeddings = vec![Embedding { values: vec![0.0; 1 << 20] }; 17];
        let large = EmbedResponse { embeddings, ..EmbedResponse::default() };
        assert!(check_size(&large).is_err());
    }

    proptest! {
        #[test]
        fn parts_hold_every_text_once_and_in_order(count in 0_usize..50, most in 1_usize..12) {
            let request = texts(count);
            let parts = parts(&request, most);
            if count <= most {
                prop_assert!(parts.is_empty());
            } else {
                let mut all = Vec::new();
                for part in parts {
                    prop_assert_eq!(part.dimensions, Some(1));
                    let Some(Kind::Texts(list)) = part.input.and_then(|input| input.kind) else { panic!() };
                    prop_assert!((1..=most).contains(&list.values.len()));
                    all.extend(list.values);
                }
                prop_assert_eq!(all, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
            }
        }
    }
}

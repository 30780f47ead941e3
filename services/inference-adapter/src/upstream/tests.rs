//! Tests of what a head that is not 200 means.

use http_body::Frame;

use super::*;

/// A body that never comes.
struct Stalled;

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// C7: a retry elsewhere must not wait for the rest of an error.
#[tokio::test(start_paused = true)]
async fn a_refusal_whose_body_stalls_is_known_by_its_status() {
    for (status, expected) in [(500, Reason::EngineFailed), (429, Reason::EngineOverloaded)] {
        let response =
            Response::builder().status(status).header(RETRY_AFTER, "7").body(Body::wrap(Stalled)).unwrap();
        let fault = timeout(2 * ERROR_TIMEOUT, refusal(response, false)).await.unwrap();
        assert_eq!(fault.reason, expected);
    }
}

//! Bounds for every wait of a test: what does not come fails the test with its name, it never hangs.

use std::{future::Future, time::Duration};

/// Longest wait for anything that should come at once. Far above what a busy two-core machine needs: it
/// bounds a hang, it measures nothing.
pub const LONG: Duration = Duration::from_secs(20);
/// Pause between two looks at something that cannot be waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// Awaits `future`, or fails and says what did not come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LONG, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LONG:?} in vain for {what}"),
    }
}

/// Looks again and again until `look` finds something, or fails and says what did not come.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await
}

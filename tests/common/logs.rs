//! What a test hears of `tracing`.

use tracing::Subscriber;
use tracing::subscriber::NoSubscriber;

/// Runs `f` with a subscriber of this thread, which hears whatever other threads do.
pub fn with_subscriber<T>(
    subscriber: impl Subscriber + Send + Sync + 'static,
    f: impl FnOnce() -> T,
) -> T {
    // As long as there is one subscriber alone, `tracing` decides about a line for good by asking the thread that
    // reaches it first, which may be another test's and have none. Of two it asks both.
    let _second = tracing::Dispatch::new(NoSubscriber::new());
    tracing::subscriber::with_default(subscriber, f)
}

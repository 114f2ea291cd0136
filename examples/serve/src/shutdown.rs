//! From the signal to the end. Open connections are served a little longer, each with an answer that closes the
//! connection, since a request may be on its way. Then idle connections are closed, and answers are waited for.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// Where the server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Nothing new is accepted. Requests on open connections are answered.
    Draining,
    /// Connections close as soon as their answers are out.
    Closing,
}

/// Watches for SIGTERM and SIGINT from now on.
pub(crate) fn asked() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Goes through the phases after the listener was closed. `alive` gives `None` once no connection is left.
///
/// Gives whether all connections have ended within the limit.
pub(crate) async fn drain(
    phase: &watch::Sender<Phase>,
    mut alive: mpsc::Receiver<()>,
    linger: Duration,
    limit: Duration,
) -> bool {
    tokio::select! {
        _ = alive.recv() => return true,
        () = sleep(linger) => {}
    }
    phase.send_replace(Phase::Closing);
    timeout(limit, alive.recv()).await.is_ok()
}

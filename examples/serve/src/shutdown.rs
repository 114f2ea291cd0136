//! From the signal to the end. Open connections are served a little longer, each with an answer that closes the
//! connection, since a request may be on its way. Then idle connections are closed, and answers are waited for.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::server::Server;

/// How often the shutdown looks whether answers are due.
const LOOK: Duration = Duration::from_millis(20);

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
/// Gives whether all answers are out, within the limit and before a second signal.
pub(crate) async fn drain(
    server: &Server,
    mut alive: mpsc::Receiver<()>,
    linger: Duration,
    limit: Duration,
    again: impl Future<Output = ()>,
) -> bool {
    tokio::select! {
        _ = alive.recv() => return true,
        () = sleep(linger) => {}
    }
    server.phase.send_replace(Phase::Closing);
    tokio::select! {
        _ = alive.recv() => true,
        () = quiet(server) => true,
        () = sleep(limit) => false,
        () = again => false,
    }
}

/// Waits until all answers are out. Connections that are left then have sent a part of a head, and no request.
async fn quiet(server: &Server) {
    // An answer is on its way from one count to the other for a moment: it must be quiet twice.
    let mut before = false;
    loop {
        sleep(LOOK).await;
        let now = server.metrics.is_quiet();
        if before && now {
            return;
        }
        before = now;
    }
}

//! The end of a server that has served: at once, and without the destructors of the process.
//!
//! A run that nobody waits for may still be at work then. The end of `main` and `exit` both run the static destructors of
//! the libraries in the process, and so take a runtime of C++ away under the thread that runs it.

use std::ffi::c_int;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::server::Server;

/// All accepted requests have their answers.
const ANSWERED: c_int = 0;
/// The limit of the shutdown, or a second signal, came before some answers.
const CUT_SHORT: c_int = 1;

unsafe extern "C" {
    safe fn _exit(code: c_int) -> !;
}

/// Tells how the server has ended, and gives the exit code. Whoever started the server may read no more: that is no error.
pub(crate) fn told(answered: bool, accepted: u64) -> c_int {
    if answered {
        let _ = writeln!(io::stdout(), "ended: {accepted} requests were accepted");
        return ANSWERED;
    }
    let text = "error: the server has ended before all of its answers were out";
    let _ = writeln!(io::stderr(), "{text}");
    CUT_SHORT
}

/// Lets the models go, which keep the kernels that they have compiled, and waits no longer than a limit for runs that
/// nobody waits for.
pub(crate) fn let_go(server: Arc<Server>, runtime: Runtime, limit: Duration) {
    let (gone, end) = channel::<()>();
    let work = move || {
        // The connections that are left have the server too.
        runtime.shutdown_timeout(limit);
        drop(server);
        drop(gone);
    };
    if thread::Builder::new().spawn(work).is_ok() {
        let _ = end.recv_timeout(limit);
    }
}

/// Ends the process. What was printed and logged is out.
pub(crate) fn now(code: c_int) -> ! {
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    _exit(code)
}

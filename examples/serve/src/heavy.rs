//! Work that takes a processor for long: beside the threads that serve connections, and no more of it at a time than there
//! are processors, so that its memory has a bound too.

use std::thread::available_parallelism;

use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::fail::{Failure, Result};

/// So many bytes are read or written at once.
const LIGHT: usize = 64 << 10;

pub(crate) struct Heavy(Semaphore);

impl Default for Heavy {
    fn default() -> Self {
        Self(Semaphore::new(available_parallelism().map_or(1, usize::from)))
    }
}

impl Heavy {
    /// Does work over some bytes.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if bytes <= LIGHT {
            return Ok(work());
        }
        let given_up = |e: &dyn std::fmt::Display| {
            let text = format!("the request was given up: {e}");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        };
        let _permit = self.0.acquire().await.map_err(|e| given_up(&e))?;
        spawn_blocking(work).await.map_err(|e| given_up(&e))
    }
}

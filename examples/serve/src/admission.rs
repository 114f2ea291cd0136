//! What happens to every request, whatever it asks for: it is counted until its answer is through, and near the end its
//! connection closes behind it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::fail::Failure;
use crate::gauge::One;
use crate::routes;
use crate::server::Server;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

pub(crate) async fn admit(
    State(server): State<Arc<Server>>,
    mut request: Request,
    next: Next,
) -> Response {
    let due = (server.metrics.accept(), request.extensions_mut().remove());
    let mut response = match routes::is_text(request.uri()) {
        true => next.run(request).await,
        false => {
            let text = "the address has bytes that are not UTF-8";
            routes::refuse(request.uri(), Failure::bad(text))
        }
    };
    // The client opens another connection for its next request, and finds another server.
    if !server.is_ready() {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response.map(|body| Body::new(Due { body, _due: due }))
}

/// The body of an answer that is due.
struct Due {
    body: Body,
    /// For the server, and for the connection.
    _due: (One, Option<Arc<One>>),
}

impl HttpBody for Due {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

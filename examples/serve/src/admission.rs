//! What happens to every request, whatever it asks for: it is counted, and near the end its connection closes behind it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::Response;

use crate::server::Server;

const CLOSE: HeaderValue = HeaderValue::from_static("close");

pub(crate) async fn admit(
    State(server): State<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response {
    server.metrics.accept();
    let mut response = next.run(request).await;
    // The client opens another connection for its next request, and finds another server.
    if !server.is_ready() {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response
}

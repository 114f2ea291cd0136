//! The addresses of OpenAI's API, and answers in one piece.

use std::sync::Arc;

use accelerant::generate::End;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::asked::Asked;
use super::form::{AnswerKind, Form, usage};
use super::model::{Event, TextModel, Texts, given_up};
use super::refusal::Refusal;
use super::stream::Stream;
use crate::fail::{Failure, Result};
use crate::metrics::Counted;
use crate::server::Server;
use crate::{body, respond};

type Shared = State<Arc<Server>>;

pub(crate) fn routes() -> Router<Arc<Server>> {
    let completion = async |State(server): Shared, request| {
        answer(&server, request, AnswerKind::Completion).await
    };
    let chat =
        async |State(server): Shared, request| answer(&server, request, AnswerKind::Chat).await;
    Router::new()
        .route("/v1/models", get(list))
        .route("/v1/models/{name}", get(retrieve))
        .route("/v1/completions", post(completion))
        .route("/v1/chat/completions", post(chat))
}

async fn list(State(server): Shared) -> Response {
    let all: Vec<_> = server.text.iter().map(|model| describe(model)).collect();
    respond::json(&json!({ "object": "list", "data": all }))
}

async fn retrieve(State(server): Shared, Path(name): Path<String>) -> Result<Response, Refusal> {
    Ok(respond::json(&describe(named(server.text.as_ref(), &name)?)))
}

fn describe(model: &TextModel) -> Value {
    json!({
        "id": model.name(),
        "object": "model",
        "created": model.created,
        "owned_by": "accelerant",
    })
}

fn named<'a>(own: Option<&'a Arc<TextModel>>, name: &str) -> Result<&'a Arc<TextModel>> {
    let model = own.filter(|model| model.name() == name);
    let text = || format!("there is no language model `{name}`");
    model.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, text()))
}

async fn answer(server: &Server, request: Request, kind: AnswerKind) -> Response {
    let mut counted = server.text.as_ref().map(|model| Counted::new(&model.outcomes));
    let response = generate(server, request, kind, &mut counted).await;
    let response = response.unwrap_or_else(|failure| Refusal(failure).into_response());
    // A stream has taken it.
    if let Some(counted) = counted {
        counted.end(response.status());
    }
    response
}

async fn generate(
    server: &Server,
    request: Request,
    kind: AnswerKind,
    counted: &mut Option<Counted>,
) -> Result<Response> {
    let held = body::read(request, &server.room, server.read_limit).await?;
    let (own, bytes) = (server.text.clone(), held.bytes.clone());
    let read = move || -> Result<_> {
        let asked = Asked::read(&bytes, kind)?;
        let model = named(own.as_ref(), &asked.model)?;
        let prompts = model.prompts(&asked)?;
        Ok((model.clone(), asked, prompts))
    };
    let (model, asked, prompts) = server.heavy.run(held.bytes.len(), read).await??;
    drop(held);
    let texts = model.generate(&asked, &prompts)?;
    let form = Form::new(kind, model.name());
    if asked.stream == Some(true) {
        let kind = HeaderValue::from_static("text/event-stream");
        let body = Body::new(Stream::new(texts, form, asked.tells_usage(), counted.take()));
        let mut response = respond::of(kind, body);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok(response);
    }
    let (whole, used) = whole(texts).await?;
    Ok(respond::json(&form.whole(&whole, used)))
}

/// Waits for the whole texts.
async fn whole(mut texts: Texts) -> Result<(Vec<(String, End)>, Value)> {
    let mut all = vec![(String::new(), End::Failed); texts.count];
    let (mut through, mut tokens) = (0, 0);
    while let Some(event) = texts.events.recv().await {
        match event {
            Event::Piece(i, piece) => all[i].0 += &piece,
            Event::End(i, end, generated) => {
                all[i].1 = end;
                through += 1;
                tokens += generated;
            }
            Event::Failed(failure) => return Err(failure),
        }
        if through == all.len() {
            return Ok((all, usage(texts.prompt_tokens, tokens)));
        }
    }
    Err(given_up())
}

//! Answers piece by piece, as events that a server sends. A client that goes away drops the body, and so ends the
//! generation.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::{Value, json};

use super::form::{Form, usage};
use super::model::{Event, Texts, given_up};
use super::refusal::Refusal;
use crate::metrics::Counted;

const DONE: &str = "data: [DONE]\n\n";

/// The body of a stream.
pub(super) struct Stream {
    texts: Texts,
    form: Form,
    tells_usage: bool,
    begun: bool,
    /// Texts that have ended, and the tokens of all of them.
    through: usize,
    generated: usize,
    ended: bool,
    /// Counts the request, until the stream has ended.
    counted: Option<Counted>,
}

impl Stream {
    pub(super) fn new(
        texts: Texts,
        form: Form,
        tells_usage: bool,
        counted: Option<Counted>,
    ) -> Self {
        let (through, generated) = (0, 0);
        Self { texts, form, tells_usage, begun: false, through, generated, ended: false, counted }
    }

    fn end(&mut self, status: StatusCode) {
        self.ended = true;
        self.counted.take().into_iter().for_each(|counted| counted.end(status));
    }

    /// What comes before all pieces.
    fn beginning(&self) -> String {
        let mut out = String::new();
        (0..self.texts.count)
            .filter_map(|i| self.form.first(i))
            .for_each(|first| data(&mut out, &first));
        out
    }

    /// The text of what happened.
    fn write(&mut self, event: Option<Event>) -> String {
        let mut out = String::new();
        match event {
            Some(Event::Piece(i, piece)) => data(&mut out, &self.form.piece(i, &piece)),
            Some(Event::End(i, end, generated)) => {
                data(&mut out, &self.form.last(i, end));
                self.through += 1;
                self.generated += generated;
                if self.through == self.texts.count {
                    if self.tells_usage {
                        let usage = usage(self.texts.prompt_tokens, self.generated);
                        data(&mut out, &self.form.used(usage));
                    }
                    out += DONE;
                    self.end(StatusCode::OK);
                }
            }
            Some(Event::Failed(failure)) => {
                self.end(failure.status);
                data(&mut out, &json!({ "error": Refusal(failure).error() }));
            }
            None => return self.write(Some(Event::Failed(given_up()))),
        }
        out
    }
}

fn data(out: &mut String, value: &Value) {
    *out += &format!("data: {value}\n\n");
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let frame = |out: String| Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
        if !std::mem::replace(&mut this.begun, true) {
            let beginning = this.beginning();
            if !beginning.is_empty() {
                return frame(beginning);
            }
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let event = ready!(this.texts.events.poll_recv(context));
        match this.write(event) {
            out if out.is_empty() => Poll::Ready(None),
            out => frame(out),
        }
    }
}

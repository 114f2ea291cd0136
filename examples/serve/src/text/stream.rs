//! Answers piece by piece, as events that a server sends. A client that goes away drops the body, and so ends the
//! generation.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::{Value, json};

use super::form::{Form, usage};
use super::model::{Event, Text};
use super::refusal::Refusal;

const DONE: &str = "data: [DONE]\n\n";

/// The body of a stream.
pub(super) struct Stream {
    text: Text,
    form: Form,
    tells_usage: bool,
    begun: bool,
    ended: bool,
}

impl Stream {
    pub(super) fn new(text: Text, form: Form, tells_usage: bool) -> Self {
        Self { text, form, tells_usage, begun: false, ended: false }
    }

    /// The text of what happened.
    fn write(&mut self, event: Option<Event>) -> String {
        let mut out = String::new();
        match event {
            Some(Event::Piece(piece)) => data(&mut out, &self.form.piece(&piece)),
            Some(Event::End(end, generated)) => {
                data(&mut out, &self.form.last(end));
                if self.tells_usage {
                    data(&mut out, &self.form.used(usage(self.text.prompt_tokens, generated)));
                }
                out += DONE;
                self.ended = true;
            }
            Some(Event::Failed(failure)) => {
                data(&mut out, &json!({ "error": Refusal(failure).error() }));
                self.ended = true;
            }
            // The thread that generates has ended without a word.
            None => self.ended = true,
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
        if !std::mem::replace(&mut this.begun, true)
            && let Some(first) = this.form.first()
        {
            let mut out = String::new();
            data(&mut out, &first);
            return frame(out);
        }
        if this.ended {
            return Poll::Ready(None);
        }
        let event = ready!(this.text.events.poll_recv(context));
        match this.write(event) {
            out if out.is_empty() => Poll::Ready(None),
            out => frame(out),
        }
    }
}

//! Text as OpenAI's API has it, from one language model.
//!
//! - `model`: the model, and the batch that its requests are in.
//! - `asked`: what a request says.
//! - `answers`: the addresses, and answers in one piece.
//! - `stream`: answers piece by piece.
//! - `refusal`: the form of errors.

mod answers;
mod asked;
mod chat;
mod form;
mod model;
mod refusal;
mod stream;
mod weights;

pub(crate) use answers::routes;
pub(crate) use model::TextModel;
pub(crate) use refusal::Refusal;

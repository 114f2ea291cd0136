//! The server as its users meet it: a process of its own, on loopback.

mod bad_input;
mod changed;
mod clients;
mod connections;
mod gone;
mod http;
mod load;
mod mistakes;
mod models;
#[path = "../../../../tests/mistakes/page.rs"]
mod page;
mod places;
mod process;
mod protocol;
mod shutdown;
mod text;

//! The attribute `accelerant::trace`. What it does with an item is in `expand`, with a module in
//! `module`, with the expressions of a body in `rewrite`; which methods it knows in `vocabulary`. The
//! macro `accelerant::traced` is in `source`.

mod expand;
mod module;
mod own;
mod rewrite;
mod source;
mod vocabulary;

use proc_macro::TokenStream;

/// See `accelerant::trace`, under which name this is exported and documented.
#[proc_macro_attribute]
pub fn trace(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), item.into()).into()
}

/// See `accelerant::traced`, under which name this is exported and documented.
#[proc_macro]
pub fn traced(input: TokenStream) -> TokenStream {
    source::expand(input.into()).into()
}

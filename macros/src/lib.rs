//! The attribute `accelerant::trace`. What it does with an item is in `expand`, with the
//! expressions of a body in `rewrite`; which methods it knows in `vocabulary`.

mod expand;
mod rewrite;
mod vocabulary;

use proc_macro::TokenStream;

/// See `accelerant::trace`, under which name this is exported and documented.
#[proc_macro_attribute]
pub fn trace(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), item.into()).into()
}

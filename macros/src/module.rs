//! A module under the attribute: everything in it that takes and gives tensors.

use std::cell::RefCell;
use std::collections::HashMap;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, ImplItem, Item, ItemImpl, ItemMod, Result, UseTree};

use crate::{expand, own};

thread_local! {
    /// Functions of candle_nn that the module imports: the name here, their module and name there.
    static IMPORTED: RefCell<HashMap<String, (String, String)>> = RefCell::default();
}

/// The function of candle_nn that a name stands for in the module that is expanded.
pub(crate) fn imported(name: &str) -> Option<(String, String)> {
    IMPORTED.with_borrow(|all| all.get(name).cloned())
}

pub(crate) fn module(mut item: ItemMod) -> Result<TokenStream> {
    let Some((_, items)) = &mut item.content else {
        let text = "`trace` goes on a module that is written here, `mod model { … }`: of one in a \
                    file of its own it is given nothing";
        return Err(Error::new_spanned(item, text));
    };
    let mut names = HashMap::new();
    for item in &*items {
        if let Item::Use(item) = item {
            collect(&item.tree, &mut Vec::new(), &mut names);
        }
    }
    let outside = IMPORTED.replace(names);
    let outer = own::replace(own::Own::of(items));
    let made: Result<Vec<TokenStream>> = items.drain(..).map(one).collect();
    IMPORTED.set(outside);
    own::replace(outer);
    let made = made?;
    item.content = Some((Default::default(), Vec::new()));
    let ItemMod { attrs, vis, unsafety, ident, .. } = &item;
    Ok(quote! {
        #(#attrs)*
        #vis #unsafety mod #ident {
            #(#made)*
        }
    })
}

/// One item, or the item as it is.
fn one(item: Item) -> Result<TokenStream> {
    let attributes = match &item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        _ => return Ok(item.into_token_stream()),
    };
    // One that is marked by itself is expanded by itself.
    let marked = |attribute: &syn::Attribute| {
        attribute.path().segments.last().is_some_and(|last| last.ident == "trace")
    };
    let is_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("test")
    };
    if let Some(attribute) = attributes.iter().find(|attribute| marked(attribute)) {
        let skips = attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "skip");
        let mut item = item;
        if skips {
            let attributes = match &mut item {
                Item::Fn(item) => &mut item.attrs,
                Item::Impl(item) => &mut item.attrs,
                Item::Mod(item) => &mut item.attrs,
                _ => unreachable!("others were returned"),
            };
            attributes.retain(|attribute| !marked(attribute));
        }
        return Ok(item.into_token_stream());
    }
    if attributes.iter().any(is_test) {
        return Ok(item.into_token_stream());
    }
    let traced = match &item {
        Item::Fn(item) => expand::takes_and_gives(&item.sig),
        Item::Impl(item) => is_model(item),
        Item::Mod(item) => item.content.is_some(),
        _ => false,
    };
    let tokens = item.into_token_stream();
    Ok(if traced { expand::expand(TokenStream::new(), tokens) } else { tokens })
}

fn is_model(item: &ItemImpl) -> bool {
    if let Some((_, path, _)) = &item.trait_ {
        let last = path.segments.last();
        return last.is_some_and(|last| last.ident == "Module" || last.ident == "ModuleT");
    }
    item.items.iter().any(|inside| match inside {
        ImplItem::Fn(function) => expand::takes_and_gives(&function.sig),
        _ => false,
    })
}

/// The functions that a `use` brings from `candle_nn::ops` and `candle_nn::rotary_emb`.
fn collect(tree: &UseTree, path: &mut Vec<String>, names: &mut HashMap<String, (String, String)>) {
    let mut found = |here: String, there: String, path: &[String]| {
        if let [.., krate, module] = path
            && krate == "candle_nn"
            && ["ops", "rotary_emb"].contains(&module.as_str())
        {
            names.insert(here, (module.clone(), there));
        }
    };
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            collect(&inner.tree, path, names);
            path.pop();
        }
        UseTree::Name(name) => found(name.ident.to_string(), name.ident.to_string(), path),
        UseTree::Rename(name) => found(name.rename.to_string(), name.ident.to_string(), path),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| collect(tree, path, names));
        }
        UseTree::Glob(_) => {}
    }
}

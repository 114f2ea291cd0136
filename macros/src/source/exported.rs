//! Which types of a file are models, and how each is traced.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{FnArg, Generics, ImplItem, ImplItemFn, Item, Pat, ReturnType, Type};

/// Implementations of `Traceable`, as text on one line behind the file.
pub(super) fn of(text: &str) -> Result<String, String> {
    let file = syn::parse_file(text).map_err(|e| {
        let start = e.span().start();
        format!("line {}: {e}", start.line)
    })?;
    let cloned = |ty: &Type| {
        let name = ty.to_token_stream().to_string();
        let name = name.split(['<', ' ']).next().unwrap_or_default().to_owned();
        file.items.iter().any(|item| match item {
            Item::Struct(item) if item.ident == name => item
                .attrs
                .iter()
                .any(|a| a.path().is_ident("derive") && words(&a.meta).contains(&"Clone".into())),
            _ => false,
        })
    };
    let mut models: Vec<(String, TokenStream)> = Vec::new();
    for item in &file.items {
        let Item::Impl(item) = item else { continue };
        let (ty, generics) = (&*item.self_ty, &item.generics);
        let (of, method) = match &item.trait_ {
            None => (quote!(Self), "forward"),
            Some((_, path, _)) => match path.segments.last().map(|last| last.ident.to_string()) {
                Some(name) if name == "Module" => (quote!(<Self as #path>), "forward"),
                Some(name) if name == "ModuleT" => (quote!(<Self as #path>), "forward_t"),
                _ => continue,
            },
        };
        let found = item.items.iter().find_map(|inside| match inside {
            ImplItem::Fn(function) if function.sig.ident == method => Some(function),
            _ => None,
        });
        let name = ty.to_token_stream().to_string();
        if let Some(body) = found.and_then(|function| body(function, &of, cloned(ty)))
            && !models.iter().any(|(model, _)| *model == name)
        {
            models.push((name, model(ty, generics, &body)));
        }
    }
    let models: Vec<TokenStream> = models.into_iter().map(|(_, tokens)| tokens).collect();
    Ok(quote!(#(#models)*).to_string().replace('\n', " "))
}

fn words(tokens: &impl ToTokens) -> Vec<String> {
    fn collect(tokens: TokenStream, list: &mut Vec<String>) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Ident(word) => list.push(word.to_string()),
                proc_macro2::TokenTree::Group(group) => collect(group.stream(), list),
                _ => {}
            }
        }
    }
    let mut list = Vec::new();
    collect(tokens.to_token_stream(), &mut list);
    list
}

fn model(ty: &Type, generics: &Generics, body: &TokenStream) -> TokenStream {
    let (of_impl, _, of_where) = generics.split_for_impl();
    quote! {
        impl #of_impl ::accelerant::candle::Traceable for #ty #of_where {
            fn trace(
                &self,
                inputs: &mut ::accelerant::candle::Inputs<'_>,
            ) -> ::accelerant::candle::__private::Result<
                ::std::vec::Vec<::accelerant::candle::Traced>
            > {
                #body
            }
        }
    }
}

/// What a trace does with a forward; `None` where an argument is neither tensors nor `train`.
fn body(function: &ImplItemFn, of: &TokenStream, cloned: bool) -> Option<TokenStream> {
    let signature = &function.sig;
    let ReturnType::Type(_, output) = &signature.output else { return None };
    let receiver = signature.receiver()?;
    if !signature.generics.params.is_empty() || !gives_tensors(output) {
        return None;
    }
    // A cache that is filled is the clone's.
    let this = match (receiver.reference.is_some(), receiver.mutability.is_some()) {
        (true, false) => quote!(self),
        (true, true) if cloned => quote!(&mut ::std::clone::Clone::clone(self)),
        _ => return None,
    };
    let (mut takes, mut arguments, mut tensors) = (Vec::new(), Vec::new(), 0);
    for argument in signature.inputs.iter().skip(1) {
        let FnArg::Typed(argument) = argument else { return None };
        let Pat::Ident(name) = &*argument.pat else { return None };
        let (name, ty) = (&name.ident, &argument.ty);
        let text = name.to_string();
        let text = text.trim_start_matches('_');
        match ty.to_token_stream().to_string().replace(' ', "").as_str() {
            kind @ ("&Tensor" | "Tensor" | "Option<&Tensor>" | "Option<Tensor>" | "&[Tensor]") => {
                tensors += usize::from(kind == "&Tensor");
                takes.push(quote!(let #name: #ty = inputs.take(#text)?;));
                arguments.push(name.to_token_stream());
            }
            "bool" if text.contains("train") => arguments.push(quote!(false)),
            _ => return None,
        }
    }
    if takes.is_empty() {
        return None;
    }
    let only_reference = tensors == 1 && takes.len() == 1 && arguments.len() == 1;
    let method = &signature.ident;
    // The only input may have any name.
    let takes = match &arguments[..] {
        [name] if only_reference => {
            let text = name.to_string();
            let text = text.trim_start_matches('_');
            quote!(let #name = inputs.take_only(#text)?;)
        }
        _ => quote!(#(#takes)*),
    };
    Some(quote! {
        #takes
        inputs.finish()?;
        let outputs = #of::#method(#this, #(#arguments),*)?;
        ::std::result::Result::Ok(::accelerant::candle::__private::outputs(outputs))
    })
}

/// Whether these are results of tensors in tuples and lists.
fn gives_tensors(ty: &Type) -> bool {
    let known = ["candle", "core", "accelerant", "mirror", "Result", "Tensor", "Vec", "Option"];
    let words = words(&ty);
    !words.is_empty()
        && words.contains(&"Tensor".into())
        && words.contains(&"Result".into())
        && words.iter().all(|word| known.contains(&word.as_str()))
}

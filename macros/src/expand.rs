//! What becomes of an item under the attribute.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::visit_mut::VisitMut as _;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Generics, Ident, ImplItem, ImplItemFn, Item, ItemFn,
    ItemImpl, Pat, PathArguments, Result, ReturnType, Signature, Type, TypeParamBound, parse_quote,
};

use crate::rewrite::Rewriter;

/// The item and what is made of it, or the item and what is wrong with it.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    match try_expand(arguments, item.clone()) {
        Ok(tokens) => tokens,
        Err(error) => {
            let errors = error.into_compile_error();
            let stand_in = stand_in(&item);
            let item = without_skips(item);
            quote!(#item #errors #stand_in)
        }
    }
}

fn try_expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments_given = !arguments.is_empty();
    if arguments_given {
        let text = "`trace` takes no arguments here; `#[trace(skip)]` goes on a function in an \
                    inherent impl that is traced";
        return Err(Error::new_spanned(arguments, text));
    }
    let tensor = free_name(&item);
    match syn::parse2(item)? {
        Item::Fn(item) => function(item, &tensor),
        Item::Mod(item) => crate::module::module(item),
        Item::Impl(item) if item.trait_.is_some() => trait_impl(&item, &tensor),
        Item::Impl(item) => inherent_impl(item, &tensor),
        other => {
            let text = "`trace` goes on `impl Module for …`, `impl ModuleT for …`, an inherent \
                        `impl`, a function, or a module of these";
            Err(Error::new_spanned(other, text))
        }
    }
}

/// What an impl that was refused would have implemented, so that no second error says that the type
/// has no forward.
fn stand_in(item: &TokenStream) -> TokenStream {
    let Ok(item) = syn::parse2::<ItemImpl>(item.clone()) else { return TokenStream::new() };
    let named = |name: &str| {
        item.items.iter().find_map(|item| match item {
            ImplItem::Fn(function) if function.sig.ident == name => Some(function),
            _ => None,
        })
    };
    let (ty, mut generics) = (&item.self_ty, item.generics.clone());
    let of_trait = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
    let is_one = match of_trait.map(|last| last.ident.to_string()).as_deref() {
        Some("Module" | "ModuleT") => true,
        Some(_) => return TokenStream::new(),
        None => match named("forward") {
            Some(forward) => {
                let inputs = forward.sig.inputs.iter().skip(1).filter(|a| mentions_tensor(a));
                inputs.count() == 1 && gives_one(&forward.sig.output)
            }
            None => return TokenStream::new(),
        },
    };
    also_forward(&mut generics);
    let (of_impl, _, of_where) = generics.split_for_impl();
    let result = quote!(::accelerant::candle::__private::Result);
    if is_one {
        return quote! {
            impl #of_impl ::accelerant::candle::Forward for #ty #of_where {
                fn forward<AnyTensor: ::accelerant::candle::TensorOps>(
                    &self,
                    _: &AnyTensor,
                ) -> #result<AnyTensor> {
                    ::std::unreachable!()
                }
            }
        };
    }
    quote! {
        impl #of_impl ::accelerant::candle::Traceable for #ty #of_where {
            fn trace(
                &self,
                _: &mut ::accelerant::candle::Inputs<'_>,
            ) -> #result<::std::vec::Vec<::accelerant::candle::Traced>> {
                ::std::unreachable!()
            }
        }
    }
}

/// `T`, when the item has no other `T`.
fn free_name(item: &TokenStream) -> Ident {
    fn has(tokens: TokenStream, name: &str) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => ident == name,
            proc_macro2::TokenTree::Group(group) => has(group.stream(), name),
            _ => false,
        })
    }
    let name = if has(item.clone(), "T") { "AnyTensor" } else { "T" };
    Ident::new(name, Span::call_site())
}

fn function(mut item: ItemFn, tensor: &Ident) -> Result<TokenStream> {
    if !takes_and_gives(&item.sig) {
        let text = "a function that is traced takes and gives tensors: there is no `Tensor` in its \
                    arguments or in what it returns";
        return Err(Error::new_spanned(&item.sig, text));
    }
    let native = ItemFn { attrs: kept(&item.attrs), ..item.clone() };
    generalize(&mut item.sig, &mut item.block, tensor)?;
    item.attrs.push(allow());
    let conditions = conditions(&item.attrs);
    Ok(quote! {
        #item

        #(#conditions)*
        const _: () = {
            #native
        };
    })
}

/// `impl Module for …` and `impl ModuleT for …`.
fn trait_impl(item: &ItemImpl, tensor: &Ident) -> Result<TokenStream> {
    let (_, path, _) = item.trait_.as_ref().expect("it is a trait's");
    let name = path.segments.last().map(|segment| segment.ident.to_string());
    let method = match name.as_deref() {
        Some("Module") => "forward",
        Some("ModuleT") => "forward_t",
        _ => {
            let text = "`trace` knows the traits `Module` and `ModuleT`: put the methods into an \
                        inherent impl, trace that, and call them from this one";
            return Err(Error::new_spanned(path, text));
        }
    };
    let found = item.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident == method => Some(function),
        _ => None,
    });
    let Some(forward) = found else {
        return Err(Error::new_spanned(path, format!("there is no `{method}` in this impl")));
    };
    let mut rewriter = Rewriter::new(tensor.clone());
    let (mut block, mut output) = (forward.block.clone(), forward.sig.output.clone());
    rewriter.visit_block_mut(&mut block);
    rewriter.visit_return_type_mut(&mut output);
    rewriter.finish()?;
    let mut arguments = forward.sig.inputs.iter().skip(1).filter_map(|argument| match argument {
        FnArg::Typed(argument) => Some(&argument.pat),
        FnArg::Receiver(_) => None,
    });
    let xs = arguments.next();
    // What is exported is not trained.
    let train = arguments.next().map(|train| quote!(let #train: bool = false;));
    let mut generics = item.generics.clone();
    also_forward(&mut generics);
    let (of_impl, _, of_where) = generics.split_for_impl();
    let self_type = &item.self_ty;
    let (attributes, conditions) = (allow(), conditions(&item.attrs));
    Ok(quote! {
        #item

        #(#conditions)*
        #attributes
        impl #of_impl ::accelerant::candle::Forward for #self_type #of_where {
            fn forward<#tensor: ::accelerant::candle::TensorOps>(&self, #xs: &#tensor) #output {
                #train
                #block
            }
        }
    })
}

fn inherent_impl(mut item: ItemImpl, tensor: &Ident) -> Result<TokenStream> {
    let mut errors: Option<Error> = None;
    let mut fail = |error: Error| match &mut errors {
        Some(errors) => errors.combine(error),
        None => errors = Some(error),
    };
    let (mut found, mut forward, mut natives) = (false, TokenStream::new(), Vec::new());
    for function in &mut item.items {
        let ImplItem::Fn(function) = function else { continue };
        if take_skip(&mut function.attrs) {
            continue;
        }
        if !takes_and_gives(&function.sig) {
            if function.sig.ident == "forward" {
                let text = "a `forward` that is traced takes `&self` and tensors, and gives a \
                            tensor, or several in a tuple, array or `Vec`";
                fail(Error::new_spanned(&function.sig, text));
            }
            continue;
        }
        found = true;
        if let Some(receiver) = function.sig.receiver().filter(|self_| self_.mutability.is_some()) {
            let text = "a forward that is traced cannot keep state: take it as a tensor and give \
                        it back, or put `#[trace(skip)]` on this function";
            fail(Error::new_spanned(receiver, text));
            continue;
        }
        if function.sig.ident == "forward" {
            forward = exported(function, &item.generics, &item.self_ty);
        }
        let mut native = ImplItemFn {
            attrs: kept(&function.attrs),
            vis: syn::Visibility::Inherited,
            ..function.clone()
        };
        native.sig.ident = format_ident!("__candle_{}", native.sig.ident);
        natives.push(ImplItem::Fn(native));
        if let Err(error) = generalize(&mut function.sig, &mut function.block, tensor) {
            fail(error);
        }
        function.attrs.push(allow());
    }
    item.items.extend(natives);
    if !found {
        let text = "nothing to trace: no function here takes and gives tensors";
        fail(Error::new_spanned(&item.self_ty, text));
    }
    match errors {
        Some(errors) => Err(errors),
        None => Ok(quote!(#item #forward)),
    }
}

/// The traits by which a model with this `forward` is exported.
fn exported(forward: &ImplItemFn, generics: &Generics, self_type: &Type) -> TokenStream {
    let signature = &forward.sig;
    // What is exported is not trained.
    let is_train = |argument: &&FnArg| match argument {
        FnArg::Typed(argument) => {
            let name = argument.pat.to_token_stream().to_string();
            argument.ty.to_token_stream().to_string() == "bool" && name.contains("train")
        }
        FnArg::Receiver(_) => false,
    };
    let given: Vec<bool> = signature.inputs.iter().skip(1).map(|a| is_train(&a)).collect();
    // Any other parameter that is no tensor has no value then; such a forward is a helper.
    let arguments: Option<Vec<(Ident, Type)>> = signature
        .inputs
        .iter()
        .skip(1)
        .filter(|argument| !is_train(argument))
        .map(|argument| match argument {
            FnArg::Typed(argument) => match &*argument.pat {
                Pat::Ident(name) if mentions_tensor(&*argument.ty) => {
                    Some((name.ident.clone(), (*argument.ty).clone()))
                }
                _ => None,
            },
            FnArg::Receiver(_) => None,
        })
        .collect();
    let Some(mut arguments) = arguments else { return TokenStream::new() };
    if signature.receiver().is_none() || !signature.generics.params.is_empty() {
        return TokenStream::new();
    }
    let (of_impl, _, of_where) = generics.split_for_impl();
    let span = Span::call_site().located_at(signature.ident.span());
    if arguments.is_empty() {
        return TokenStream::new();
    }
    if let ([(_, Type::Reference(only))], true) = (&*arguments, gives_one(&signature.output))
        && is_tensor(&only.elem)
    {
        let call = given.iter().map(|train| if *train { quote!(false) } else { quote!(xs) });
        return quote_spanned! {span=>
            impl #of_impl ::accelerant::candle::Forward for #self_type #of_where {
                fn forward<AnyTensor: ::accelerant::candle::TensorOps>(
                    &self,
                    xs: &AnyTensor,
                ) -> ::accelerant::candle::__private::Result<AnyTensor> {
                    Self::forward(self, #(#call),*)
                }
            }
        };
    }
    let traced = format_ident!("__Traced");
    let mut rewriter = Rewriter::new(traced.clone());
    arguments.iter_mut().for_each(|(_, ty)| rewriter.visit_type_mut(ty));
    let (names, types): (Vec<_>, Vec<_>) = arguments.into_iter().unzip();
    let texts = names.iter().map(|name| name.to_string());
    let mut left = names.iter();
    let call = given.iter().map(|train| match train {
        true => quote!(false),
        false => left.next().to_token_stream(),
    });
    quote_spanned! {span=>
        impl #of_impl ::accelerant::candle::Traceable for #self_type #of_where {
            fn trace(
                &self,
                inputs: &mut ::accelerant::candle::Inputs<'_>,
            ) -> ::accelerant::candle::__private::Result<
                ::std::vec::Vec<::accelerant::candle::Traced>
            > {
                type #traced = ::accelerant::candle::Traced;
                #(let #names: #types = inputs.take(#texts)?;)*
                inputs.finish()?;
                let outputs = Self::forward(self, #(#call),*)?;
                ::std::result::Result::Ok(::accelerant::candle::__private::outputs(outputs))
            }
        }
    }
}

/// Makes a function generic over the tensor.
fn generalize(signature: &mut Signature, block: &mut syn::Block, tensor: &Ident) -> Result<()> {
    let mut rewriter = Rewriter::new(tensor.clone());
    for argument in &mut signature.inputs {
        if let FnArg::Typed(argument) = argument {
            rewriter.visit_type_mut(&mut argument.ty);
        }
    }
    rewriter.visit_return_type_mut(&mut signature.output);
    rewriter.visit_block_mut(block);
    signature.generics.params.push(parse_quote!(#tensor: ::accelerant::candle::TensorOps));
    rewriter.finish()
}

/// What is generic over modules is so over forwards.
fn also_forward(generics: &mut Generics) {
    let is_module = |bound: &TypeParamBound| {
        let TypeParamBound::Trait(bound) = bound else { return false };
        let last = bound.path.segments.last();
        last.is_some_and(|last| last.ident == "Module" || last.ident == "ModuleT")
    };
    for parameter in generics.type_params_mut() {
        if parameter.bounds.iter().any(is_module) {
            parameter.bounds.push(parse_quote!(::accelerant::candle::Forward));
        }
    }
    for predicate in generics.where_clause.iter_mut().flat_map(|clause| &mut clause.predicates) {
        if let syn::WherePredicate::Type(predicate) = predicate
            && predicate.bounds.iter().any(is_module)
        {
            predicate.bounds.push(parse_quote!(::accelerant::candle::Forward));
        }
    }
}

/// Whether a function takes tensors and gives some.
pub(crate) fn takes_and_gives(signature: &Signature) -> bool {
    let takes = signature.inputs.iter().any(|argument| match argument {
        FnArg::Typed(argument) => mentions_tensor(&*argument.ty),
        FnArg::Receiver(_) => false,
    });
    takes && mentions_tensor(&signature.output)
}

fn mentions_tensor(tokens: impl ToTokens) -> bool {
    fn search(tokens: TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => ident == "Tensor",
            proc_macro2::TokenTree::Group(group) => search(group.stream()),
            _ => false,
        })
    }
    search(tokens.into_token_stream())
}

fn is_tensor(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Tensor")
}

/// Whether this is `-> Result<Tensor>`.
fn gives_one(output: &ReturnType) -> bool {
    let ReturnType::Type(_, ty) = output else { return false };
    let Type::Path(path) = &**ty else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return false };
    matches!(arguments.args.first(), Some(GenericArgument::Type(ty)) if is_tensor(ty))
}

/// Removes `#[trace(skip)]`, and tells whether it was there.
fn take_skip(attributes: &mut Vec<Attribute>) -> bool {
    let count = attributes.len();
    attributes.retain(|attribute| {
        let named = attribute.path().segments.last().is_some_and(|last| last.ident == "trace");
        let skips = || attribute.parse_args::<Ident>().is_ok_and(|word| word == "skip");
        !(named && skips())
    });
    attributes.len() < count
}

/// The item as it was, in which a `#[trace(skip)]` would be run as an attribute of its own.
fn without_skips(item: TokenStream) -> TokenStream {
    match syn::parse2::<ItemImpl>(item.clone()) {
        Ok(mut parsed) => {
            for function in &mut parsed.items {
                if let ImplItem::Fn(function) = function {
                    take_skip(&mut function.attrs);
                }
            }
            parsed.into_token_stream()
        }
        Err(_) => item,
    }
}

/// The attributes that decide whether an item is there at all.
fn conditions(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"))
}

/// The attributes of the function as it was, which stays beside the generic one: what it imports is
/// used, and the compiler says of it what it always said.
fn kept(attributes: &[Attribute]) -> Vec<Attribute> {
    let mut kept: Vec<Attribute> = conditions(attributes).cloned().collect();
    kept.push(parse_quote!(#[doc(hidden)]));
    kept.push(parse_quote!(#[allow(dead_code, unused_variables, unused_mut, clippy::all)]));
    kept
}

/// Lints about what stands in the source in another form, where they were seen already.
fn allow() -> Attribute {
    parse_quote!(#[allow(unused_braces, unused_mut, unused_variables, clippy::all)])
}

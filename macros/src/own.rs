//! The functions and methods of a module that is expanded. What makes a tensor of sizes alone, such as a mask, gives one of
//! Candle's own, and calls of the others may be given Candle's own tensors: a weight in a field is one.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use quote::ToTokens as _;
use syn::{FnArg, GenericArgument, ImplItem, Item, PathArguments, Signature, Type};

use crate::expand;

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Parameter {
    /// `&Tensor`
    Borrowed,
    /// `Tensor`
    Owned,
    /// `Option<&Tensor>`
    Optional,
    Other,
}

/// By name and number of parameters: the parameters without `self`, `Other` where two of a name differ.
type ByName = HashMap<(String, usize), Vec<Parameter>>;

#[derive(Default)]
pub(crate) struct Own {
    functions: ByName,
    methods: ByName,
    /// What takes no tensor and gives one.
    makers: HashSet<(String, usize)>,
    making_methods: HashSet<(String, usize)>,
}

thread_local! {
    static OWN: RefCell<Own> = RefCell::default();
}

/// Makes these the functions of the module that is expanded, and gives those of the module around it.
pub(crate) fn replace(own: Own) -> Own {
    OWN.replace(own)
}

/// The parameters of a function of the module.
pub(crate) fn function(name: &str, count: usize) -> Option<Vec<Parameter>> {
    OWN.with_borrow(|own| found(&own.functions, name, count))
}

/// The parameters of a method, or of an associated function, of a type of the module.
pub(crate) fn method(name: &str, count: usize) -> Option<Vec<Parameter>> {
    OWN.with_borrow(|own| found(&own.methods, name, count))
}

/// Whether a function of the module makes a tensor of none.
pub(crate) fn makes(name: &str, count: usize) -> bool {
    OWN.with_borrow(|own| own.makers.contains(&(name.to_owned(), count)))
}

/// Whether a method, or an associated function, of a type of the module makes a tensor of none.
pub(crate) fn method_makes(name: &str, count: usize) -> bool {
    OWN.with_borrow(|own| own.making_methods.contains(&(name.to_owned(), count)))
}

fn found(all: &ByName, name: &str, count: usize) -> Option<Vec<Parameter>> {
    let parameters = all.get(&(name.to_owned(), count))?;
    let any = parameters.iter().any(|parameter| *parameter != Parameter::Other);
    any.then(|| parameters.clone())
}

impl Own {
    /// Those of `items` that are traced.
    pub(crate) fn of(items: &[Item]) -> Self {
        let mut own = Self::default();
        for item in items {
            match item {
                Item::Fn(item) if !expand::skips(&item.attrs) => {
                    add(&mut own.functions, &item.sig);
                    own.makers.extend(maker(&item.sig));
                }
                Item::Impl(item) if item.trait_.is_none() && !expand::skips(&item.attrs) => {
                    for inside in &item.items {
                        if let ImplItem::Fn(method) = inside
                            && !expand::skips(&method.attrs)
                        {
                            add(&mut own.methods, &method.sig);
                            own.making_methods.extend(maker(&method.sig));
                        }
                    }
                }
                _ => {}
            }
        }
        own
    }
}

fn maker(signature: &Signature) -> Option<(String, usize)> {
    let count = signature.inputs.iter().filter(|of| matches!(of, FnArg::Typed(_))).count();
    let makes = !expand::takes(signature) && expand::gives_result(&signature.output);
    makes.then(|| (signature.ident.to_string(), count))
}

fn add(all: &mut ByName, signature: &Signature) {
    // What is borrowed from an argument outlives the call.
    if !expand::takes_and_gives(signature)
        || signature.output.to_token_stream().to_string().contains('&')
    {
        return;
    }
    let parameters: Vec<Parameter> = signature.inputs.iter().filter_map(parameter).collect();
    let known = all
        .entry((signature.ident.to_string(), parameters.len()))
        .or_insert_with(|| parameters.clone());
    for (known, own) in known.iter_mut().zip(parameters) {
        if *known != own {
            *known = Parameter::Other;
        }
    }
}

fn parameter(argument: &FnArg) -> Option<Parameter> {
    let FnArg::Typed(argument) = argument else { return None };
    let borrowed = |ty: &Type| match ty {
        Type::Reference(of) => of.mutability.is_none() && expand::is_tensor(&of.elem),
        _ => false,
    };
    Some(match &*argument.ty {
        ty if borrowed(ty) => Parameter::Borrowed,
        ty if expand::is_tensor(ty) => Parameter::Owned,
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if last.ident == "Option" => match &last.arguments {
                PathArguments::AngleBracketed(of) if matches!(of.args.first(), Some(GenericArgument::Type(ty)) if borrowed(ty)) => {
                    Parameter::Optional
                }
                _ => Parameter::Other,
            },
            _ => Parameter::Other,
        },
        _ => Parameter::Other,
    })
}

//! The body of a forward for any tensor: `Tensor` is the generic type, layers are called through
//! the trait, operands that may be candle's own tensors are lifted.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::parse::Parser as _;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, ExprCall, ExprMethodCall, Ident, Item, Lit, Macro, Member, Path, Token};

use crate::own::{self, Parameter};
use crate::vocabulary;

/// Rewrites types and expressions; what it cannot is collected.
pub(crate) struct Rewriter {
    /// The type that stands for `Tensor`.
    tensor: Ident,
    errors: Option<syn::Error>,
}

impl Rewriter {
    pub(crate) fn new(tensor: Ident) -> Self {
        Self { tensor, errors: None }
    }

    pub(crate) fn finish(self) -> syn::Result<()> {
        self.errors.map_or(Ok(()), Err)
    }

    fn refuse(&mut self, at: impl ToTokens, text: String) {
        let error = syn::Error::new_spanned(at, text);
        match &mut self.errors {
            Some(errors) => errors.combine(error),
            None => self.errors = Some(error),
        }
    }

    /// An expression as the generic tensor.
    fn lift(&self, expr: &Expr) -> TokenStream {
        let tensor = &self.tensor;
        let span = generated(expr.span());
        quote_spanned!(span=> ::accelerant::candle::__private::lift::<#tensor, _>(&#expr))
    }

    /// A reference to a generic tensor; a field may be candle's.
    fn lift_field(&self, expr: &Expr) -> TokenStream {
        if is_field(expr) {
            let (lifted, span) = (self.lift(expr), generated(expr.span()));
            return quote_spanned!(span=> &#lifted);
        }
        expr.to_token_stream()
    }

    /// An argument of a function of the module that is expanded.
    fn argument(&self, arg: &Expr, parameter: Parameter) -> TokenStream {
        let (lifted, span) = (self.lift(arg), generated(arg.span()));
        let tensor = &self.tensor;
        match parameter {
            Parameter::Borrowed => quote_spanned!(span=> &#lifted),
            Parameter::Owned => lifted,
            Parameter::Optional if !is_none(arg) => quote_spanned!(span=>
                ::accelerant::candle::__private::lift_optional::<#tensor, _>(#arg).as_ref()
            ),
            Parameter::Optional | Parameter::Other => arg.to_token_stream(),
        }
    }

    /// A tensor that a function of the module made of none, as the generic tensor.
    fn made(&self, call: &(impl ToTokens + syn::spanned::Spanned)) -> TokenStream {
        let (tensor, span) = (&self.tensor, generated(call.span()));
        quote_spanned!(span=> ::accelerant::candle::__private::made::<#tensor, _>(#call))
    }

    fn arguments<'a>(
        &self,
        args: impl IntoIterator<Item = &'a Expr>,
        parameters: &[Parameter],
    ) -> Vec<TokenStream> {
        args.into_iter().zip(parameters).map(|(arg, of)| self.argument(arg, *of)).collect()
    }

    fn method_call(&mut self, call: &ExprMethodCall) -> Option<TokenStream> {
        let name = call.method.to_string();
        let (receiver, method, args) = (&*call.receiver, &call.method, &call.args);
        let span = generated(method.span());
        let tensor = &self.tensor;
        let has_values = is_field(receiver) && vocabulary::reads_values(&name);
        if let Some(why) = vocabulary::refused_method(&name).filter(|_| !has_values) {
            self.refuse(method, format!("`{name}` cannot be exported: {why}"));
            return None;
        }
        let private = quote_spanned!(span=> ::accelerant::candle::__private);
        match (name.as_str(), args.len()) {
            ("forward", 1) => {
                let (scope, xs) = (scope(receiver), self.lift_field(&args[0]));
                Some(quote_spanned!(span=> #private::forward(&#receiver, #scope, #xs)))
            }
            ("apply", 1) => {
                let (scope, layer, xs) = (scope(&args[0]), &args[0], self.lift(receiver));
                Some(quote_spanned!(span=> #private::forward(#layer, #scope, &#xs)))
            }
            ("forward_t", 2) => Some(self.forward_t(receiver, &args[0], &args[1], span)),
            ("forward", 2) if is_train(&args[1]) => {
                Some(self.forward_t(receiver, &args[0], &args[1], span))
            }
            ("apply_t", 2) => Some(self.forward_t(&args[0], receiver, &args[1], span)),
            _ => match vocabulary::operands(&name) {
                Some(tensors) if args.len() >= tensors => {
                    let receiver = self.lift(receiver);
                    let lifted = args.iter().take(tensors).map(|arg| self.lift(arg));
                    let others = args.iter().skip(tensors);
                    let turbofish = &call.turbofish;
                    Some(quote_spanned!(span=>
                        <#tensor as ::accelerant::candle::TensorOps>::#method #turbofish(
                            &#receiver, #(&#lifted,)* #(#others),*
                        )
                    ))
                }
                _ => self.other_method(call, &name),
            },
        }
    }

    fn other_method(&self, call: &ExprMethodCall, name: &str) -> Option<TokenStream> {
        let (receiver, args) = (&call.receiver, &call.args);
        if (is_self(receiver) || name.starts_with("forward"))
            && let Some(parameters) = own::method(name, args.len())
        {
            let (method, turbofish) = (&call.method, &call.turbofish);
            let args = self.arguments(args, &parameters);
            return Some(quote_spanned!(generated(method.span())=>
                #receiver.#method #turbofish(#(#args),*)
            ));
        }
        if is_self(receiver) && own::method_makes(name, args.len()) {
            return Some(self.made(call));
        }
        let numbers = vocabulary::takes_number(name);
        let lift_receiver = is_field(receiver)
            && (vocabulary::is_of_tensor(name) || ["maximum", "minimum"].contains(&name));
        let lift_argument = numbers && args.len() == 1 && is_field(&args[0]) && is_ref(&args[0]);
        if !lift_receiver && !lift_argument {
            return None;
        }
        let receiver = if lift_receiver {
            self.lift(receiver)
        } else {
            quote_spanned!(call.span()=> #receiver)
        };
        let args: Vec<_> = args
            .iter()
            .map(|arg| if lift_argument { self.lift_field(arg) } else { arg.to_token_stream() })
            .collect();
        let (method, turbofish) = (&call.method, &call.turbofish);
        Some(quote_spanned!(generated(method.span())=> #receiver.#method #turbofish(#(#args),*)))
    }

    /// A layer that is told whether it is trained.
    fn forward_t(&mut self, layer: &Expr, xs: &Expr, train: &Expr, span: Span) -> TokenStream {
        if let Expr::Lit(literal) = train
            && matches!(&literal.lit, Lit::Bool(train) if train.value)
        {
            let text = "a layer in training cannot be exported: pass `false`, or the `train` of \
                        `ModuleT::forward_t`";
            self.refuse(train, text.into());
        }
        let (scope, xs) = (scope(layer), self.lift(xs));
        quote_spanned!(span=> {
            use ::accelerant::candle::__private::ForwardT as _;
            (#layer).__forward_t(#scope, &#xs, #train)
        })
    }

    fn call(&mut self, call: &ExprCall) -> Option<TokenStream> {
        let Expr::Path(function) = &*call.func else { return None };
        let mut segments: Vec<String> =
            function.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // Where a module is expanded, what it imports is known.
        if let [name] = &segments[..]
            && let Some((module, name)) = crate::module::imported(name)
        {
            segments = vec!["candle_nn".into(), module, name];
        }
        let parameters = match segments.as_slice() {
            [name] => own::function(name, call.args.len()),
            [of, name] if of == "Self" => own::method(name, call.args.len()),
            _ => None,
        };
        let makes = match segments.as_slice() {
            [name] => own::makes(name, call.args.len()),
            [of, name] if of == "Self" => own::method_makes(name, call.args.len()),
            _ => false,
        };
        if makes {
            return Some(self.made(call));
        }
        if let Some(parameters) = parameters {
            let (func, args) = (&call.func, self.arguments(&call.args, &parameters));
            return Some(quote_spanned!(generated(func.span())=> #func(#(#args),*)));
        }
        let [.., module, name] = segments.as_slice() else { return None };
        if self.tensor == module && name == "try_from" && call.args.len() == 1 {
            let (tensor, value) = (&self.tensor, &call.args[0]);
            return Some(quote_spanned!(generated(call.func.span())=>
                ::accelerant::candle::__private::try_from::<#tensor, _>(#value)
            ));
        }
        if is_own(&segments[0]) {
            return None;
        }
        if let Some(why) = vocabulary::refused_function(module, name) {
            self.refuse(&function.path, refused(module, name, why, &segments[0]));
            return None;
        }
        let span = generated(call.func.span());
        let tensor = &self.tensor;
        let (tensors, is_method) = match vocabulary::function(module, name) {
            Some(tensors) => (tensors, false),
            // `Tensor::add(&a, &b)`, which is an operator's method too.
            None if tensor == module => (1 + vocabulary::operands(name).unwrap_or(0), true),
            None => (0, true),
        };
        if call.args.len() >= tensors && (tensors > 1 || !is_method) {
            let method = Ident::new(name, function.path.segments.last()?.ident.span());
            let lifted = call.args.iter().take(tensors).map(|arg| self.lift(arg));
            let others = call.args.iter().skip(tensors);
            let run = quote_spanned!(span=>
                <#tensor as ::accelerant::candle::TensorOps>::#method(#(&#lifted,)* #(#others),*)
            );
            if is_method || segments[0] == "candle_nn" {
                return Some(run);
            }
            // A module of the caller's may have this name: compiled only where it is candle's.
            let (path, module) = (&function.path, Ident::new(module, Span::call_site()));
            let candles = quote_spanned!(span=> ::accelerant::candle::__private::candle_nn);
            // Those are generic over the axis, which this names.
            let axis = name.ends_with("softmax").then(|| quote_spanned!(span=> ::<usize>));
            return Some(quote_spanned!(path.span()=> {
                ::accelerant::candle::__private::is_candles((
                    #path,
                    #candles::#module::#method #axis,
                ));
                #run
            }));
        }
        if self.tensor == module
            && ["cat", "stack"].contains(&name.as_str())
            && let [Expr::Reference(list), dim] = &*call.args.iter().collect::<Vec<_>>()
            && let Expr::Array(array) = &*list.expr
        {
            let lifted = array.elems.iter().map(|element| self.lift(element));
            let func = &call.func;
            return Some(quote_spanned!(span=> #func(&[#(#lifted),*], #dim)));
        }
        None
    }
}

impl VisitMut for Rewriter {
    fn visit_path_mut(&mut self, path: &mut Path) {
        visit_mut::visit_path_mut(self, path);
        let count = path.segments.len();
        let at = |back: usize| {
            count.checked_sub(back).filter(|&i| {
                path.segments[i].ident == "Tensor" && path.segments[i].arguments.is_none()
            })
        };
        let Some(place) = at(1).or_else(|| at(2)) else { return };
        let span = path.segments[place].ident.span();
        let mut segments: Punctuated<_, _> = path.segments.iter().skip(place).cloned().collect();
        segments[0].ident = Ident::new(&self.tensor.to_string(), span);
        path.leading_colon = None;
        path.segments = segments;
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        // Before `Tensor` has another name.
        if let Expr::Call(call) = expr
            && let Expr::Path(function) = &*call.func
            && let [module, name] = &*last_two(&function.path)
            && module == "Tensor"
            && let Some(why) = vocabulary::refused_function(module, name)
        {
            self.refuse(&function.path, refused(module, name, why, module));
        }
        visit_mut::visit_expr_mut(self, expr);
        let rewritten = match &*expr {
            Expr::MethodCall(call) => self.method_call(call),
            Expr::Call(call) => self.call(call),
            _ => None,
        };
        if let Some(rewritten) = rewritten {
            *expr = Expr::Verbatim(rewritten);
        }
    }

    /// Macros whose arguments are expressions, such as `vec!`; others are left alone.
    fn visit_macro_mut(&mut self, mac: &mut Macro) {
        let list = Punctuated::<Expr, Token![,]>::parse_terminated;
        if let Ok(mut expressions) = list.parse2(mac.tokens.clone()) {
            expressions.iter_mut().for_each(|expr| self.visit_expr_mut(expr));
            mac.tokens = expressions.into_token_stream();
        }
    }

    /// A function inside the body has a body of its own.
    fn visit_item_mut(&mut self, _: &mut Item) {}
}

/// Whether a path that begins so leads to something of the caller's own, or of ours.
fn is_own(first: &str) -> bool {
    ["accelerant", "crate", "self", "super"].contains(&first)
}

/// The error for a function of candle's that cannot be exported, in a path that begins with `first`.
fn refused(module: &str, name: &str, why: &str, first: &str) -> String {
    let text = format!("`{module}::{name}` cannot be exported: {why}");
    match first == module && module != "Tensor" {
        true => {
            format!("{text} (for a module of your own, begin the path with `crate::` or `self::`)")
        }
        false => text,
    }
}

fn last_two(path: &Path) -> Vec<String> {
    let skip = path.segments.len().saturating_sub(2);
    path.segments.iter().skip(skip).map(|segment| segment.ident.to_string()).collect()
}

/// A place in the source, for tokens that are not there.
fn generated(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// Whether this is a field, or a part of one.
fn is_field(expr: &Expr) -> bool {
    match expr {
        Expr::Field(_) => true,
        Expr::Index(index) => is_field(&index.expr),
        Expr::Paren(paren) => is_field(&paren.expr),
        Expr::Reference(reference) => is_field(&reference.expr),
        _ => false,
    }
}

fn is_self(expr: &Expr) -> bool {
    matches!(expr, Expr::Path(path) if path.path.is_ident("self"))
}

fn is_none(expr: &Expr) -> bool {
    matches!(expr, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "None"))
}

fn is_ref(expr: &Expr) -> bool {
    matches!(expr, Expr::Reference(_))
}

/// Whether an argument says that a layer is trained.
fn is_train(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(literal) => matches!(literal.lit, Lit::Bool(_)),
        Expr::Path(path) => path.path.get_ident().is_some_and(|name| {
            ["train", "training", "is_train", "is_training"].contains(&name.to_string().as_str())
        }),
        _ => false,
    }
}

/// The name of the field that a layer is in; empty for another place.
fn scope(layer: &Expr) -> String {
    match layer {
        Expr::Field(field) => match &field.member {
            Member::Named(name) => name.to_string(),
            Member::Unnamed(_) => String::new(),
        },
        Expr::Index(index) => scope(&index.expr),
        Expr::Paren(paren) => scope(&paren.expr),
        Expr::Reference(reference) => scope(&reference.expr),
        _ => String::new(),
    }
}

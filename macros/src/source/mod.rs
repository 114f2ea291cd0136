//! The macro `accelerant::traced`: modules of a dependency once more, over the tensor that traces.
//!
//! Their files are written under cargo's folder for what it builds, changed in nothing but paths,
//! so that errors of the compiler, places of candle's errors and documentation have lines.

mod edition;
mod exported;
mod find;
mod lex;
mod modules;
mod rewrite;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, Result, Token, UseTree, Visibility};

use find::Package;
use modules::{Modules, Place};

/// `pub mod bert = candle_transformers::models::bert`, or `… = krate::{a::b, c}`.
struct Request {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    name: Ident,
    tree: UseTree,
}

impl Parse for Request {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        input.parse::<Token![mod]>()?;
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        let tree = input.parse()?;
        if !input.is_empty() {
            input.parse::<Token![;]>()?;
        }
        Ok(Self { attributes, visibility, name, tree })
    }
}

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    syn::parse2(input).and_then(try_expand).unwrap_or_else(Error::into_compile_error)
}

fn try_expand(request: Request) -> Result<TokenStream> {
    let Request { attributes, visibility, name, tree } = request;
    let UseTree::Path(path) = &tree else {
        let text = "write `pub mod bert = candle_transformers::models::bert`, or several modules \
                    as `pub mod models = candle_transformers::models::{bert, vit}`";
        return Err(Error::new_spanned(tree, text));
    };
    let fail = |text: String| Error::new_spanned(&tree, text);
    let package = find::package(&path.ident.to_string()).map_err(fail)?;
    let mut places = Vec::new();
    leaves(&path.tree, &mut Vec::new(), &mut places)?;
    let modules = Modules::of(&package.root, &places).map_err(fail)?;
    let root = write(&package, &modules, &places).map_err(fail)?;
    let root = root.to_str().ok_or_else(|| fail(format!("{} is no text", root.display())))?;
    let inside = &path.tree;
    let exports = match &places[..] {
        [only] if matches!(**inside, UseTree::Path(_) | UseTree::Name(_)) => {
            let only: Vec<Ident> = only.iter().map(|part| quote::format_ident!("{part}")).collect();
            quote!(pub use self::__source::#(#only::)**;)
        }
        _ => quote!(pub use self::__source::#inside;),
    };
    let text = format!(
        "Modules of {} {} over the tensor of `accelerant::candle::mirror`, with which a model is \
         run and exported.",
        package.name, package.version
    );
    Ok(quote! {
        #[doc = #text]
        #(#attributes)*
        #visibility mod #name {
            #[doc(hidden)]
            #[allow(warnings, clippy::all)]
            #[path = #root]
            pub mod __source;
            #[allow(unused_imports)]
            #exports
        }
    })
}

/// The modules that a tree names.
fn leaves(tree: &UseTree, base: &mut Place, found: &mut Vec<Place>) -> Result<()> {
    match tree {
        UseTree::Path(path) => {
            base.push(path.ident.to_string());
            leaves(&path.tree, base, found)?;
            base.pop();
        }
        UseTree::Name(name) => found.push([&base[..], &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => found.push([&base[..], &[name.ident.to_string()]].concat()),
        UseTree::Group(group) => {
            group.items.iter().try_for_each(|tree| leaves(tree, base, found))?;
        }
        UseTree::Glob(glob) => {
            return Err(Error::new_spanned(glob, "name the modules; there is no `*` here"));
        }
    }
    Ok(())
}

/// Writes the files of modules and returns that of the root.
fn write(package: &Package, modules: &Modules, places: &[Place]) -> Result2<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (places, &package.root, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    let target = std::env::var_os("OUT_DIR").map_or(package.target.clone(), PathBuf::from);
    let folder = target.join("accelerant-traced").join(format!(
        "{}-{}-{:016x}",
        package.name,
        package.version,
        hasher.finish()
    ));
    let source = package.root.parent().unwrap_or(Path::new(""));
    for (place, module) in &modules.all {
        let inside = module.file.strip_prefix(source);
        let inside = inside.map_err(|_| format!("{} is elsewhere", module.file.display()))?;
        let mut text = rewrite::rewritten(place, module, &package.edition);
        text.push_str(&exported::of(&text)?);
        write_file(&folder.join(inside), &text)?;
    }
    Ok(folder.join(package.root.file_name().unwrap_or_default()))
}

type Result2<T> = std::result::Result<T, String>;

/// Writes a file that another compiler may write or read at the same time, unless it is there.
fn write_file(path: &Path, text: &str) -> Result2<()> {
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
        std::fs::write(&new, text)?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e| format!("{} cannot be written: {e}", path.display()))
}

//! Engines out of the cache, and the kernels that are kept beside them, on a GPU.

use std::fs;
use std::path::{Path, PathBuf};

use accelerant::Registry;
use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
use accelerant::cache::CacheUse;
use accelerant::{InferenceModule, OptimizeOptions, Phase};

use super::{Mlp, assert_close, batch, exact, gpu, input};

/// A module out of the cache in a folder.
fn module(folder: &Path, mlp: &Mlp, options: TensorRtOptions) -> InferenceModule {
    let registry = Registry::empty().with(TensorRt::rtx().with_options(options));
    let options = OptimizeOptions::new().cache(folder.join("engines")).registry(registry);
    InferenceModule::compile(&mlp.export(batch(1, 32)), &options).unwrap()
}

fn check(module: &InferenceModule, mlp: &Mlp, rows: usize) {
    let x = input(rows, rows as u64);
    assert_close(&module.run(&[x.clone().into()]).unwrap()[0], &mlp.forward(&x));
}

/// The file of kernels: there is one for one engine and device.
fn kernels(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder.join("engines")).unwrap().map(|file| file.unwrap().path());
    let is_kernels = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "kernels");
    let found: Vec<_> = files.filter(is_kernels).collect();
    assert!(found.len() < 2, "{found:?}");
    found.into_iter().next()
}

#[test]
fn the_second_module_builds_nothing_and_compiles_no_kernels() {
    if !gpu("the_second_module_builds_nothing_and_compiles_no_kernels") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mlp = Mlp::new(21);
    let first = module(folder.path(), &mlp, exact());
    assert!(matches!(first.report().cache, CacheUse::Miss { not_kept: None, .. }));
    let kept = kernels(folder.path()).expect("kernels are written while the module lives");
    assert!(kept.metadata().unwrap().len() > 0);
    check(&first, &mlp, 5);
    let second = module(folder.path(), &mlp, exact());
    let (before, after) = (first.report(), second.report());
    assert!(matches!(after.cache, CacheUse::Hit { .. }), "{after}");
    assert!(after.time(Phase::Build).is_zero() && after.time(Phase::Parse).is_zero(), "{after}");
    check(&second, &mlp, 5);
    eprintln!("built and compiled:\n{before}\nout of the cache:\n{after}");
    drop((first, second));
    // Another option of running is the same engine.
    let third = module(folder.path(), &mlp, exact().cuda_graph(true));
    assert!(matches!(third.report().cache, CacheUse::Hit { .. }));
    check(&third, &mlp, 5);
}

#[test]
fn kernels_of_several_modules_are_kept_together() {
    if !gpu("kernels_of_several_modules_are_kept_together") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mlp = Mlp::new(22);
    // Kernels for a new shape are compiled at once.
    let eager = || exact().cuda_graph(true);
    let one = module(folder.path(), &mlp, eager());
    let other = module(folder.path(), &mlp, eager());
    let mut size = 0;
    for rows in [1, 3, 8, 32] {
        for module in [&one, &other] {
            // Each meets a size that the other has not.
            check(module, &mlp, rows);
            let now = fs::metadata(kernels(folder.path()).unwrap()).unwrap().len();
            assert!(now >= size, "kernels were lost: {now} of {size} bytes");
            size = now;
        }
    }
    drop((one, other));
    let path = kernels(folder.path()).unwrap();
    assert!(fs::metadata(&path).unwrap().len() >= size);
    check(&module(folder.path(), &mlp, eager()), &mlp, 8);
    // What is no cache is compiled anew and replaced.
    fs::write(&path, b"no kernels").unwrap();
    let module = module(folder.path(), &mlp, eager());
    check(&module, &mlp, 3);
    assert!(fs::metadata(&path).unwrap().len() > 10);
}

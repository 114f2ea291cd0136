//! From a model, an engine or a file to a module that is ready to run.

use std::{path::Path, sync::Arc};

use super::{InferenceModule, Made};
use crate::backend::{Backend, Compiled, Engine};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{ExportOptions, OnnxModel, Target};
use crate::progress::{Phase, Recorder, phase};
use crate::runtime::checked::Check;
use crate::runtime::chosen;
use crate::runtime::compile::{self, Maker, Making};
use crate::runtime::flavors::{FLAVORS, build_engine, not_built, write_engine};
use crate::runtime::layer_times::LayerTimes;
use crate::runtime::options::OptimizeOptions;
use crate::runtime::report::ModuleReport;

impl InferenceModule {
    /// Compiles a model for the first backend that works, or for the [required](OptimizeOptions::require) one. For a
    /// model from a file, [`OnnxModel::bind`] and [`OnnxModel::tuned_for`] set the sizes.
    ///
    /// # Errors
    /// As [`Registry::compile`](crate::backend::Registry::compile); [`ErrorKind::InvalidArgument`] for options about
    /// the export of a framework's model, such as [`dynamic_batch`](OptimizeOptions::dynamic_batch); [`ErrorKind::Io`]
    /// for files that cannot be written, and [`ErrorKind::NoBackend`] if no TensorRT can build the requested
    /// [engine](OptimizeOptions::save_engine).
    pub fn compile(model: &OnnxModel, options: &OptimizeOptions) -> Result<Self> {
        expect_no_export(options)?;
        Self::compile_with(|_| Ok(model.clone()), options)
    }

    /// Builds an engine without loading it.
    ///
    /// The [required](OptimizeOptions::require) backend builds the engine, or else the first flavor of TensorRT that
    /// can build on this machine. TensorRT-RTX builds without a GPU. If the cache has the engine, nothing is built.
    /// [`OptimizeOptions::save_engine`] also writes the engine to a file.
    ///
    /// ```no_run
    /// use accelerant::{BackendKind, InferenceModule, OptimizeOptions, export::OnnxModel};
    ///
    /// let model = OnnxModel::open("model.onnx")?.bind("batch", 1..=32)?;
    /// let options = OptimizeOptions::new().require(BackendKind::TensorRtRtx);
    /// let (engine, report) = InferenceModule::build(&model, &options)?;
    /// engine.save("model.engine")?;
    /// println!("{report}");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of the required backend, or else an error with the reason of each flavor. The kind is
    /// [`ErrorKind::NoBackend`] if no flavor is available. For options and files, the errors of
    /// [`compile`](Self::compile).
    pub fn build(model: &OnnxModel, options: &OptimizeOptions) -> Result<(Engine, ModuleReport)> {
        expect_no_export(options)?;
        let recorder = options.recorder();
        let (options, tried) = &chosen::options(options, &mut |_| Ok(model.clone()))?;
        let wanted = AsRef::<ExportOptions>::as_ref(options).wanted_precision();
        let mut precision = None;
        let mut times = LayerTimes::asked(options)?;
        let mut export = |target: Target| match wanted {
            Some(wanted) => {
                let written = model.with_precision(target, wanted.clone())?;
                precision = written.precision_report().cloned();
                if let Some(times) = &mut times {
                    times.take(model, &written)?;
                }
                Ok(written)
            }
            None => Ok(model.clone()),
        };
        let mut maker = Maker::new(options.engine_cache())?;
        maker.set_check(Check::of(options, model));
        let kinds = options.backends().required().map_or(&FLAVORS[..], std::slice::from_ref);
        let built = recorder.during(|| build_engine(&mut export, options, kinds, &mut maker));
        let (engine, backend) =
            built.map_err(|reasons| not_built(reasons).in_operation("build"))?;
        if let Some(path) = options.engine_path() {
            engine.save(path)?;
        }
        let mut report = ModuleReport {
            backend: backend.kind().to_string(),
            description: backend.description(),
            signature: engine.signature().to_string(),
            engine_bytes: engine.plan().len() as u64,
            cache: maker.cache_use(),
            phases: Vec::new(),
            first_run: None,
            passes: Vec::new(),
            precision,
            tried: tried.clone(),
            warnings: Vec::new(),
            rejected: Vec::new(),
        };
        report.add(recorder.record());
        if let (Some(times), Some(precision)) = (times, &mut report.precision) {
            recorder.during(|| times.add(&*backend, precision))?;
        }
        Ok((engine, report))
    }

    /// Compiles the model that `export` writes for a target. `export` itself follows what `options` say of an export.
    ///
    /// # Errors
    /// As [`compile`](Self::compile), but for options about an export, and those of `export`.
    pub fn compile_with(
        export: impl FnMut(Target) -> Result<OnnxModel>,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        Self::compile_recorded(&options.recorder(), export, options)
    }

    /// As [`compile_with`](Self::compile_with), with what was recorded before.
    pub(in crate::runtime) fn compile_recorded(
        recorder: &Arc<Recorder>,
        mut export: impl FnMut(Target) -> Result<OnnxModel>,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        let (options, tried) = chosen::options(options, &mut export)?;
        let options = &options;
        let mut report = None;
        let mut times = LayerTimes::asked(options)?;
        let wanted = AsRef::<ExportOptions>::as_ref(options).wanted_precision();
        let mut export = |target: Target| {
            let model = match wanted {
                // Forms are chosen by type: they come after the precision.
                Some(wanted) => {
                    let plain = export(target.for_compute_capability(None))?;
                    let written = plain.with_precision(target, wanted.clone())?;
                    if let Some(times) = &mut times {
                        times.take(&plain, &written)?;
                    }
                    written
                }
                None => export(target)?,
            };
            report = model.shared_report();
            Ok(model)
        };
        let mut maker = Maker::new(options.engine_cache())?;
        let (compiled, built, source, graph, name) = recorder.during(|| {
            let mut portable = None;
            let is_compared = options.samples().is_some();
            if options.onnx_path().is_some() || options.keeps_source() || is_compared {
                portable = Some(phase(Phase::Export, || export(Target::portable()))?);
            }
            if let (Some(path), Some(model)) = (options.onnx_path(), &portable) {
                match options.external_threshold() {
                    Some(threshold) => model.save_external(path, threshold)?,
                    None => model.save(path)?,
                }
            }
            maker.set_check(portable.as_ref().and_then(|model| Check::of(options, model)));
            let built = match options.engine_path() {
                Some(path) => Some(write_engine(&mut export, options, path, &mut maker)?),
                None => None,
            };
            let used = maker.cache_use();
            let passes = recorder.record().passes;
            let mut making = Making::new(&mut maker);
            let backends = options.backends();
            let compiled = backends.compile_with(built.as_ref(), &mut export, &mut making)?;
            let Making { graph, name, .. } = making;
            if built.is_some() {
                maker.set_cache_use(used);
            }
            let source = portable.filter(|_| options.keeps_source());
            Ok((compiled, built.map(|engine| (engine, passes)), source, graph, name))
        })?;
        let mut record = recorder.record();
        if let (Some(times), Some(report)) = (times, &mut report) {
            let backend = &*compiled.backend;
            recorder.during(|| times.add(backend, Arc::make_mut(report)))?;
        }
        // The report is of the engine that was asked for.
        let built = built.map(|(engine, passes)| {
            record.passes = passes;
            engine
        });
        let made = Made {
            built,
            cache: maker.cache_use(),
            record,
            source,
            precision: report,
            tried,
            wanted: wanted.cloned(),
            graph,
            name,
            longest_run: options.longest_run(),
        };
        Ok(Self::new(compiled, made))
    }

    /// Loads an engine that was built before, perhaps on another machine. TensorRT loads only plans that [were
    /// built](Engine::is_built).
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] when the backend that built the engine was not compiled in, or another backend is
    /// [required](OptimizeOptions::require); else as [`Backend::load`](crate::backend::Backend::load). No other
    /// backend is tried, because the crate cannot build an engine without the model.
    pub fn from_engine(engine: Engine, options: &OptimizeOptions) -> Result<Self> {
        let backends = options.backends();
        if let Some(only) = backends.required().filter(|only| *only != engine.kind()) {
            let text = format!(
                "{only} is required, but {} built the engine: build the engine again",
                engine.kind()
            );
            return Err(Error::new(ErrorKind::NoBackend, text).in_operation("load engine"));
        }
        let kind = engine.kind().clone();
        let backend = backends.get(&kind)?.clone();
        // A driver or a library that is missing does not say what needs it.
        let module = Self::loaded(engine, backend, options);
        module.map_err(|e| e.in_operation(format!("load engine of {kind}")))
    }

    /// An engine, ready to run on its backend.
    pub(in crate::runtime) fn loaded(
        engine: Engine,
        backend: Arc<dyn Backend>,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        let recorder = options.recorder();
        let executable = recorder.during(|| phase(Phase::Load, || backend.load(&engine)))?;
        let compiled = Compiled { executable, engine, backend, rejected: Vec::new() };
        let made = Made {
            built: None,
            cache: compile::given(),
            record: recorder.record(),
            source: None,
            precision: None,
            tried: Vec::new(),
            wanted: None,
            graph: None,
            name: String::new(),
            longest_run: options.longest_run(),
        };
        Ok(Self::new(compiled, made))
    }

    /// Opens a model file or an engine file. If the name of the file ends in `.onnx`, the file is a model, and the
    /// crate [compiles](Self::compile) the model through the cache. Every other file is an engine, such as an [entry
    /// of the cache](crate::cache::Entry::path). An engine is a program, and TensorRT runs it: open only engines that
    /// you trust, as [`Engine::open`] explains.
    ///
    /// # Errors
    /// As [`Engine::open`] and [`from_engine`](Self::from_engine), or as [`OnnxModel::open`] and
    /// [`compile`](Self::compile).
    pub fn open(path: impl AsRef<Path>, options: &OptimizeOptions) -> Result<Self> {
        let path = path.as_ref();
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx")) {
            return Self::compile(&OnnxModel::open(path)?, options);
        }
        let module = Self::from_engine(Engine::open(path)?, options);
        module.map_err(|e| e.within(format_args!("open {}", path.display())))
    }
}

/// Options about the export of a framework's model make no sense for one that is ONNX.
fn expect_no_export(options: &OptimizeOptions) -> Result<()> {
    let export: &ExportOptions = options.as_ref();
    let Some(option) = export.stated() else { return Ok(()) };
    let text = format!(
        "{option}: an ONNX model already has its names and sizes; `OnnxModel::bind` sets the sizes of a symbol"
    );
    Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("compile"))
}

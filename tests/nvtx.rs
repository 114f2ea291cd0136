//! Ranges for NVIDIA's profilers: a tool that is linked into this test hears them, and without a tool nothing happens. One
//! test, since a process has one tool.
//!
//! `cargo test --release --features nvtx --test nvtx`
#![cfg(feature = "nvtx")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Mutex;

use accelerant::export::GraphBuilder;
use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions};

/// What a tool is given to ask for NVTX's tables, from `nvtxTypes.h`.
type GetExportTable = unsafe extern "C" fn(table: c_uint) -> *const Callbacks;

#[repr(C)]
struct Callbacks {
    struct_size: usize,
    get_module_function_table: unsafe extern "C" fn(
        module: c_uint,
        table: *mut *mut *mut *const c_void,
        size: *mut c_uint,
    ) -> c_int,
}

const CALLBACKS: c_uint = 1;
const CORE: c_uint = 1;
const RANGE_PUSH: usize = 9;
const RANGE_POP: usize = 11;

/// NVTX calls this function the first time that it is used.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is NVTX's")]
static InitializeInjectionNvtx2_fnptr: unsafe extern "C" fn(GetExportTable) -> c_int = attach;

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn attach(tables: GetExportTable) -> c_int {
    let (mut table, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: as `nvtxTypes.h` states them; the places of the table are those of NVTX's own pointers.
    unsafe {
        let callbacks = &*tables(CALLBACKS);
        assert_eq!((callbacks.get_module_function_table)(CORE, &mut table, &mut size), 1);
        assert!(size as usize > RANGE_POP);
        let table: *mut *mut *const c_void = table;
        **table.add(RANGE_PUSH) = push as *const c_void;
        **table.add(RANGE_POP) = pop as *const c_void;
    }
    1
}

unsafe extern "C" fn push(text: *const c_char) -> c_int {
    // SAFETY: NVTX gives a text of C.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    HEARD.lock().unwrap().push(text);
    0
}

unsafe extern "C" fn pop() -> c_int {
    HEARD.lock().unwrap().push("end".into());
    0
}

#[test]
fn a_tool_hears_the_names_of_models_and_phases() {
    let graph = GraphBuilder::new("a\0name");
    let x = graph.input("x", DType::F32, [3]).unwrap();
    graph.output("y", &x.affine(2.0, 0.0).unwrap()).unwrap();
    let module =
        InferenceModule::compile(&graph.finish().unwrap(), &OptimizeOptions::new()).unwrap();
    let made = std::mem::take(&mut *HEARD.lock().unwrap());
    for name in ["make a name", "export", "build"] {
        assert!(made.iter().any(|heard| heard == name), "{name}: {made:?}");
    }
    let ends = made.iter().filter(|heard| *heard == "end").count();
    assert_eq!(2 * ends, made.len(), "each range ends: {made:?}");
    module.run(&[HostTensor::from_vec([3], vec![1f32; 3]).unwrap()]).unwrap();
    assert_eq!(*HEARD.lock().unwrap(), ["run a name", "end"]);
}

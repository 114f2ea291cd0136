//! The memory of a session: weights that it takes from the bytes of an engine, and an arena with a bound. Beside `version`,
//! the one place of this backend with unsafe code.

use std::{
    ffi::c_char,
    path::Path,
    ptr,
    sync::{Mutex, MutexGuard, TryLockError},
    thread,
    time::Duration,
};

use ort::AsPointer as _;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;

use super::library::Library;
use crate::error::{Error, ErrorKind};
use crate::export::WEIGHTS_FILE;
use crate::limit::TimeLimit;

/// What ONNX Runtime says when an arena has no more room.
const FULL: &str = "Available memory of ";

/// Gives a session the bytes that the model calls [`WEIGHTS_FILE`]. ONNX Runtime copies what it needs while it makes the
/// session; `bytes` must live until then.
pub(super) fn take_weights_from(builder: &mut SessionBuilder, bytes: &[u8]) -> ort::Result<()> {
    let name = native(WEIGHTS_FILE.as_ref());
    let (name, length) = (name.as_ptr(), bytes.len());
    let start = bytes.as_ptr().cast::<c_char>().cast_mut();
    let add = ort::api().AddExternalInitializersFromMemory;
    // SAFETY: the name ends with a zero, and there is one of each. ONNX Runtime copies the name, and only reads the bytes.
    unsafe { ort::Error::result_from_status(add(builder.ptr_mut(), &name, &start, &length, 1)) }
}

/// A file's name as ONNX Runtime takes it here.
#[cfg(not(windows))]
fn native(path: &Path) -> Vec<c_char> {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().map(|&byte| byte as c_char).chain([0]).collect()
}

/// A file's name as ONNX Runtime takes it here.
#[cfg(windows)]
fn native(path: &Path) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt as _;
    path.as_os_str().encode_wide().chain([0]).collect()
}

/// An arena with a bound, for a session that is made while this lives and takes the allocators of the environment. The
/// session keeps its arena.
pub(super) struct Arena {
    library: &'static Library,
    info: MemoryInfo<'static>,
    /// The environment has one arena at a time for memory of the CPU.
    _turn: MutexGuard<'static, ()>,
}

impl Arena {
    /// Waits for other sessions that are being made with an arena, and no longer than `limit`. `None` where ONNX
    /// Runtime takes no arena.
    pub(super) fn of(
        library: &'static Library,
        most: usize,
        limit: Option<&TimeLimit>,
    ) -> ort::Result<Option<Self>> {
        static TURN: Mutex<()> = Mutex::new(());
        /// So often it is looked whether it is the turn of this one.
        const BETWEEN_TRIES: Duration = Duration::from_millis(1);
        let turn = loop {
            match TURN.try_lock() {
                Ok(turn) => break turn,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_TRIES),
            }
            if let Some(Err(over)) = limit.map(TimeLimit::check) {
                return Err(ort::Error::new(over.to_string()));
            }
        };
        let info =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
        // 0 is no bound. ONNX Runtime chooses the rest.
        let (mut config, chosen) = (ptr::null_mut(), -1);
        let (api, environment) = (ort::api(), library.environment.ptr().cast_mut());
        // SAFETY: there is room for the pointer.
        let made = unsafe {
            let status = (api.CreateArenaCfg)(most.max(1), chosen, chosen, chosen, &raw mut config);
            ort::Error::result_from_status(status)
        };
        made?;
        // SAFETY: all three are alive, and the environment copies what is in the other two.
        let registered = unsafe {
            let status = (api.CreateAndRegisterAllocator)(environment, info.ptr(), config);
            ort::Error::result_from_status(status)
        };
        // SAFETY: the configuration was made above, and nobody else has it.
        unsafe { (api.ReleaseArenaCfg)(config) };
        if let Err(e) = registered {
            tracing::warn!("a model has no bound of memory on ONNX Runtime: {e}");
            return Ok(None);
        }
        Ok(Some(Self { library, info, _turn: turn }))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let environment = self.library.environment.ptr().cast_mut();
        let unregister = ort::api().UnregisterAllocator;
        // SAFETY: both are alive. The session, if there is one, shares the arena.
        let ended = unsafe {
            let status = unregister(environment, self.info.ptr());
            ort::Error::result_from_status(status)
        };
        if let Err(e) = ended {
            tracing::warn!("the arena of a session stays with ONNX Runtime's environment: {e}");
        }
    }
}

/// What a full arena is told as, with the node at which it was full.
pub(super) fn full(kind: ErrorKind, message: &str) -> Option<Error> {
    let (before, after) = message.rsplit_once(FULL)?;
    let number = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().ok()
    };
    let (left, wanted) = (number(after)?, after.rsplit(' ').find_map(number)?);
    let text = format!(
        "the values of a run take more memory than they may: {wanted} bytes are wanted here, and {left} are left; \
         `OptimizeOptions::memory_limit` allows more"
    );
    let error = Error::new(kind, text);
    // The last node that is named is the innermost.
    let place = before.rsplit_once("while running ");
    let Some((operator, rest)) = place.and_then(|(_, node)| node.split_once(" node. Name:'"))
    else {
        return Some(error);
    };
    let name = rest.split_once("' Status Message: ").map_or("", |(name, _)| name);
    Some(match name {
        "" => error.in_operation(operator),
        name => error.in_operation(format!("{operator} `{name}`")),
    })
}

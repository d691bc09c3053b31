//! The wasm of the Lab. It runs in a Worker that may be terminated at any time: everything
//! a run needs to resume is in the origin private file system.

mod crew;
mod device;
mod files;
mod lab;
mod memory;
mod model;
mod start;
mod tab;

use wasm_bindgen::prelude::*;

pub use device::webgpu_status;
pub use lab::Lab;
pub use start::start_with;

#[cfg(target_arch = "wasm32")]
#[expect(
    unsafe_code,
    reason = "the linker's function cannot be called in another way"
)]
unsafe extern "C" {
    /// Runs what registers itself before a program begins: CubeCL's compiler does. Where a module does not call
    /// it, the linker does at every call from JavaScript, hundreds of times a step.
    fn __wasm_call_ctors();
}

#[wasm_bindgen(start)]
fn start() {
    #[cfg(target_arch = "wasm32")]
    #[expect(
        unsafe_code,
        reason = "the linker's function cannot be called in another way"
    )]
    // SAFETY: it is called once, before anything else of the module.
    unsafe {
        __wasm_call_ctors();
    }
    // A trap says only "unreachable"; this leaves the reason in the console.
    std::panic::set_hook(Box::new(|info| {
        web_sys::console::error_1(&info.to_string().into());
    }));
}

/// A JavaScript Error with a sentence for the user.
fn error(sentence: impl ToString) -> JsValue {
    js_sys::Error::new(&sentence.to_string()).into()
}

/// An Error after which a new Worker can resume the run.
fn recoverable(sentence: impl ToString) -> JsValue {
    let error = error(sentence);
    // Setting a field of a new Error cannot fail.
    let _ = js_sys::Reflect::set(&error, &"recoverable".into(), &JsValue::TRUE);
    error
}

/// A value as a plain JavaScript object.
fn object<T: serde::Serialize>(value: &T) -> Result<JsValue, JsValue> {
    let serializer = serde_wasm_bindgen::Serializer::json_compatible();
    value.serialize(&serializer).map_err(error)
}

//! The tab's devices: `webgpu` and `cpu`.

use std::sync::{Arc, Mutex};

use apet_plm::MemoryLimits;
use apet_record::DeviceInfo;
use burn::tensor::Device;
use burn_wgpu::WgpuSetup;
use js_sys::{Function, Promise, Reflect};
use serde::Serialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::{error, object};

/// An opened device of the tab.
pub(crate) struct Opened {
    pub(crate) device: Device,
    pub(crate) info: DeviceInfo,
    /// What it has for a model's tensors.
    pub(crate) limits: MemoryLimits,
    /// Steps between reads of the loss: on WebGPU each waits for the whole queue.
    pub(crate) read_every: usize,
    /// Why the device is gone, once it is.
    pub(crate) lost: Lost,
}

/// Why a device is gone, once it is.
pub(crate) type Lost = Arc<Mutex<Option<String>>>;

/// Dispatches that go to the GPU in one submission: more would keep it waiting for the
/// tab, fewer cost a submission each.
const TASKS_MAX: usize = 64;

/// Bytes for a model in a tab: of the 4 GiB that WebAssembly can address, 1 GiB is left to
/// the module, the tokenizer, theta with its optimizer, and the activations of a batch.
const MEMORY: u64 = 3 << 30;

/// Opens `webgpu` or `cpu`.
pub(crate) async fn open(name: &str) -> Result<Opened, JsValue> {
    let lost = Lost::default();
    let info = |adapter: String| DeviceInfo {
        name: name.into(),
        adapter,
        host: "browser".into(),
        extra: Default::default(),
    };
    match name {
        "cpu" => Ok(Opened {
            device: Device::flex(),
            info: info("wasm SIMD, one thread".into()),
            limits: MemoryLimits {
                binding: None,
                memory: MEMORY,
                holds_all: true,
            },
            read_every: 1,
            lost,
        }),
        "webgpu" => {
            let (device, setup) = Device::wgpu_options()
                .tasks_max(TASKS_MAX)
                .init_with_setup_async()
                .await
                .map_err(|e| {
                    error(format!(
                        "WebGPU cannot be opened: {e}; choose the device cpu"
                    ))
                })?;
            stopwatch(&setup, lost.clone());
            let (adapter, software) = describe(&setup.adapter.get_info()).await;
            apet_kernels::set_software_adapter(software);
            let limits = setup.device.limits();
            let binding = limits.max_storage_buffer_binding_size;
            Ok(Opened {
                device,
                limits: MemoryLimits {
                    binding: Some(binding.min(limits.max_buffer_size)),
                    memory: MEMORY,
                    holds_all: false, // how much memory the GPU has, no browser says
                },
                info: info(adapter),
                read_every: 8,
                lost,
            })
        }
        other => Err(error(format!(
            "device \"{other}\" is not known, expected webgpu or cpu"
        ))),
    }
}

/// Notes when the device that burn computes on is lost: burn itself says so with a trap.
fn stopwatch(setup: &WgpuSetup, lost: Lost) {
    let note = move |reason, message| {
        if let Ok(mut lost) = lost.lock() {
            *lost = Some(format!("the GPU device was lost ({reason:?}) {message}"));
        }
    };
    setup.device.set_device_lost_callback(note);
}

#[derive(Serialize)]
struct Status {
    available: bool,
    software: bool,
    adapter: String,
    reason: String,
}

/// What WebGPU has here: `{available, software, adapter, reason}`.
///
/// # Errors
/// Never in practice: the answer is a plain object.
#[wasm_bindgen(js_name = webgpuStatus)]
pub async fn webgpu_status() -> Result<JsValue, JsValue> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::BROWSER_WEBGPU,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapter = instance
        .request_adapter(&wgpu::RequestAdapterOptions::default())
        .await;
    object(&match adapter {
        Ok(adapter) => {
            let (name, software) = describe(&adapter.get_info()).await;
            Status {
                available: true,
                software,
                adapter: name,
                reason: String::new(),
            }
        }
        // wgpu's own words are of backends that no browser has.
        Err(_) => Status {
            available: false,
            software: false,
            adapter: String::new(),
            reason: match webgpu().is_some() {
                true => "the browser finds no graphics adapter",
                false => "the browser has none, or has it turned off",
            }
            .into(),
        },
    })
}

/// An adapter's name, and whether it computes on the processor.
async fn describe(info: &wgpu::AdapterInfo) -> (String, bool) {
    // wgpu passes on the description alone, which browsers often leave empty.
    let (name, fallback) = browser_words().await.unwrap_or_default();
    let name = match (name.is_empty(), info.name.is_empty()) {
        (false, _) => name,
        (true, false) => info.name.clone(),
        (true, true) => "a GPU that does not give its name".into(),
    };
    let lower = name.to_lowercase();
    let known = ["swiftshader", "llvmpipe", "basic render"];
    let software = fallback
        || info.device_type == wgpu::DeviceType::Cpu
        || known.iter().any(|k| lower.contains(k));
    (name, software)
}

fn get(of: &JsValue, name: &str) -> Option<JsValue> {
    Reflect::get(of, &name.into()).ok()
}

/// `navigator.gpu`, where the browser has it.
fn webgpu() -> Option<JsValue> {
    get(&get(&js_sys::global(), "navigator")?, "gpu").filter(JsValue::is_truthy)
}

/// What the browser says of its adapter: vendor, architecture, device and
/// description, and whether it is a fallback.
async fn browser_words() -> Option<(String, bool)> {
    let gpu = webgpu()?;
    let request: Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
    let adapter: Promise = request.call0(&gpu).ok()?.dyn_into().ok()?;
    let info = get(&JsFuture::from(adapter).await.ok()?, "info")?;
    let words = ["vendor", "architecture", "device", "description"];
    let words = words
        .iter()
        .filter_map(|word| get(&info, word)?.as_string());
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    let fallback = get(&info, "isFallbackAdapter")?.is_truthy();
    Some((words.join(" "), fallback))
}

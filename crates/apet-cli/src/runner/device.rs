//! Devices by name: `cpu`, `wgpu`, `vulkan:N`, `metal:N`, `dx12:N`, and in a build with the feature `cuda`, `cuda:N`.

use anyhow::{Context, Result, bail, ensure};
use apet_plm::Dtype;
use apet_record::DeviceInfo;
use burn::tensor::{
    Device, DeviceKind,
    wgpu::{WgpuBackend, wgpu},
};

/// An opened device.
pub(crate) struct Opened {
    pub(crate) device: Device,
    pub(crate) info: DeviceInfo,
    /// Steps between reads of the loss: on a GPU each read waits for the whole queue.
    pub(crate) read_every: usize,
    /// Numbers that weights can be kept in.
    dtypes: Vec<Dtype>,
}

impl Opened {
    /// Says whether weights can be kept as `dtype` here.
    ///
    /// # Errors
    /// When they cannot, with what can be used.
    pub(crate) fn keeps(&self, dtype: Dtype) -> Result<()> {
        let names: Vec<&str> = self.dtypes.iter().map(|dtype| dtype.name()).collect();
        ensure!(
            self.dtypes.contains(&dtype),
            "--dtype {}: the device {:?} ({}) computes with {} only; choose one of those, or the cpu",
            dtype.name(),
            self.info.name,
            self.info.adapter,
            names.join(" and ")
        );
        Ok(())
    }
}

/// The numbers weights are kept in. What is computed with them is f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Precision {
    /// Single precision
    #[default]
    F32,
    /// Half precision
    F16,
    /// The upper half of single precision
    Bf16,
}

impl Precision {
    /// As specs and loading have it.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::Bf16,
        }
    }
}

/// Opens a device by its name.
///
/// # Errors
/// When the name is unknown or there is no such device.
pub(crate) fn open(name: &str) -> Result<Opened> {
    if name == "cpu" {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(Opened {
            device: Device::flex(),
            info: info(name, format!("{threads} threads")),
            read_every: 1,
            dtypes: vec![Dtype::F32, Dtype::F16, Dtype::Bf16],
        });
    }
    let (api, index) = match name.split_once(':') {
        None => (name, 0),
        Some((api, index)) => {
            let index = index.parse().with_context(|| {
                format!("device {name:?}: expected a number after the colon, as in vulkan:0")
            })?;
            (api, index)
        }
    };
    if api == "cuda" {
        return cuda(name, index);
    }
    let options = Device::wgpu_options();
    let (options, backend) = match api {
        "wgpu" => (options, wgpu::Backends::all()),
        "vulkan" => (
            options.graphics_api(WgpuBackend::Vulkan),
            wgpu::Backends::VULKAN,
        ),
        "metal" => (
            options.graphics_api(WgpuBackend::Metal),
            wgpu::Backends::METAL,
        ),
        "dx12" => (
            options.graphics_api(WgpuBackend::Dx12),
            wgpu::Backends::DX12,
        ),
        _ => bail!(
            "device {name:?} is not known, expected cpu, wgpu, vulkan:N, metal:N, dx12:N or cuda:N"
        ),
    };
    let options = match api {
        "wgpu" => options,
        _ => options.device_kind(kind(name, backend, index)?),
    };
    let (device, setup) = options.init_with_setup().map_err(|e| {
        anyhow::anyhow!("device {name:?} cannot be opened: {e}; apet devices lists what is there")
    })?;
    let adapter = setup.adapter.get_info();
    apet_kernels::set_software_adapter(adapter.device_type == wgpu::DeviceType::Cpu);
    // WGSL has no bf16.
    let mut dtypes = vec![Dtype::F32];
    if setup.device.features().contains(wgpu::Features::SHADER_F16) {
        dtypes.push(Dtype::F16);
    }
    Ok(Opened {
        device,
        info: info(name, format!("{} ({:?})", adapter.name, adapter.backend)),
        read_every: 8,
        dtypes,
    })
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _: usize) -> Result<Opened> {
    bail!(
        "device {name:?}: this build has no CUDA; cargo build --release -p apet-cli --features cuda makes one that has, and vulkan:N \
         needs none"
    );
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, index: usize) -> Result<Opened> {
    use burn::tensor::DeviceType;

    let found = Device::enumerate(DeviceType::Cuda).into_iter().count();
    ensure!(
        index < found,
        "device {name:?}: found {found} CUDA devices, counted from 0; apet devices lists them"
    );
    Ok(Opened {
        device: Device::cuda(index),
        info: info(name, format!("CUDA device {index}")),
        read_every: 8,
        dtypes: vec![Dtype::F32, Dtype::F16, Dtype::Bf16],
    })
}

fn info(name: &str, adapter: String) -> DeviceInfo {
    DeviceInfo {
        name: name.into(),
        adapter,
        host: "native".into(),
        extra: Default::default(),
    }
}

/// The adapters of the graphics APIs in `backends`, in the order wgpu lists them.
fn adapters(backends: wgpu::Backends) -> Vec<wgpu::AdapterInfo> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = futures_lite::future::block_on(instance.enumerate_adapters(backends));
    adapters.iter().map(wgpu::Adapter::get_info).collect()
}

/// Which device of its kind the `index`-th adapter is: burn counts kind by kind.
fn kind(name: &str, backends: wgpu::Backends, index: usize) -> Result<DeviceKind> {
    let all = adapters(backends);
    let Some(adapter) = all.get(index) else {
        bail!(
            "device {name:?}: found {} adapters of this graphics API, counted from 0; apet devices lists them",
            all.len()
        );
    };
    let same = |a: &&wgpu::AdapterInfo| a.device_type == adapter.device_type;
    let nth = all.iter().take(index).filter(same).count();
    Ok(match adapter.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu(nth),
        wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu(nth),
        wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu(nth),
        wgpu::DeviceType::Cpu => DeviceKind::Cpu,
        wgpu::DeviceType::Other => DeviceKind::DefaultDevice,
    })
}

/// Every device by name, with what it is.
pub(crate) fn all() -> Vec<(String, String)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut found = vec![("cpu".to_owned(), format!("{threads} threads"))];
    for (api, backends) in [
        ("vulkan", wgpu::Backends::VULKAN),
        ("metal", wgpu::Backends::METAL),
        ("dx12", wgpu::Backends::DX12),
    ] {
        for (index, adapter) in adapters(backends).iter().enumerate() {
            let about = format!("{}, {:?}", adapter.name, adapter.device_type);
            found.push((format!("{api}:{index}"), about));
        }
    }
    #[cfg(feature = "cuda")]
    for index in 0..Device::enumerate(burn::tensor::DeviceType::Cuda)
        .into_iter()
        .count()
    {
        found.push((format!("cuda:{index}"), format!("CUDA device {index}")));
    }
    found
}

/// Every device by name.
pub(crate) fn names() -> Vec<String> {
    all().into_iter().map(|(name, _)| name).collect()
}

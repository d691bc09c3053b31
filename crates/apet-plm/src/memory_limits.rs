//! Whether a model's tensors fit into memory, checked before they are downloaded or read.

use apet_checkpoint::PlmError;

use crate::hooks::Site;

/// The memory for a model's tensors, all of them in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Maximum bytes of one tensor on a device that binds each as one buffer.
    pub binding: Option<u64>,
    /// Bytes of memory for the tensors.
    pub memory: u64,
    /// Whether that memory holds all tensors. If not, each passes through it to a device of
    /// unknown memory.
    pub holds_all: bool,
}

impl MemoryLimits {
    /// Checks that the tensors fit. The memory holds all of them, or else one at a time, and the
    /// largest twice: its numbers are copied while it is made. `file` is the checkpoint's name.
    ///
    /// # Errors
    /// Names the largest tensor or the sum, with its bytes and the limit.
    pub fn fits(&self, file: &str, sites: &[Site]) -> Result<(), PlmError> {
        // In 64 bits: a size that is too large may exceed WebAssembly's `usize`.
        let bytes = |site: &Site| site.shape.iter().map(|&n| n as u64).product::<u64>() * 4;
        let Some(largest) = sites.iter().max_by_key(|site| bytes(site)) else {
            return Ok(());
        };
        let largest_bytes = bytes(largest);
        if let Some(binding) = self.binding.filter(|binding| largest_bytes > *binding) {
            let problem = format!(
                "{} takes {} in f32, this device binds at most {} at once: choose another device or a smaller model",
                largest.name,
                size(largest_bytes),
                size(binding)
            );
            return Err(PlmError::new(file, problem));
        }
        let all: u64 = sites.iter().map(bytes).sum();
        let held = if self.holds_all { all } else { largest_bytes };
        let needed = held + largest_bytes;
        if needed > self.memory {
            let problem = format!(
                "the tensors take {} in f32, and loading them needs {} of memory, here are {}: choose another device or a smaller model",
                size(all),
                size(needed),
                size(self.memory)
            );
            return Err(PlmError::new(file, problem));
        }
        Ok(())
    }
}

/// `1.07 GB (1073741824 bytes)`
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000_000_000 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{:.2} {name} ({bytes} bytes)", bytes as f64 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apet_record::{Module, Part};

    /// Sites of these lengths.
    fn sites(lengths: &[usize]) -> Vec<Site> {
        let site = |(index, &length): (usize, &usize)| Site {
            name: format!("tensor.{index}"),
            tensor: format!("tensor.{index}"),
            rows: None,
            shape: vec![length],
            module: Module::Ffn,
            part: Part::FfnIn,
            cross: false,
            layer: None,
        };
        lengths.iter().enumerate().map(site).collect()
    }

    const MEMORY: MemoryLimits = MemoryLimits {
        binding: None,
        memory: 1000,
        holds_all: true,
    };

    fn refusal(limits: MemoryLimits, lengths: &[usize]) -> String {
        let refused = limits.fits("m/model.safetensors", &sites(lengths));
        refused.unwrap_err().to_string()
    }

    #[test]
    fn memory_holds_all_tensors_and_the_largest_once_more() {
        MEMORY.fits("m", &sites(&[50, 50, 50, 50])).unwrap(); // 4 * (200 + 50) bytes
        MEMORY.fits("m", &[]).unwrap();
        let error = refusal(MEMORY, &[50, 50, 50, 51]);
        assert_eq!(
            error,
            "m/model.safetensors: the tensors take 0.00 MB (804 bytes) in f32, and loading them needs 0.00 MB (1008 bytes) of memory, here are 0.00 MB (1000 bytes): choose another device or a smaller model"
        );
    }

    #[test]
    fn tensors_on_a_device_pass_through_memory_one_by_one() {
        let device = MemoryLimits {
            binding: Some(480),
            holds_all: false,
            ..MEMORY
        };
        device.fits("m", &sites(&[120; 100])).unwrap();
        let error = refusal(device, &[1, 121]);
        assert!(
            error.contains("tensor.1 takes 0.00 MB (484 bytes) in f32, this device binds at most 0.00 MB (480 bytes) at once"),
            "{error}"
        );
        let wide = MemoryLimits {
            binding: Some(u64::MAX),
            ..device
        };
        let error = refusal(wide, &[126]);
        assert!(error.contains("needs 0.00 MB (1008 bytes)"), "{error}");
    }

    #[test]
    fn sizes_are_read_in_megabytes_and_gigabytes() {
        assert_eq!(size(90_868_376), "90.87 MB (90868376 bytes)");
        assert_eq!(size(1 << 30), "1.07 GB (1073741824 bytes)");
    }
}

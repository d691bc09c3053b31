//! Checkpoints: tensors by name, read piece by piece, so that no file is ever in memory as a
//! whole.

use std::collections::BTreeMap;

use apet_record::Dtype;
use half::{bf16, f16};
use safetensors::Dtype as Stored;

use crate::{PlmError, header::Header};

/// Bytes that are read at an offset: a mapped file, a file of a tab's store, memory.
pub trait ReadAt {
    /// The number of bytes.
    fn size(&self) -> u64;

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String>;
}

impl ReadAt for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(into.len())?));
        let bytes = range.and_then(|range| self.get(range));
        into.copy_from_slice(bytes.ok_or("the file ends too early")?);
        Ok(())
    }
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its numbers, or the name of an unsupported type.
    pub dtype: Result<Dtype, String>,
    /// Its shape; rows are stored one after another.
    pub shape: Vec<usize>,
}

/// Little-endian numbers of a type as f32.
pub fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let two = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F32 => {
            let four = bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            four.map(f32::from_le_bytes).collect()
        }
        Dtype::F16 => two().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::Bf16 => two().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
    }
}

/// A checkpoint: tensors by name.
pub trait Weights {
    /// The file or files, for errors.
    fn file(&self) -> &str;

    /// Every name, sorted.
    fn names(&self) -> Vec<&str>;

    /// The tensor of a name.
    fn info(&self, name: &str) -> Option<TensorInfo>;

    /// Fills `into` with a tensor's little-endian bytes from `offset` on.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String>;
}

/// Longest header of a safetensors file, as the format has it.
const HEADER: u64 = 100_000_000;

/// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
#[derive(Debug)]
pub struct Safetensors<R> {
    file: String,
    shards: Vec<Shard<R>>,
    /// Shard of each tensor.
    tensors: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Shard<R> {
    bytes: R,
    header: Header,
    /// Offset of the first tensor.
    start: u64,
}

impl<R: ReadAt> Safetensors<R> {
    /// Reads the headers of one or several files, given with their names; the tensors
    /// stay where they are. `file` is the name of all of them in errors.
    ///
    /// # Errors
    /// When a file is truncated, too long, or not in the safetensors format, or a tensor is in two
    /// of them.
    pub fn open(
        file: &str,
        files: impl IntoIterator<Item = (String, R)>,
    ) -> Result<Self, PlmError> {
        let mut weights = Self {
            file: file.to_owned(),
            shards: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for (name, bytes) in files {
            let shard = Shard::open(bytes).map_err(|problem| PlmError::new(&name, problem))?;
            for tensor in shard.header.tensors.keys() {
                let before = weights.tensors.insert(tensor.clone(), weights.shards.len());
                if before.is_some() {
                    let problem = format!("{tensor} is in another shard, too");
                    return Err(PlmError::new(&name, problem));
                }
            }
            weights.shards.push(shard);
        }
        Ok(weights)
    }
}

impl<R: ReadAt> Shard<R> {
    fn open(bytes: R) -> Result<Self, String> {
        let size = bytes.size();
        let wrong = |e: &dyn std::fmt::Display| {
            format!(
                "{e} (file of {size} bytes), expected a whole safetensors file; it may be cut or not be one: fetch it again"
            )
        };
        let mut length = [0; 8];
        bytes.read_at(0, &mut length).map_err(|e| wrong(&e))?;
        let length = u64::from_le_bytes(length);
        // Checked before a header of that length is allocated.
        if length > HEADER || length > size.saturating_sub(8) {
            return Err(wrong(&format!("found a header of {length} bytes")));
        }
        let mut header = vec![0; length as usize];
        bytes.read_at(8, &mut header).map_err(|e| wrong(&e))?;
        // Reading checks that the tensors lie one after another and have their bytes.
        let header = Header::read(&header).map_err(|e| wrong(&e))?;
        let (start, data) = (8 + length, header.bytes);
        if start.checked_add(data) != Some(size) {
            let found = size - start;
            let problem = format!("found {found} bytes of tensors, the header has {data}");
            return Err(wrong(&problem));
        }
        Ok(Self {
            bytes,
            header,
            start,
        })
    }
}

impl<R: ReadAt> Weights for Safetensors<R> {
    fn file(&self) -> &str {
        &self.file
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let shard = self.shards.get(*self.tensors.get(name)?)?;
        let info = shard.header.tensors.get(name)?;
        Some(TensorInfo {
            dtype: match info.dtype {
                Stored::F32 => Ok(Dtype::F32),
                Stored::F16 => Ok(Dtype::F16),
                Stored::BF16 => Ok(Dtype::Bf16),
                other => Err(format!("{other:?}")),
            },
            shape: info.shape.clone(),
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let shard = self.tensors.get(name).and_then(|&at| self.shards.get(at));
        let found = shard.and_then(|shard| Some((shard, shard.header.tensors.get(name)?)));
        let Some((shard, info)) = found else {
            return Err(format!("{name} is missing"));
        };
        let (first, end) = info.data_offsets;
        let last = offset.checked_add(into.len() as u64);
        if last.is_none_or(|last| last > end - first) {
            return Err(format!("{name} ends too early"));
        }
        shard.bytes.read_at(shard.start + first + offset, into)
    }
}

/// The files that an index names, each once, sorted: `model.safetensors.index.json`, whose
/// shards end in `.safetensors`, or `pytorch_model.bin.index.json`, whose end in `.bin`.
///
/// # Errors
/// When it is no such index, or names anything but files in the same folder with that `ending`.
pub fn shards_of_index(file: &str, text: &str, ending: &str) -> Result<Vec<String>, PlmError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_str(text).map_err(|e| {
        PlmError::new(
            file,
            format!("{e}, expected {{\"weight_map\": {{tensor: file}}}}"),
        )
    })?;
    let mut files: Vec<String> = index.weight_map.into_values().collect();
    files.sort_unstable();
    files.dedup();
    let in_folder = |name: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        name.chars().all(plain) && !name.starts_with('.') && name.ends_with(ending)
    };
    match files.iter().find(|name| !in_folder(name)) {
        Some(name) => Err(PlmError::new(
            file,
            format!(
                "\"weight_map\": found {name:?}, expected names of {ending} files in its folder"
            ),
        )),
        None if files.is_empty() => Err(PlmError::new(file, "\"weight_map\" names no file")),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(names: &[&str]) -> Vec<u8> {
        let data: Vec<u8> = (0..12).collect();
        let view = TensorView::new(Stored::F16, vec![3, 2], &data).unwrap();
        safetensors::serialize(names.iter().map(|n| (*n, view.clone())), None).unwrap()
    }

    #[test]
    fn tensors_of_several_files_are_read_in_pieces() {
        let (one, two) = (file(&["a", "b"]), file(&["c"]));
        let files = [("1".to_owned(), &one[..]), ("2".to_owned(), &two[..])];
        let weights = Safetensors::open("both", files).unwrap();
        assert_eq!(weights.names(), ["a", "b", "c"]);
        let info = weights.info("c").unwrap();
        assert_eq!((info.dtype, info.shape), (Ok(Dtype::F16), vec![3, 2]));
        let mut piece = [0; 4];
        weights.read("c", 4, &mut piece).unwrap();
        assert_eq!(piece, [4, 5, 6, 7]);
        assert!(weights.read("c", 9, &mut piece).is_err());
        assert!(weights.read("d", 0, &mut piece).is_err());
        assert!(weights.info("d").is_none());
    }

    #[test]
    fn a_tensor_in_two_files_is_refused() {
        let one = file(&["a"]);
        let files = [("1".to_owned(), &one[..]), ("2".to_owned(), &one[..])];
        let error = Safetensors::open("both", files).unwrap_err().to_string();
        assert_eq!(error, "2: a is in another shard, too");
    }

    #[test]
    fn a_header_that_lies_about_its_length_is_refused_before_it_is_read() {
        for length in [u64::MAX, 1 << 40, HEADER + 1, 10_000] {
            let mut bytes = file(&["a"]);
            bytes[..8].copy_from_slice(&length.to_le_bytes());
            let error = Safetensors::open("x", [("x".to_owned(), &bytes[..])]).unwrap_err();
            assert!(error.to_string().contains("found a header of"), "{error}");
        }
        for cut in [0, 7, 8, 20] {
            let bytes = &file(&["a"])[..cut];
            Safetensors::open("x", [("x".to_owned(), bytes)]).unwrap_err();
        }
    }

    #[test]
    fn an_index_names_files_of_its_folder() {
        let index = r#"{"metadata": {}, "weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}}"#;
        let files = shards_of_index("i.json", index, ".safetensors").unwrap();
        assert_eq!(files, ["m-1.safetensors", "m-2.safetensors"]);
        let error = shards_of_index("i.json", index, ".bin").unwrap_err();
        assert!(error.to_string().contains("expected names of .bin files"));
        let pickled = r#"{"weight_map": {"a": "m-1.bin"}}"#;
        let files = shards_of_index("i.json", pickled, ".bin").unwrap();
        assert_eq!(files, ["m-1.bin"]);
        for bad in [
            r#"{"weight_map": {"a": "../x.safetensors"}}"#,
            r#"{"weight_map": {"a": "/etc/passwd"}}"#,
            r#"{"weight_map": {"a": "x.bin"}}"#,
            r#"{"weight_map": {}}"#,
            r#"{}"#,
            "[",
        ] {
            shards_of_index("i.json", bad, ".safetensors").unwrap_err();
        }
    }
}

//! Any checkpoint as a Hugging Face directory with `model.safetensors`.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use apet_checkpoint::{Dtype, Weights};
use safetensors::Dtype as Stored;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::store::write_atomic;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// Writes the directory: weights first, since they are what may fail. `texts` are config.json and tokenizer.json.
///
/// # Errors
/// Names the file that cannot be written, or the tensor that cannot be read.
pub fn write(weights: &dyn Weights, texts: [Vec<u8>; 2], folder: &Path) -> Result<()> {
    let path = folder.join("model.safetensors");
    write_atomic(&path, |out| write_safetensors(weights, out))?;
    for (file, text) in ["config.json", "tokenizer.json"].iter().zip(texts) {
        write_atomic(&folder.join(file), |out| Ok(out.write_all(&text)?))?;
    }
    Ok(())
}

/// Writes a checkpoint in the format of `model.safetensors`, tensor by tensor.
///
/// # Errors
/// When a tensor is of numbers that no weights have, or reading or writing fails.
pub fn write_safetensors(weights: &dyn Weights, out: &mut dyn Write) -> Result<()> {
    io::copy(&mut AsSafetensors::new(weights)?, out)?;
    Ok(())
}

/// A checkpoint as the bytes of `model.safetensors`, made while they are read.
pub struct AsSafetensors<W> {
    weights: W,
    length: u64,
    /// The tensors that are not read to their end, and their bytes.
    tensors: VecDeque<(String, usize)>,
    /// How much of the first of them is read.
    offset: usize,
    /// The header, then piece by piece the tensors; read up to `at`.
    piece: Vec<u8>,
    at: usize,
}

impl<W: Deref<Target: Weights>> AsSafetensors<W> {
    /// Makes the header; the tensors stay where they are.
    ///
    /// # Errors
    /// When a tensor is of numbers that no weights have, or there is none.
    pub fn new(weights: W) -> Result<Self> {
        let mut infos = Vec::new();
        let mut end = 0;
        for name in weights.names() {
            let info = weights.info(name).context("a name without a tensor")?;
            let dtype = info.dtype.map_err(|other| {
                anyhow::anyhow!("{}: {name} has numbers of type {other}", weights.file())
            })?;
            let bytes = info.shape.iter().product::<usize>() * dtype.size();
            let dtype = match dtype {
                Dtype::F32 => Stored::F32,
                Dtype::F16 => Stored::F16,
                Dtype::Bf16 => Stored::BF16,
            };
            let info = TensorInfo {
                dtype,
                shape: info.shape,
                data_offsets: (end, end + bytes),
            };
            infos.push((name.to_owned(), info));
            end += bytes;
        }
        ensure!(!infos.is_empty(), "{}: found no tensor", weights.file());
        let sizes = infos.iter().map(|(name, info)| {
            let (start, end) = info.data_offsets;
            (name.clone(), end - start)
        });
        let tensors = sizes.collect();
        let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let header = serde_json::to_vec(&Metadata::new(Some(about), infos)?)?;
        let padded = header.len().next_multiple_of(8);
        let mut piece = (padded as u64).to_le_bytes().to_vec();
        piece.extend(header);
        piece.resize(8 + padded, b' ');
        Ok(Self {
            weights,
            length: (piece.len() + end) as u64,
            tensors,
            offset: 0,
            piece,
            at: 0,
        })
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl<W: Deref<Target: Weights>> Read for AsSafetensors<W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Some((name, size)) = self.tensors.front() else {
                return Ok(0);
            };
            self.piece.resize(PIECE.min(size - self.offset), 0);
            self.weights
                .read(name, self.offset as u64, &mut self.piece)
                .map_err(|e| io::Error::other(format!("{}: {e}", self.weights.file())))?;
            self.at = 0;
            self.offset += self.piece.len();
            if self.offset == *size {
                self.tensors.pop_front();
                self.offset = 0;
            }
        }
        let n = self.piece.get(self.at..).unwrap_or_default().read(into)?;
        self.at += n;
        Ok(n)
    }
}

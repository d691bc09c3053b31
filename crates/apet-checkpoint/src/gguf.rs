//! GGUF, llama.cpp's file format: quantised tensors, and the content of config.json and
//! tokenizer.json. Read under Hugging Face's names, dequantised.
//!
//! Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

mod block;
mod config;
mod header;

use std::collections::BTreeMap;

use self::block::Block;
use self::header::{Header, Value};
use apet_record::Dtype;

use crate::{
    PlmError,
    families::FAMILIES,
    family::{GgufFields, GgufFormat},
    source::{ReadAt, TensorInfo, Weights},
};

/// A GGUF file of a family with a [`GgufFormat`].
#[derive(Debug)]
pub struct Gguf<R> {
    file: String,
    bytes: R,
    fields: BTreeMap<String, Value>,
    /// By Hugging Face name.
    tensors: BTreeMap<String, Stored>,
    /// `general.architecture`, which is transformers' `model_type`, too.
    architecture: String,
    /// The names of its family.
    format: GgufFormat,
    /// The error for a tensor that is not supported.
    unsupported: Option<&'static str>,
}

/// A tensor as it is stored.
#[derive(Clone, Debug)]
struct Stored {
    block: Block,
    shape: Vec<usize>,
    start: u64,
    /// Heads whose rows llama.cpp interleaves for its rotary positions; 0 for none.
    heads: usize,
}

impl<R: ReadAt> Gguf<R> {
    /// Reads the header; the tensors stay where they are.
    ///
    /// # Errors
    /// When it is not a GGUF file, is truncated, or holds an unsupported model or type of numbers.
    pub fn open(file: &str, bytes: R) -> Result<Self, PlmError> {
        let wrong = |problem: String| PlmError::new(file, problem);
        let Header {
            fields,
            tensors,
            data,
        } = Header::read(&bytes).map_err(wrong)?;
        let format_of = |name: &String| {
            let formats = FAMILIES.iter().filter_map(|family| family.gguf);
            let mut own = formats.filter(|format| format.architectures.contains(&name.as_str()));
            own.next()
        };
        let architecture = match fields.get("general.architecture") {
            Some(Value::Text(name)) => format_of(name).map(|format| (name.clone(), format)),
            _ => None,
        };
        let Some((architecture, format)) = architecture else {
            let formats = FAMILIES.iter().filter_map(|family| family.gguf);
            let known: Vec<String> = formats
                .flat_map(|format| format.architectures)
                .map(|name| format!("\"{name}\""))
                .collect();
            let found = fields.get("general.architecture");
            return Err(wrong(format!(
                "\"general.architecture\": found {}, expected {}",
                found.map_or("nothing".into(), Value::shown),
                known.join(" or ")
            )));
        };
        let mut gguf = Self {
            file: file.to_owned(),
            fields,
            tensors: BTreeMap::new(),
            architecture,
            format,
            unsupported: None,
            bytes,
        };
        for tensor in tensors {
            let is_it = |(prefix, _): &&(&str, _)| tensor.name.starts_with(prefix);
            if let Some((_, error)) = format.unsupported.iter().find(is_it) {
                gguf.unsupported = Some(error);
                continue;
            }
            let name = hugging_face_name(&format, &tensor.name);
            let block = Block::by_number(tensor.number)
                .map_err(|e| wrong(format!("tensor \"{}\": {e}", tensor.name)))?;
            let heads = match (format.interleaved_heads)(&gguf.architecture, &tensor.name) {
                Some(field) => gguf.size(field)?,
                None => 0,
            };
            let shape = tensor.shape;
            let rows: usize = shape.iter().rev().skip(1).product();
            let bytes = shape
                .last()
                .and_then(|width| block.row_bytes(*width))
                .and_then(|row| row.checked_mul(rows));
            let start = data.checked_add(tensor.offset);
            let fits = bytes.zip(start).is_some_and(|(bytes, start)| {
                start
                    .checked_add(bytes as u64)
                    .is_some_and(|end| end <= gguf.bytes.size())
            });
            if !fits || heads > 0 && !rows.is_multiple_of(2 * heads) {
                return Err(wrong(format!(
                    "tensor \"{}\" of shape {shape:?} does not fit into the file: it is cut or damaged",
                    tensor.name
                )));
            }
            let stored = Stored {
                block,
                shape,
                start: start.unwrap_or_default(),
                heads,
            };
            if gguf.tensors.insert(name.clone(), stored).is_some() {
                return Err(wrong(format!("tensor \"{name}\" is there twice")));
            }
        }
        Ok(gguf)
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(&format!("{}.{name}", self.architecture))
    }
}

impl<R: ReadAt> GgufFields for Gguf<R> {
    fn size(&self, name: &str) -> Result<usize, PlmError> {
        let found = self.field(name);
        let size = found.and_then(Value::integer).filter(|&n| n > 0);
        size.ok_or_else(|| {
            self.error(format!(
                "\"{}.{name}\": found {}, expected a number above 0",
                self.architecture,
                found.map_or("nothing".into(), Value::shown)
            ))
        })
    }

    fn integer(&self, name: &str) -> Option<usize> {
        self.field(name).and_then(Value::integer)
    }

    fn float(&self, name: &str) -> Option<f64> {
        self.field(name).and_then(Value::float)
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.field(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn error(&self, problem: String) -> PlmError {
        PlmError::new(&self.file, problem)
    }
}

/// transformers' name of a tensor. An unknown one keeps its name, and loading then rejects it.
fn hugging_face_name(format: &GgufFormat, name: &str) -> String {
    let find = |names: &[(&str, &'static str)], wanted: &str| {
        let found = names.iter().find(|(gguf, _)| *gguf == wanted);
        found.map(|(_, own)| *own)
    };
    if let Some(own) = find(format.tensors, name) {
        return own.to_owned();
    }
    let in_block = || {
        let (number, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let (module, kind) = part.rsplit_once('.')?;
        let module = find(format.modules, module)?;
        Some(format!("{}{number}.{module}.{kind}", format.blocks))
    };
    in_block().unwrap_or_else(|| name.to_owned())
}

impl Stored {
    /// The stored row that is row `row` of the Hugging Face tensor.
    fn row(&self, row: usize, rows: usize) -> usize {
        if self.heads == 0 {
            return row;
        }
        let size = rows / self.heads;
        let (head, place) = (row / size, row % size);
        head * size + place % (size / 2) * 2 + place / (size / 2)
    }
}

impl<R: ReadAt> Weights for Gguf<R> {
    fn file(&self) -> &str {
        &self.file
    }

    fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        let stored = self.tensors.get(name)?;
        Some(TensorInfo {
            dtype: Ok(match stored.block {
                Block::F16 => Dtype::F16,
                Block::Bf16 => Dtype::Bf16,
                _ => Dtype::F32,
            }),
            shape: stored.shape.clone(),
        })
    }

    fn read(&self, name: &str, offset: u64, into: &mut [u8]) -> Result<(), String> {
        let stored = self.tensors.get(name);
        let stored = stored.ok_or_else(|| format!("{name} is missing"))?;
        let width = stored.shape.last().copied().unwrap_or(1);
        let rows: usize = stored.shape.iter().rev().skip(1).product();
        let damaged = || format!("{name} ends too early");
        let row_bytes = stored.block.row_bytes(width).ok_or_else(damaged)?;
        let wide = width * stored.block.number_bytes();
        let mut at = usize::try_from(offset).map_err(|_| damaged())?;
        if rows == 0 || wide == 0 {
            // Of no rows, any width fits into a file.
            return if into.is_empty() {
                Ok(())
            } else {
                Err(damaged())
            };
        }
        let (mut packed, mut row) = (vec![0; row_bytes], vec![0; wide]);
        let mut rest = into;
        while !rest.is_empty() {
            let (number, from) = (at / wide, at % wide);
            if number >= rows {
                return Err(damaged());
            }
            let start = stored.start + (stored.row(number, rows) * row_bytes) as u64;
            self.bytes.read_at(start, &mut packed)?;
            stored.block.unpack(&packed, &mut row);
            let count = rest.len().min(wide - from);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&row[from..from + count]);
            (rest, at) = (later, at + count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{families::llama::Llama, family::Family};

    #[test]
    fn tensors_have_the_names_of_transformers() {
        let name = |n| hugging_face_name(&Llama::INFO.gguf.unwrap(), n);
        assert_eq!(name("token_embd.weight"), "model.embed_tokens.weight");
        assert_eq!(
            name("blk.12.attn_k.bias"),
            "model.layers.12.self_attn.k_proj.bias"
        );
        assert_eq!(
            name("blk.0.ffn_down.weight"),
            "model.layers.0.mlp.down_proj.weight"
        );
        assert_eq!(
            name("blk.0.ffn_gate_inp.weight"),
            "blk.0.ffn_gate_inp.weight"
        );
    }

    #[test]
    fn interleaved_rows_are_put_back() {
        // Two heads of four rows: llama.cpp has a head's rows as 0, 2, 1, 3.
        let stored = Stored {
            block: Block::F32,
            shape: vec![8, 1],
            start: 0,
            heads: 2,
        };
        let rows: Vec<usize> = (0..8).map(|row| stored.row(row, 8)).collect();
        assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}

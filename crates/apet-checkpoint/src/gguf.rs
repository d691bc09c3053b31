//! GGUF, llama.cpp's file of a model: quantised tensors, and what config.json and
//! tokenizer.json say elsewhere. Read as Hugging Face would have it, dequantised.
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
    source::{ReadAt, TensorInfo, Weights},
};

/// A GGUF file of a Llama or Qwen2.
#[derive(Debug)]
pub struct Gguf<R> {
    file: String,
    bytes: R,
    fields: BTreeMap<String, Value>,
    /// By Hugging Face name.
    tensors: BTreeMap<String, Stored>,
    /// `general.architecture`, which is transformers' `model_type`, too.
    architecture: String,
    /// Whether the turns of rotary positions stand in a table.
    rotary_table: bool,
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
    /// When it is no GGUF file, is cut, or holds a model or numbers that are not supported.
    pub fn open(file: &str, bytes: R) -> Result<Self, PlmError> {
        let wrong = |problem: String| PlmError::new(file, problem);
        let Header {
            fields,
            tensors,
            data,
        } = Header::read(&bytes).map_err(wrong)?;
        let architecture = match fields.get("general.architecture") {
            Some(Value::Text(name)) if ["llama", "qwen2"].contains(&name.as_str()) => name.clone(),
            other => {
                return Err(wrong(format!(
                    "\"general.architecture\": found {}, expected \"llama\" or \"qwen2\"",
                    other.map_or("nothing".into(), Value::shown)
                )));
            }
        };
        let mut gguf = Self {
            file: file.to_owned(),
            fields,
            tensors: BTreeMap::new(),
            architecture,
            rotary_table: false,
            bytes,
        };
        for tensor in tensors {
            let Some(name) = hugging_face_name(&tensor.name) else {
                gguf.rotary_table = true;
                continue;
            };
            let block = Block::by_number(tensor.number)
                .map_err(|e| wrong(format!("tensor \"{}\": {e}", tensor.name)))?;
            let heads = gguf.interleaved_heads(&tensor.name)?;
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

    /// llama.cpp turns pairs of neighbours where Hugging Face turns a head's halves, so its
    /// Llamas have the rows of queries and keys in another order; its Qwen2 have not.
    fn interleaved_heads(&self, tensor: &str) -> Result<usize, PlmError> {
        if self.architecture != "llama" {
            return Ok(0);
        }
        let field = if tensor.contains(".attn_q.") {
            "attention.head_count"
        } else if tensor.contains(".attn_k.") {
            "attention.head_count_kv"
        } else {
            return Ok(0);
        };
        self.size(field)
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(&format!("{}.{name}", self.architecture))
    }

    /// A number above 0 among the model's fields.
    fn size(&self, name: &str) -> Result<usize, PlmError> {
        let found = self.field(name);
        let size = found.and_then(Value::integer).filter(|&n| n > 0);
        size.ok_or_else(|| {
            PlmError::new(
                &self.file,
                format!(
                    "\"{}.{name}\": found {}, expected a number above 0",
                    self.architecture,
                    found.map_or("nothing".into(), Value::shown)
                ),
            )
        })
    }
}

/// transformers' name of a tensor.
fn hugging_face_name(name: &str) -> Option<String> {
    let whole = |name: &str| match name {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(name) = whole(name) {
        return Some(name.to_owned());
    }
    if name.starts_with("rope_freqs.") {
        return None;
    }
    let in_block = || {
        let (number, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let (part, kind) = part.rsplit_once('.')?;
        let part = match part {
            "attn_norm" => "input_layernorm",
            "ffn_norm" => "post_attention_layernorm",
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_output" => "self_attn.o_proj",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            _ => return None,
        };
        Some(format!("model.layers.{number}.{part}.{kind}"))
    };
    // What is not known keeps its name: loading then says that it is no part of the model.
    Some(in_block().unwrap_or_else(|| name.to_owned()))
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

    #[test]
    fn tensors_have_the_names_of_transformers() {
        let name = |n| hugging_face_name(n).unwrap_or_default();
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
        assert_eq!(hugging_face_name("rope_freqs.weight"), None);
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

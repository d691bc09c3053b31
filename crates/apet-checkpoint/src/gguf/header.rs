//! The header of a GGUF file: fields and tensors. Nothing is allocated beyond the bytes that the
//! file has.

use std::collections::BTreeMap;

use crate::source::ReadAt;

/// Fields and tensors that any model has stay far below this.
const MANY: u64 = 1 << 20;
/// Tensors have at most four axes.
const AXES: u32 = 4;
const ALIGNMENT: u64 = 32;
/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

/// The header.
pub(super) struct Header {
    pub(super) fields: BTreeMap<String, Value>,
    pub(super) tensors: Vec<Tensor>,
    /// Where the tensors begin.
    pub(super) data: u64,
}

/// A tensor as the header has it.
pub(super) struct Tensor {
    pub(super) name: String,
    /// Rows first.
    pub(super) shape: Vec<usize>,
    pub(super) number: u32,
    /// From the beginning of the tensors.
    pub(super) offset: u64,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    /// An array of another type: nothing reads one.
    Other,
}

impl Value {
    pub(super) fn integer(&self) -> Option<usize> {
        match self {
            Self::Integer(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// For errors.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Integer(n) => n.to_string(),
            Self::Float(x) => x.to_string(),
            Self::Bool(b) => b.to_string(),
            Self::Text(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            Self::Texts(_) | Self::Integers(_) | Self::Other => "an array".into(),
        }
    }
}

impl Header {
    pub(super) fn read(bytes: &dyn ReadAt) -> Result<Self, String> {
        let mut input = Input {
            bytes,
            size: bytes.size(),
            at: 0,
            piece: Vec::new(),
            piece_start: 0,
        };
        if &input.take::<4>()? != b"GGUF" {
            return Err("expected a GGUF file".into());
        }
        let version = input.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("found GGUF version {version}, expected 2 or 3"));
        }
        let (tensors, fields) = (input.u64()?, input.u64()?);
        if tensors > MANY || fields > MANY {
            return Err(format!(
                "found {tensors} tensors and {fields} fields, expected at most {MANY} of each"
            ));
        }
        let mut header = Self {
            fields: BTreeMap::new(),
            tensors: Vec::new(),
            data: 0,
        };
        for _ in 0..fields {
            let name = input.text()?;
            let value = input.value()?;
            header.fields.insert(name, value);
        }
        for _ in 0..tensors {
            header.tensors.push(input.tensor()?);
        }
        let alignment = match header.fields.get("general.alignment") {
            None => ALIGNMENT,
            Some(value) => match value.integer() {
                Some(n) if n.is_power_of_two() && n <= 1 << 20 => n as u64,
                _ => {
                    return Err(format!(
                        "\"general.alignment\": found {}, expected a power of two",
                        value.shown()
                    ));
                }
            },
        };
        header.data = input.at.next_multiple_of(alignment);
        Ok(header)
    }
}

/// The file, read from its beginning on.
struct Input<'a> {
    bytes: &'a dyn ReadAt,
    size: u64,
    at: u64,
    piece: Vec<u8>,
    piece_start: u64,
}

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut out = [0; N];
        self.fill(&mut out)?;
        Ok(out)
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), String> {
        let mut filled = 0;
        while filled < out.len() {
            let from = (self.at - self.piece_start) as usize;
            if from >= self.piece.len() {
                let count = (self.size - self.at).min(PIECE as u64) as usize;
                if count == 0 {
                    return Err("its header is cut: fetch it again".into());
                }
                self.piece.resize(count, 0);
                self.piece_start = self.at;
                self.bytes.read_at(self.at, &mut self.piece)?;
                continue;
            }
            let count = (out.len() - filled).min(self.piece.len() - from);
            out[filled..filled + count].copy_from_slice(&self.piece[from..from + count]);
            filled += count;
            self.at += count as u64;
        }
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// A count of things of which each has at least `least` bytes.
    fn count(&mut self, least: u64) -> Result<usize, String> {
        let count = self.u64()?;
        let there = (self.size - self.at) / least;
        if count > there {
            return Err(format!(
                "its header is damaged: it counts {count} where {there} fit"
            ));
        }
        Ok(count as usize)
    }

    fn text(&mut self) -> Result<String, String> {
        let mut bytes = vec![0; self.count(1)?];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| "its header has a text that is not UTF-8".into())
    }

    fn value(&mut self) -> Result<Value, String> {
        let kind = self.u32()?;
        if kind == 8 {
            return Ok(Value::Text(self.text()?));
        }
        if kind != 9 {
            return self.scalar(kind);
        }
        let kind = self.u32()?;
        match kind {
            8 => {
                let count = self.count(8)?;
                let texts = (0..count).map(|_| self.text());
                Ok(Value::Texts(texts.collect::<Result<_, _>>()?))
            }
            9 => Err("its header has an array of arrays, which no model needs".into()),
            _ => {
                let count = self.count(1)?;
                let mut integers = Some(Vec::new());
                for _ in 0..count {
                    match (self.scalar(kind)?, &mut integers) {
                        (Value::Integer(n), Some(integers)) => {
                            integers.push(i64::try_from(n).unwrap_or(i64::MAX));
                        }
                        _ => integers = None,
                    }
                }
                Ok(integers.map_or(Value::Other, Value::Integers))
            }
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Integer(self.take::<1>()?[0].into()),
            1 => Value::Integer(i8::from_le_bytes(self.take()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.take()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.take()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.take()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.take()?).into()),
            7 => Value::Bool(self.take::<1>()?[0] != 0),
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.take()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.take()?)),
            other => return Err(format!("its header has a value of unknown type {other}")),
        })
    }

    fn tensor(&mut self) -> Result<Tensor, String> {
        let name = self.text()?;
        let axes = self.u32()?;
        if axes == 0 || axes > AXES {
            return Err(format!(
                "tensor \"{name}\" has {axes} axes, expected 1 to {AXES}"
            ));
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let size = self.u64()?;
            // The file could not hold more, even of the smallest numbers.
            if size == 0 || size > self.size.saturating_mul(2) {
                return Err(format!("tensor \"{name}\" has an axis of {size}"));
            }
            shape.push(size as usize);
        }
        let numbers = shape.iter().try_fold(1u64, |n, &s| n.checked_mul(s as u64));
        if numbers.is_none_or(|n| n > self.size.saturating_mul(2)) {
            return Err(format!("tensor \"{name}\" is larger than the file"));
        }
        shape.reverse(); // stored with the fastest axis first
        Ok(Tensor {
            name,
            shape,
            number: self.u32()?,
            offset: self.u64()?,
        })
    }
}

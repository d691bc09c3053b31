//! The blocks that rows are packed in.

use half::f16;

/// Numbers of a quantised block.
const BLOCK: usize = 32;

/// How the numbers of a row are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    F32,
    F16,
    Bf16,
    /// (q - 8) d, q of four bits.
    Q4_0,
    /// q d + m, q of four bits.
    Q4_1,
    /// q d, q of eight bits.
    Q8_0,
}

impl Block {
    /// By the number it has in the file.
    pub(super) fn by_number(number: u32) -> Result<Self, String> {
        Ok(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            30 => Self::Bf16,
            other => {
                return Err(format!(
                    "numbers of type {other} are not supported (F32, F16, BF16, Q4_0, Q4_1, Q8_0)"
                ));
            }
        })
    }

    /// Bytes of a row of `width` numbers; none where blocks do not fill it.
    pub(super) fn row_bytes(self, width: usize) -> Option<usize> {
        let (numbers, bytes) = match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (BLOCK, 2 + BLOCK / 2),
            Self::Q4_1 => (BLOCK, 4 + BLOCK / 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
        };
        if width == 0 || !width.is_multiple_of(numbers) {
            return None;
        }
        (width / numbers).checked_mul(bytes)
    }

    /// Bytes of a number as it is given out: half precision stays, all else becomes f32.
    pub(super) fn number_bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            _ => 4,
        }
    }

    /// Unpacks a row into little-endian numbers.
    pub(super) fn unpack(self, packed: &[u8], row: &mut [u8]) {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => row.copy_from_slice(packed),
            Self::Q4_0 => unpack(packed, row, 2 + BLOCK / 2, |block| {
                let d = half(block, 0);
                nibbles(&block[2..]).map(|q| (f32::from(q) - 8.0) * d)
            }),
            Self::Q4_1 => unpack(packed, row, 4 + BLOCK / 2, |block| {
                let (d, m) = (half(block, 0), half(block, 2));
                nibbles(&block[4..]).map(|q| f32::from(q) * d + m)
            }),
            Self::Q8_0 => unpack(packed, row, 2 + BLOCK, |block| {
                let d = half(block, 0);
                std::array::from_fn(|i| f32::from(block[2 + i] as i8) * d)
            }),
        }
    }
}

fn unpack(packed: &[u8], row: &mut [u8], bytes: usize, of: impl Fn(&[u8]) -> [f32; BLOCK]) {
    let blocks = packed.chunks_exact(bytes);
    for (block, numbers) in blocks.zip(row.chunks_exact_mut(4 * BLOCK)) {
        for (number, place) in of(block).iter().zip(numbers.chunks_exact_mut(4)) {
            place.copy_from_slice(&number.to_le_bytes());
        }
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The lower halves of 16 bytes, then the upper ones.
fn nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    std::array::from_fn(|i| match i {
        i if i < BLOCK / 2 => bytes[i] & 15,
        i => bytes[i - BLOCK / 2] >> 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(block: Block, packed: &[u8]) -> Vec<f32> {
        let mut row = vec![0; 4 * BLOCK];
        block.unpack(packed, &mut row);
        let numbers = row.chunks_exact(4);
        numbers
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    }

    #[test]
    fn blocks_are_unpacked_as_ggml_defines_them() {
        let [half, three] = [0.5, 3.0].map(|x: f32| f16::from_f32(x).to_le_bytes());
        let nibbles: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();

        let found = floats(Block::Q4_0, &[&half[..], &nibbles].concat());
        let low = (0..16).map(|q| (q as f32 - 8.0) * 0.5);
        let high = (0..16).map(|q| ((15 - q) as f32 - 8.0) * 0.5);
        assert_eq!(found, low.chain(high).collect::<Vec<_>>());

        let found = floats(Block::Q4_1, &[&half[..], &three, &nibbles].concat());
        let low = (0..16).map(|q| q as f32 * 0.5 + 3.0);
        let high = (0..16).map(|q| (15 - q) as f32 * 0.5 + 3.0);
        assert_eq!(found, low.chain(high).collect::<Vec<_>>());

        let bytes: Vec<u8> = (-16..16).map(|q: i8| q as u8).collect();
        let found = floats(Block::Q8_0, &[&half[..], &bytes].concat());
        assert_eq!(found, (-16..16).map(|q| q as f32 * 0.5).collect::<Vec<_>>());
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(Block::Q4_1.row_bytes(64), Some(40));
        assert_eq!(Block::Q8_0.row_bytes(33), None);
        assert_eq!(Block::F16.row_bytes(0), None);
        Block::by_number(12).unwrap_err();
    }
}

//! Numbers of a tensor as ggml keeps them: plain, or in blocks of 32 with a scale.
//!
//! | type | a block | bytes |
//! |---|---|---|
//! | `q8_0` | scale d = max \|x\| / 127 in f16, then 32 of round(x / d) | 34 |
//! | `q4_0` | scale d = m / -8 in f16, m the x of the largest \|x\|, then 32 of ⌊x / d + 8.5⌋ in 4 bits, the first 16 in the low halves | 18 |

use half::{bf16, f16};

/// Numbers of a block.
pub(super) const BLOCK: usize = 32;

/// How numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockType {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE's.
    F16,
    /// 16 bits with the exponent of 32.
    Bf16,
    /// 8 bits and a scale for each 32.
    Q8_0,
    /// 4 bits and a scale for each 32.
    Q4_0,
}

impl BlockType {
    /// Those that are read.
    pub(super) const WORDS: &'static str = "F32, F16, BF16, Q8_0 or Q4_0";

    /// ggml's number of it.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 8,
            Self::Bf16 => 30,
        }
    }

    pub(super) fn of_number(number: u32) -> Option<Self> {
        let all = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];
        all.into_iter().find(|kind| kind.number() == number)
    }

    /// llama.cpp's number of a file that is mostly of it.
    pub(super) fn file_number(self) -> u64 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Bf16 => 32,
        }
    }

    /// Numbers that only come together.
    pub(super) fn block(self) -> u64 {
        if matches!(self, Self::Q8_0 | Self::Q4_0) { BLOCK as u64 } else { 1 }
    }

    pub(super) fn num_bytes(self, elements: u64) -> u64 {
        match self {
            Self::F32 => 4 * elements,
            Self::F16 | Self::Bf16 => 2 * elements,
            Self::Q8_0 => elements / BLOCK as u64 * 34,
            Self::Q4_0 => elements / BLOCK as u64 * 18,
        }
    }

    /// The numbers as bytes; of blocks there are whole ones.
    pub(super) fn pack(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.num_bytes(values.len() as u64) as usize);
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Self::F16 => bytes.extend(values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
            Self::Bf16 => bytes.extend(values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
            Self::Q8_0 => values.chunks_exact(BLOCK).for_each(|block| pack_q8(block, &mut bytes)),
            Self::Q4_0 => values.chunks_exact(BLOCK).for_each(|block| pack_q4(block, &mut bytes)),
        }
        bytes
    }

    /// The numbers of bytes that [`BlockType::pack`] or ggml made.
    pub(super) fn unpack(self, bytes: &[u8]) -> Vec<f32> {
        let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
        match self {
            Self::F32 => {
                bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            Self::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(pair(b)).to_f32()).collect(),
            Self::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(pair(b)).to_f32()).collect(),
            Self::Q8_0 => bytes
                .chunks_exact(34)
                .flat_map(|block| {
                    let scale = f16::from_le_bytes(pair(block)).to_f32();
                    block[2..].iter().map(move |q| scale * f32::from(*q as i8))
                })
                .collect(),
            Self::Q4_0 => bytes
                .chunks_exact(18)
                .flat_map(|block| {
                    let scale = f16::from_le_bytes(pair(block)).to_f32();
                    let low = block[2..].iter().map(|q| q & 15);
                    low.chain(block[2..].iter().map(|q| q >> 4)).map(move |q| scale * (f32::from(q) - 8.0))
                })
                .collect(),
        }
    }
}

fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { scale.recip() }
}

fn pack_q8(block: &[f32], bytes: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    bytes.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
    let inverse = inverse(scale);
    bytes.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
}

fn pack_q4(block: &[f32], bytes: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
    let scale = largest / -8.0;
    bytes.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
    let inverse = inverse(scale);
    let quantized = |x: f32| (x * inverse + 8.5).clamp(0.0, 15.0) as u8;
    let (low, high) = block.split_at(BLOCK / 2);
    bytes.extend(low.iter().zip(high).map(|(low, high)| quantized(*low) | quantized(*high) << 4));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<f32> {
        (0..256)
            .map(|at| ((at * 37 % 101) as f32 - 50.0) / 31.0 * if at / 32 == 3 { 0.0 } else { 1.0 })
            .collect()
    }

    /// Half a step of the scale: of 8 bits a 254th of the block's largest number, of 4 bits a 16th, and one step at the end that has no number.
    #[test]
    fn numbers_come_back_within_their_step() {
        for (kind, step) in [
            (BlockType::F32, 0.0),
            (BlockType::F16, 0.0005),
            (BlockType::Bf16, 0.004),
            (BlockType::Q8_0, 0.0041),
            (BlockType::Q4_0, 0.126),
        ] {
            let values = values();
            let bytes = kind.pack(&values);
            assert_eq!(bytes.len() as u64, kind.num_bytes(256));
            let back = kind.unpack(&bytes);
            for (x, y) in values.chunks(BLOCK).zip(back.chunks(BLOCK)) {
                let largest = x.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                for (x, y) in x.iter().zip(y) {
                    assert!((x - y).abs() <= step * largest, "{kind:?}: {x} and {y}");
                }
            }
            assert_eq!(kind.pack(&back).len(), bytes.len());
        }
    }

    /// By hand: the largest is 8, so that d = -1 and the code of x is ⌊8.5 - x⌋.
    #[test]
    fn a_block_of_four_bits_by_hand() {
        let mut block = [0.0f32; BLOCK];
        (block[0], block[1], block[16]) = (8.0, -3.0, 1.4);
        let bytes = BlockType::Q4_0.pack(&block);
        assert_eq!(bytes[..2], f16::from_f32(-1.0).to_le_bytes());
        assert_eq!((bytes[2], bytes[3], bytes[4]), (0x70, 0x8b, 0x88));
        let back = BlockType::Q4_0.unpack(&bytes);
        assert_eq!((back[0], back[1], back[2], back[16]), (8.0, -3.0, 0.0, 1.0));
    }
}

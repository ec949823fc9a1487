//! Zstandard, frame by frame (RFC 8878), with the dictionary that a `.warc.zst` carries in a skippable frame of its own at its begin.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

use super::gzip::{Outcome, Stepped};
use super::limits::Limits;
use super::skip::SkipReason;

/// The first bytes of a frame.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The first bytes of the frame with the dictionary.
const DICTIONARY: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];
/// A frame may ask for a window of two to this many bytes.
const MAX_WINDOW_LOG: u32 = 27;
/// Bytes of a dictionary.
pub(super) const MAX_DICTIONARY_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Data,
    /// In a skippable frame of which this much is left.
    Skippable(u64),
}

/// A decoder of frames.
pub(super) struct Zst {
    decoder: Decoder<'static>,
    at: At,
    packed_bytes: u64,
    unpacked_bytes: u64,
    /// Packed bytes up to the end of the next block: the library forgets what it made in a call that fails, so no call sees more than a block.
    next_bytes: usize,
    /// The library may still hold bytes that it made.
    full: bool,
}

impl Zst {
    /// # Errors
    /// The dictionary is none.
    pub(super) fn new(dictionary: &[u8]) -> std::io::Result<Self> {
        let decoder = decoder(dictionary)?;
        Ok(Self { decoder, at: At::Header, packed_bytes: 0, unpacked_bytes: 0, next_bytes: 1, full: false })
    }

    /// Whether the next byte begins a frame.
    pub(super) fn between(&self) -> bool {
        self.at == At::Header
    }

    /// Forgets the frame that it is in.
    pub(super) fn reset(&mut self) {
        // The library can only refuse this in the middle of a call.
        let _ = self.decoder.reinit();
        self.at = At::Header;
        self.packed_bytes = 0;
        self.unpacked_bytes = 0;
        self.next_bytes = 1;
        self.full = false;
    }

    /// Unpacks from `packed` to `room`.
    pub(super) fn step(&mut self, packed: &[u8], room: &mut [u8], limits: &Limits) -> Stepped {
        match self.at {
            At::Header => self.header(packed),
            At::Skippable(left) => {
                let used = left.min(packed.len() as u64);
                self.at = if used == left { At::Header } else { At::Skippable(left - used) };
                let outcome = if used == 0 { Outcome::Starved } else { Outcome::Going };
                Stepped { used: used as usize, made: 0, outcome }
            }
            At::Data => self.data(packed, room, limits),
        }
    }

    fn header(&mut self, packed: &[u8]) -> Stepped {
        let stepped = |used, outcome| Stepped { used, made: 0, outcome };
        let Some(magic) = packed.get(..4) else { return stepped(0, Outcome::Starved) };
        if magic == MAGIC {
            self.reset();
            self.at = At::Data;
            return stepped(0, Outcome::Going);
        }
        if !is_skippable(magic) {
            return stepped(0, Outcome::Broken(SkipReason::BrokenArchive));
        }
        let Some(&[a, b, c, d]) = packed.get(4..8) else { return stepped(0, Outcome::Starved) };
        self.at = At::Skippable(u64::from(u32::from_le_bytes([a, b, c, d])));
        stepped(8, Outcome::Going)
    }

    fn data(&mut self, packed: &[u8], room: &mut [u8], limits: &Limits) -> Stepped {
        let room_bytes = room.len();
        let bytes = if self.full { 0 } else { self.next_bytes.min(packed.len()) };
        let mut input = InBuffer::around(packed.get(..bytes).unwrap_or_default());
        let mut output = OutBuffer::around(room);
        let status = self.decoder.run(&mut input, &mut output);
        let (used, made) = (input.pos(), output.pos());
        let was_full = std::mem::replace(&mut self.full, made == room_bytes);
        self.packed_bytes += used as u64;
        self.unpacked_bytes += made as u64;
        let stepped = |outcome| Stepped { used, made, outcome };
        if limits.is_bomb(self.packed_bytes, self.unpacked_bytes) {
            return stepped(Outcome::Broken(SkipReason::ExpandsTooMuch));
        }
        match status {
            Err(error) if error.to_string().contains("checksum") => {
                stepped(Outcome::Broken(SkipReason::BadChecksum))
            }
            Err(_) => stepped(Outcome::Broken(SkipReason::BrokenArchive)),
            Ok(0) => {
                self.at = At::Header;
                stepped(Outcome::MemberEnd)
            }
            Ok(_) if used == 0 && made == 0 && !was_full => stepped(Outcome::Starved),
            Ok(bytes) => {
                self.next_bytes = bytes;
                stepped(Outcome::Going)
            }
        }
    }
}

fn decoder(dictionary: &[u8]) -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::with_dictionary(dictionary)?;
    decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
    Ok(decoder)
}

/// Whether these are the first bytes of a frame that decoders pass over.
pub(super) fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The length of the dictionary that a file with this begin carries.
pub(super) fn dictionary_length(head: &[u8]) -> Option<usize> {
    match head {
        [a, b, c, d, w, x, y, z, ..] if [*a, *b, *c, *d] == DICTIONARY => {
            Some(u32::from_le_bytes([*w, *x, *y, *z]) as usize)
        }
        _ => None,
    }
}

/// A dictionary as it is used: it may be compressed itself.
pub(super) fn dictionary(stored: &[u8]) -> std::io::Result<Vec<u8>> {
    if stored.starts_with(&MAGIC) {
        return zstd::bulk::decompress(stored, MAX_DICTIONARY_BYTES);
    }
    Ok(stored.to_vec())
}

/// Whether a frame begins here whose data begins with `prefix`.
pub(super) fn begins_with(packed: &[u8], prefix: &[u8], dictionary: &[u8]) -> bool {
    let mut room = [0_u8; 16];
    let Ok(mut decoder) = decoder(dictionary) else { return false };
    let mut input = InBuffer::around(packed);
    let mut output = OutBuffer::around(&mut room[..]);
    while output.pos() < prefix.len() {
        let before = (input.pos(), output.pos());
        if decoder.run(&mut input, &mut output).is_err() || (input.pos(), output.pos()) == before {
            break;
        }
    }
    let made = output.pos();
    room.get(..made).is_some_and(|made| made.starts_with(prefix))
}

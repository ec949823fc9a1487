//! Gzip, member by member (RFC 1952). `flate2` does the deflate; members, checksums and their limits are ours, since a reader of archives must
//! know where each member begins.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::limits::Limits;
use super::skip::SkipReason;

/// The first bytes of a member: the magic and the one method there is.
pub(super) const MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];
/// Names and comments in a member's header may take this many bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// What the decoder stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Data,
    Trailer,
}

/// One step of decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stepped {
    /// Packed bytes used.
    pub(super) used: usize,
    /// Unpacked bytes made.
    pub(super) made: usize,
    /// What it means.
    pub(super) outcome: Outcome,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// More may come from the bytes that are there.
    Going,
    /// More packed bytes are needed.
    Starved,
    /// A member or frame is complete.
    MemberEnd,
    /// The data is damaged.
    Broken(SkipReason),
}

/// The length of a member's header.
enum Header {
    Length(usize),
    Short,
    Wrong,
}

/// A decoder of gzip members.
pub(super) struct Gzip {
    inflate: Decompress,
    crc: Crc,
    at: At,
    packed_bytes: u64,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { inflate: Decompress::new(false), crc: Crc::new(), at: At::Header, packed_bytes: 0 }
    }

    /// Whether the next byte begins a member.
    pub(super) fn between(&self) -> bool {
        self.at == At::Header
    }

    /// Forgets the member that it is in.
    pub(super) fn reset(&mut self) {
        self.inflate.reset(false);
        self.crc.reset();
        self.at = At::Header;
        self.packed_bytes = 0;
    }

    /// Unpacks from `packed` to `room`.
    pub(super) fn step(&mut self, packed: &[u8], room: &mut [u8], limits: &Limits) -> Stepped {
        match self.at {
            At::Header => self.header(packed),
            At::Data => self.data(packed, room, limits),
            At::Trailer => self.trailer(packed),
        }
    }

    fn header(&mut self, packed: &[u8]) -> Stepped {
        let stepped = |used, outcome| Stepped { used, made: 0, outcome };
        match header_length(packed) {
            Header::Length(length) => {
                self.reset();
                self.at = At::Data;
                self.packed_bytes = length as u64;
                stepped(length, Outcome::Going)
            }
            Header::Short => stepped(0, Outcome::Starved),
            Header::Wrong => stepped(0, Outcome::Broken(SkipReason::BrokenArchive)),
        }
    }

    fn data(&mut self, packed: &[u8], room: &mut [u8], limits: &Limits) -> Stepped {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(packed, room, FlushDecompress::None);
        let used = (self.inflate.total_in() - before_in) as usize;
        let made = (self.inflate.total_out() - before_out) as usize;
        self.crc.update(room.get(..made).unwrap_or_default());
        self.packed_bytes += used as u64;
        let broken = |reason| Stepped { used, made, outcome: Outcome::Broken(reason) };
        if limits.is_bomb(self.packed_bytes, self.inflate.total_out()) {
            return broken(SkipReason::ExpandsTooMuch);
        }
        match status {
            Err(_) => broken(SkipReason::BrokenArchive),
            Ok(Status::StreamEnd) => {
                self.at = At::Trailer;
                let trailer = self.trailer(packed.get(used..).unwrap_or_default());
                // A trailer that is not all there yet is the next step's; what was made counts now.
                let outcome =
                    if trailer.outcome == Outcome::Starved { Outcome::Going } else { trailer.outcome };
                Stepped { used: used + trailer.used, made, outcome }
            }
            Ok(_) if used == 0 && made == 0 => Stepped { used, made, outcome: Outcome::Starved },
            Ok(_) => Stepped { used, made, outcome: Outcome::Going },
        }
    }

    fn trailer(&mut self, packed: &[u8]) -> Stepped {
        let Some((crc, length)) = packed.get(..8).and_then(|trailer| trailer.split_at_checked(4)) else {
            return Stepped { used: 0, made: 0, outcome: Outcome::Starved };
        };
        let right = crc == self.crc.sum().to_le_bytes() && length == self.crc.amount().to_le_bytes();
        self.at = At::Header;
        let outcome = if right { Outcome::MemberEnd } else { Outcome::Broken(SkipReason::BadChecksum) };
        Stepped { used: 8, made: 0, outcome }
    }
}

fn header_length(packed: &[u8]) -> Header {
    let known = packed.len().min(3);
    if packed[..known] != MAGIC[..known] {
        return Header::Wrong;
    }
    let Some(&flags) = packed.get(3) else { return Header::Short };
    if flags & 0xe0 != 0 {
        return Header::Wrong;
    }
    let mut at = 10;
    if flags & 4 != 0 {
        let Some(&[low, high]) = packed.get(at..at + 2) else { return Header::Short };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(rest) = packed.get(at..) else { return Header::Short };
            match memchr::memchr(0, rest) {
                Some(end) => at += end + 1,
                None if rest.len() > MAX_HEADER_BYTES => return Header::Wrong,
                None => return Header::Short,
            }
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    if packed.len() < at { Header::Short } else { Header::Length(at) }
}

/// Whether a member begins here whose data begins with `prefix`.
pub(super) fn begins_with(packed: &[u8], prefix: &[u8]) -> bool {
    let Header::Length(length) = header_length(packed) else { return false };
    let mut room = [0_u8; 16];
    let mut inflate = Decompress::new(false);
    let rest = packed.get(length..).unwrap_or_default();
    let _ = inflate.decompress(rest, &mut room, FlushDecompress::None);
    room.get(..inflate.total_out() as usize).is_some_and(|made| made.starts_with(prefix))
}

//! The frame of a journal record: `length u32 · CRC32C u32 · chain [u8; 32] · payload`, little-endian.
//!
//! The CRC covers chain and payload; the chain is blake3 over the chain before it and the payload, so that a record can be neither
//! changed, left out nor moved. A payload is JSON, or zstd over JSON where that is long.

use super::Record;

/// Bytes before the payload.
pub(super) const HEADER: usize = 4 + 4 + 32;
const MAX_PAYLOAD: usize = 64 << 20;
const MAX_RECORD: usize = 256 << 20;
/// Payloads over this are compressed.
const COMPRESS_OVER: usize = 8 << 10;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The chain before the first record.
pub(super) const FIRST_HEAD: [u8; 32] = [0; 32];

/// Appends the frame of a payload to `bytes` and gives the chain after it.
pub(super) fn push_frame(bytes: &mut Vec<u8>, head: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    let head = chain(head, payload);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), payload);
    bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    head
}

/// The chain and payload of the record at the start of `bytes`, where its length and CRC hold.
pub(super) fn frame(bytes: &[u8]) -> Option<([u8; 32], &[u8])> {
    let header = bytes.get(..HEADER)?;
    let length = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(header[4..8].try_into().ok()?);
    if length == 0 || length > MAX_PAYLOAD {
        return None;
    }
    let covered = bytes.get(8..HEADER + length)?;
    if covered[32] != b'{' && covered[32] != ZSTD_MAGIC[0] {
        return None;
    }
    (crc32c::crc32c(covered) == crc).then(|| (header[8..].try_into().unwrap_or(FIRST_HEAD), &covered[32..]))
}

/// Whether a whole record stands somewhere behind the start of `bytes`: then this is damage, not a torn tail.
pub(super) fn whole_record_follows(bytes: &[u8]) -> bool {
    (0..bytes.len().saturating_sub(HEADER)).any(|at| frame(&bytes[at..]).is_some())
}

/// The chain after a payload.
pub(super) fn chain(head: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

/// A record as a payload.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(record)?;
    if json.len() > COMPRESS_OVER
        && let Ok(packed) = zstd::bulk::compress(&json, 1)
    {
        return Ok(packed);
    }
    Ok(json)
}

/// The JSON of a payload; the problem where it can't be unpacked.
pub(super) fn unpack(payload: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, String> {
    if !payload.starts_with(&ZSTD_MAGIC) {
        return Ok(payload.into());
    }
    let size = zstd::bulk::Decompressor::upper_bound(payload).unwrap_or(MAX_RECORD).min(MAX_RECORD);
    zstd::bulk::decompress(payload, size)
        .map(Into::into)
        .map_err(|error| format!("it can't be unpacked: {error}"))
}

/// The record of a payload.
pub(super) fn decode(payload: &[u8], offset: u64) -> Result<Record, String> {
    let json = unpack(payload)?;
    let mut record: Record =
        serde_json::from_slice(&json).map_err(|error| format!("unknown record: {error}"))?;
    record.offset = offset;
    Ok(record)
}

//! What can be sorted.

/// A record of a sort.
///
/// The order must be total, and equal records must be interchangeable: then what a sort gives is the same whatever way it went.
pub trait Record: Ord + Clone + Send + Sync {
    /// Names the kind in file headers, with the version of its bytes.
    const KIND: [u8; 4];

    /// Appends the record's bytes, at least one.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// Takes a record off the front of `bytes`; none where they are no record.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;

    /// What the record holds on the heap, bytes.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Takes `N` bytes off the front; none where there are fewer.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// Takes bytes off the front whose number stands before them as a `u32`.
pub fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(bytes)?) as usize;
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// Implements [`Record`] for a tuple struct or struct of unsigned integers, in the order of its fields, little-endian.
macro_rules! integers {
    ($name:ident, $kind:literal, $($field:ident: $type:ty),+) => {
        impl $crate::dedup::sort::Record for $name {
            const KIND: [u8; 4] = *$kind;

            fn encode(&self, bytes: &mut Vec<u8>) {
                $(bytes.extend_from_slice(&self.$field.to_le_bytes());)+
            }

            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                $(let $field = <$type>::from_le_bytes($crate::dedup::sort::take(bytes)?);)+
                Some(Self { $($field),+ })
            }
        }
    };
}
pub(in crate::dedup) use integers;

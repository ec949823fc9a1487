//! Tokens and merges.

use crate::EngineError;

/// What training gives and files hold: bytes by id, the ids of the 256 bytes, and the merges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Bytes by id; a special token's are its spelling's, those of an id that is not used are none.
    pub tokens: Vec<Vec<u8>>,
    /// The id of each byte.
    pub byte_ids: [u32; 256],
    /// Left id, right id and the id that they become, the first merge first.
    pub merges: Vec<(u32, u32, u32)>,
}

impl Vocabulary {
    /// Checks that every id is one of the tokens', and that a merge's token is its parts, one after the other.
    ///
    /// # Errors
    /// The first byte or merge of which this is not so.
    pub fn check(&self) -> Result<(), EngineError> {
        let token = |id: u32| self.tokens.get(id as usize).map(Vec::as_slice);
        for (byte, id) in self.byte_ids.iter().enumerate() {
            if token(*id) != Some(&[byte as u8]) {
                return Err(EngineError::field(
                    "vocab",
                    format!("a token for byte {byte}"),
                    format!("id {id}"),
                ));
            }
        }
        for (rank, (left, right, new)) in self.merges.iter().enumerate() {
            let is_whole = match (token(*left), token(*right), token(*new)) {
                (Some(left), Some(right), Some(new)) => {
                    !left.is_empty() && !right.is_empty() && new.strip_prefix(left) == Some(right)
                }
                _ => false,
            };
            if !is_whole {
                return Err(EngineError::field(
                    format!("merges.{rank}"),
                    "two tokens and the token that they make",
                    format!("{left} and {right} make {new}"),
                ));
            }
        }
        Ok(())
    }
}

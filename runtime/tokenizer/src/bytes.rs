//! GPT-2's spelling of bytes: each byte is one visible character, so that a vocabulary of byte strings fits in JSON.

/// The character of each byte: printable Latin-1 stands for itself, the rest moves to U+0100 and above in byte order.
pub fn byte_chars() -> [char; 256] {
    let mut chars = ['\0'; 256];
    let mut moved = 0x100;
    for (byte, slot) in chars.iter_mut().enumerate() {
        let byte = byte as u32;
        let visible = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if visible {
            byte
        } else {
            moved += 1;
            moved - 1
        };
        *slot = char::from_u32(code).unwrap_or('\u{fffd}');
    }
    chars
}

/// The spelling of a byte string.
pub fn spell(bytes: &[u8], chars: &[char; 256]) -> String {
    bytes.iter().map(|byte| chars[*byte as usize]).collect()
}

/// The bytes of a spelling; none where a character stands for no byte.
pub fn unspell(text: &str) -> Option<Vec<u8>> {
    text.chars().map(byte_of).collect()
}

fn byte_of(char: char) -> Option<u8> {
    match char as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let chars = byte_chars();
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unspell(&spell(&all, &chars)).unwrap(), all);
        assert_eq!((chars[b' ' as usize], chars[b'\n' as usize]), ('Ġ', 'Ċ'));
        assert_eq!(unspell("日"), None);
    }
}

//! Files that are mostly text, kept to the byte. nginx reads bytes: a Latin-1 comment is as good to it as one in UTF-8,
//! and what we put back must be what stood there. A byte that is no UTF-8 becomes a character of its own that no text
//! has. No I/O.

use std::fmt::Write as _;

/// The last characters of the last plane, for private use: nobody's text has them. Where one has, its bytes are kept as
/// bytes too, so that every file is the same again.
const FIRST: u32 = 0x0010_ff80;

fn stand_in(byte: u8) -> char {
    // Only bytes above 0x7f are ever no UTF-8.
    char::from_u32(FIRST + u32::from(byte & 0x7f)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte_of(c: char) -> Option<u8> {
    let offset = u32::from(c).checked_sub(FIRST)?;
    u8::try_from(offset).ok().map(|low| low | 0x80)
}

/// The text of any bytes; [`bytes_of`] gives them again.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte_of(c) {
                Some(_) => text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(stand_in)),
                None => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// The bytes of a text that [`text_of`] made, or of any other.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// A text as people may be shown it: nothing in it moves a terminal, but for the ends of lines and tabs.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_line = c == '\n' || (c == '\r' && chars.peek() == Some(&'\n'));
        match byte_of(c) {
            Some(byte) => {
                let _ = write!(shown, "\\x{byte:02x}");
            }
            None if c.is_control() && c != '\t' && !ends_line => shown.extend(c.escape_unicode()),
            None => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_utf_8_is_shown_as_the_byte_that_it_is() {
        assert_eq!(shown(&text_of(b"# caf\xe9\t\x1b[2J\r\n")), "# caf\\xe9\t\\u{1b}[2J\r\n");
        assert_eq!(text_of("größe".as_bytes()), "größe");
    }

    proptest! {
        #[test]
        fn every_file_is_the_same_again(bytes: Vec<u8>, c in FIRST..=0x0010_ffff) {
            prop_assert_eq!(bytes_of(&text_of(&bytes)), bytes.clone());
            let ours = [&bytes[..], char::from_u32(c).expect("a character").to_string().as_bytes()].concat();
            prop_assert_eq!(bytes_of(&text_of(&ours)), ours);
        }
    }
}

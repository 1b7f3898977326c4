//! Bytes as a person can read and paste them.
use std::fmt::Write as _;

/// Text as it is, and `\xNN` for every byte that is none: control characters and what is not UTF-8. A backslash is
/// doubled, so that no two byte strings look alike.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if is_shown(c) => text.push(c),
                c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escape(&mut text, byte)),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_escape(&mut text, *byte));
    }
    text
}

/// Characters that a terminal shows and a person can tell apart from none.
fn is_shown(c: char) -> bool {
    // Besides controls: zero-width and bidirectional marks, line and paragraph separators, private and unassigned use.
    !c.is_control()
        && !matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

fn push_escape(text: &mut String, byte: u8) {
    // Writing to a string cannot fail.
    let _ = write!(text, "\\x{byte:02x}");
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_no_two_byte_strings_look_alike() {
        assert_eq!(escaped("\0\x01ärger\\n\n".as_bytes()), r"\x00\x01ärger\\n\x0a");
        assert_eq!(escaped(b"\xFFa\xC3"), r"\xffa\xc3");
        assert_eq!(escaped("a\u{202E}b".as_bytes()), r"a\xe2\x80\xaeb");
    }

    #[test]
    fn hexadecimal_has_two_digits_a_byte() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}

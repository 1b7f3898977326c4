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

/// Whether all of it is text that is shown as it is.
pub(super) fn printable(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_shown))
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What [`hex`] wrote, with or without spaces.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| *c != ' ').map(|c| Some(c.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    digits.chunks(2).map(|pair| Some(pair.first()? << 4 | pair.last()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_no_two_byte_strings_look_alike() {
        assert_eq!(escaped("\0\x01ärger\\n\n".as_bytes()), r"\x00\x01ärger\\n\x0a");
        assert_eq!(escaped(b"\xFFa\xC3"), r"\xffa\xc3");
        assert_eq!(escaped("a\u{202E}b".as_bytes()), r"a\xe2\x80\xaeb");
        assert_eq!(printable("川".as_bytes()), Some("川"));
        assert_eq!((printable(b"a\0"), printable(b"\xFF")), (None, None));
    }

    #[test]
    fn hexadecimal_round_trips() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("0A ff"), Some(vec![10, 255]));
        assert_eq!((from_hex("0"), from_hex("0g")), (None, None));
    }
}

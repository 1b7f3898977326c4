//! Words: lower-cased Unicode word segmentation (UAX #29) of a piece of text, one callback a word.
//!
//! ASCII white space always ends a word, so text is cut there first and each token goes its own way: a pure ASCII token
//! by the classes of its bytes, any other through `unicode-segmentation`. Both give the words that crate finds in
//! the whole text (a property test compares them), but for one thing: a combining mark typed after a space is a word by
//! itself, not one that begins with the space. The classes are what makes English fast.
//!
//! **Failure**: bytes that are not UTF-8 separate words, as U+FFFD does.
use unicode_segmentation::UnicodeSegmentation as _;

/// Longer runs without a word boundary (base64, minified code) are cut into words of at most this size.
pub(crate) const MAX_WORD_BYTES: usize = 4096;

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const JOINER: u8 = 3; // `_` joins letters and digits
const BETWEEN_LETTERS: u8 = 4;
const BETWEEN_DIGITS: u8 = 5;
const BETWEEN_BOTH: u8 = 6;

/// The word-break class of a byte of ASCII text; 0 for what no rule joins, and past the end.
fn class(text: &[u8], at: usize) -> u8 {
    match text.get(at) {
        Some(b'a'..=b'z' | b'A'..=b'Z') => LETTER,
        Some(b'0'..=b'9') => DIGIT,
        Some(b'_') => JOINER,
        Some(b':') => BETWEEN_LETTERS,
        Some(b',' | b';') => BETWEEN_DIGITS,
        Some(b'.' | b'\'') => BETWEEN_BOTH,
        _ => 0,
    }
}

/// Finds words; keeps the buffer in which they are lower-cased.
#[derive(Debug, Default)]
pub(crate) struct WordSplitter {
    lower: String,
}

impl WordSplitter {
    /// Calls `emit` with every word of `text`, lower-cased, in order. `text` is lower-cased in place where that is
    /// cheap.
    pub(crate) fn split(&mut self, text: &mut [u8], emit: &mut impl FnMut(&[u8])) {
        text.make_ascii_lowercase();
        if text.is_ascii() {
            return split_ascii(text, emit);
        }
        for token in text.split(u8::is_ascii_whitespace) {
            if token.is_ascii() {
                split_ascii(token, emit);
                continue;
            }
            match std::str::from_utf8(token) {
                Ok(token) => self.split_unicode(token, emit),
                Err(_) => self.split_unicode(&String::from_utf8_lossy(token), emit),
            }
        }
    }

    fn split_unicode(&mut self, token: &str, emit: &mut impl FnMut(&[u8])) {
        for word in token.unicode_words() {
            if word.is_ascii() {
                emit_cut(word, emit);
                continue;
            }
            self.lower.clear();
            if word.contains('Σ') {
                // The one letter whose lower case depends on its place in the word.
                self.lower.push_str(&word.to_lowercase());
            } else {
                self.lower.extend(word.chars().flat_map(char::to_lowercase));
            }
            emit_cut(&self.lower, emit);
        }
    }
}

/// The rules WB5–WB13b for bytes that are ASCII.
fn split_ascii(text: &[u8], emit: &mut impl FnMut(&[u8])) {
    let mut at = 0;
    while at < text.len() {
        let start = at;
        let mut last = 0;
        let mut is_word = false;
        loop {
            let this = class(text, at);
            let joins = match this {
                LETTER | DIGIT | JOINER => true,
                BETWEEN_LETTERS => last == LETTER && class(text, at + 1) == LETTER,
                BETWEEN_DIGITS => last == DIGIT && class(text, at + 1) == DIGIT,
                BETWEEN_BOTH => (last == LETTER || last == DIGIT) && class(text, at + 1) == last,
                _ => false,
            };
            if !joins {
                break;
            }
            is_word |= this == LETTER || this == DIGIT;
            last = this;
            at += 1;
        }
        if is_word {
            for piece in text.get(start..at).unwrap_or_default().chunks(MAX_WORD_BYTES) {
                emit(piece);
            }
        }
        at = at.max(start + 1);
    }
}

fn emit_cut(mut word: &str, emit: &mut impl FnMut(&[u8])) {
    while word.len() > MAX_WORD_BYTES {
        let Some((head, tail)) = word.split_at_checked(word.floor_char_boundary(MAX_WORD_BYTES)) else {
            break;
        };
        emit(head.as_bytes());
        word = tail;
    }
    emit(word.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &[u8]) -> Vec<String> {
        let mut words = Vec::new();
        WordSplitter::default().split(&mut text.to_vec(), &mut |word| {
            words.push(String::from_utf8(word.to_vec()).unwrap());
        });
        words
    }

    fn expected(text: &str) -> Vec<String> {
        text.unicode_words().map(|word| word.trim_ascii_start().to_lowercase()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn ascii_words_are_those_of_the_standard(text in "[a-cA-C0-2_:;,.'\" \n-]{0,24}") {
            prop_assert_eq!(words(text.as_bytes()), expected(&text));
        }

        #[test]
        fn words_of_any_script_are_those_of_the_standard(
            text in "[aZ1_.:' \t\néßΣσİ\u{301}\u{900}\u{200d}\u{ad}\u{feff}\u{1f469}\u{2764}\u{1f1e9}אב\"カタ漢字한글ไท१२،\u{a0}\u{2028}]{0,16}",
        ) {
            prop_assert_eq!(words(text.as_bytes()), expected(&text));
        }

        #[test]
        fn any_bytes_give_the_words_of_their_lossy_text(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(words(&text), expected(&String::from_utf8_lossy(&text)));
        }
    }

    #[test]
    fn words_are_lower_cased_in_every_script() {
        assert_eq!(
            words("Don't PANIC: ΌΣΟΣ, İstanbul 3.14".as_bytes()),
            ["don't", "panic", "όσος", "i̇stanbul", "3.14"]
        );
    }

    #[test]
    fn a_word_without_end_is_cut_within_the_limit() {
        for letter in ["a", "é"] {
            let long = letter.repeat(3 * MAX_WORD_BYTES);
            let cut = words(long.as_bytes());
            assert!(cut.len() > 2 && cut.iter().all(|word| word.len() <= MAX_WORD_BYTES));
            assert_eq!(cut.concat(), long);
        }
    }
}

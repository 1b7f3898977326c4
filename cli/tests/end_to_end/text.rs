//! Text to count, and what its counts must be.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use alluvium_env::Entropy;
use unicode_segmentation::UnicodeSegmentation as _;

/// Words with their counts, sorted as the output file is.
pub(crate) type Counts = BTreeMap<String, u64>;

/// Stems of many scripts, with case, marks, digits and apostrophes.
const STEMS: [&str; 24] = [
    "river",
    "Stream",
    "don't",
    "DELTA",
    "naïve",
    "Straße",
    "ΛΌΓΟΣ",
    "ποταμός",
    "Река",
    "поток",
    "नदी",
    "धारा",
    "نهر",
    "מים",
    "川",
    "流れる水",
    "カワ",
    "한강",
    "แม่น้ำ",
    "İstanbul",
    "e\u{301}cole",
    "3.14",
    "x_1",
    "👩‍🔬",
];

const SEPARATORS: [&str; 8] = [" ", " ", " ", ", ", ". ", "\n", " — ", "! "];

/// At least `bytes` of text over about `vocabulary` different words; few of them frequent, as in any language.
pub(crate) fn multilingual(seed: u64, bytes: usize, vocabulary: u64) -> String {
    let random = Entropy::from_seed(seed);
    let mut text = String::with_capacity(bytes + 64);
    while text.len() < bytes {
        let limit = 1 + random.next_u64() % vocabulary;
        let word = random.next_u64() % limit;
        text.push_str(STEMS[(word % STEMS.len() as u64) as usize]);
        if word >= STEMS.len() as u64 {
            write!(text, "{}", word / STEMS.len() as u64).unwrap();
        }
        text.push_str(SEPARATORS[(random.next_u64() % 8) as usize]);
    }
    text
}

/// Counts by the definition: the crate's words of the whole text, lower-cased by the standard library.
pub(crate) fn count(text: &str, times: u64) -> Counts {
    let mut counts = Counts::new();
    for word in text.unicode_words() {
        *counts.entry(word.to_lowercase()).or_default() += times;
    }
    counts
}

/// Compares an output file with what it must be, line by line and in order, and says how they differ.
pub(crate) fn assert_counts(output: &Path, expected: &Counts) {
    let written = fs::read_to_string(output).unwrap();
    let mut lines = written.lines();
    let mut wrong = Vec::new();
    for (word, count) in expected {
        let line = lines.next().unwrap_or("nothing");
        if line != format!("{word}\t{count}") {
            wrong.push(format!("expected {word} {count}, found {line}"));
        }
    }
    let more = lines.count();
    let shown = &wrong[..wrong.len().min(5)];
    assert!(wrong.is_empty() && more == 0, "{} lines differ, {more} more: {shown:?}", wrong.len());
}

//! What a person reads on stdout.
use std::io::{self, Write as _};
use std::time::Duration;

use alluvium_env::{Error, Result};
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

/// A line below the header and no other.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Digits in groups of three: `12,345,678`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, rounded down.
pub(crate) fn per_second(count: u64, time: Duration) -> u64 {
    let rate = u128::from(count) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// Prints the most frequent words.
///
/// # Errors
/// As for [`print_line`].
pub(crate) fn print_table(words: &[(String, u64)]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header([Cell::new("count").set_alignment(CellAlignment::Right), Cell::new("word")]);
    for (word, count) in words {
        table.add_row([Cell::new(grouped(*count)).set_alignment(CellAlignment::Right), Cell::new(word)]);
    }
    for line in table.lines() {
        print_line(line.trim_end())?;
    }
    print_line("")
}

/// Prints names and figures, a pair a line.
///
/// # Errors
/// As for [`print_line`].
pub(crate) fn print_figures(figures: &[(&str, String)]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    for (name, figure) in figures {
        table.add_row([Cell::new(name), Cell::new(figure)]);
    }
    for line in table.lines() {
        print_line(line.trim_end())?;
    }
    Ok(())
}

/// Prints a line on stdout; a reader that has gone (`| head`) is not an error.
///
/// # Errors
/// `Unavailable` if stdout cannot be written otherwise (a full disk).
pub(crate) fn print_line(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::unavailable("cannot write to stdout").with_source(e))
        }
        _ => Ok(()),
    }
}

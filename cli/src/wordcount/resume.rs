//! How to continue, as a command that can be pasted into a shell.
use std::ffi::OsString;

/// The command line again, with `--restore latest`.
pub(super) fn command(arguments: impl Iterator<Item = OsString>) -> String {
    let mut words = vec!["alluvium".to_owned()];
    let mut arguments = arguments.skip(1).map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = arguments.next() {
        if argument == "--restore" || argument == "--restore-mode" {
            arguments.next();
        } else if !argument.starts_with("--restore=") && !argument.starts_with("--restore-mode=") {
            words.push(quoted(argument));
        }
    }
    words.push("--restore latest".to_owned());
    words.join(" ")
}

/// The word as a POSIX shell must be given it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> String {
        command(words.iter().map(OsString::from))
    }

    #[test]
    fn the_command_is_repeated_and_restores() {
        let given = ["/usr/bin/alluvium", "wordcount", "my file.txt", "--restore", "none", "--top", "3"];
        assert_eq!(of(&given), "alluvium wordcount 'my file.txt' --top 3 --restore latest");
        assert_eq!(
            of(&["x", "wordcount", "it's", "--restore=a/b#7", "--restore-mode", "claim"]),
            r"alluvium wordcount 'it'\''s' --restore latest"
        );
    }
}

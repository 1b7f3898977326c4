//! Splits partition their files whatever is in them, readers resume where they stopped, discovery finds what it should.
use std::fs;

use proptest::prelude::*;
use unicode_segmentation::UnicodeSegmentation as _;

use super::region::Region;
use super::*;

fn expected(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

fn drain(reader: &mut TextReader, words: &mut Vec<String>) {
    while reader.step(&mut |word| words.push(String::from_utf8(word.to_vec()).unwrap())).unwrap() != Step::End
    {
    }
}

fn file_of(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, text).unwrap();
    (folder, path)
}

proptest! {
    #[test]
    fn regions_partition_a_file_at_white_space(
        text in "[a-cé \n]{1,200}", cuts in proptest::collection::vec(0_u64..200, 0..6),
    ) {
        let (_folder, path) = file_of(text.as_bytes());
        let size = text.len() as u64;
        let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut % size).chain([0, size]).collect();
        cuts.sort_unstable();
        let (mut words, mut next) = (Vec::new(), 0);
        for pair in cuts.windows(2) {
            let region = Region { start: pair[0], end: pair[1], file_size: size };
            let (file, from, end) = region.open(&path, 0).unwrap();
            prop_assert!(from == next || from == end, "a gap between {next} and {from}");
            next = end;
            let mut reader = TextReader::new(Bytes::File(file), "text".to_owned(), Some(end - from), from - pair[0]);
            drain(&mut reader, &mut words);
        }
        prop_assert_eq!(next, size);
        prop_assert_eq!(words, expected(&text));
    }
}

#[test]
fn a_reader_resumes_exactly_where_another_stopped() {
    let lines: Vec<String> = (0..400_000_u32).map(|i| format!("w{} é{}\n", i % 977, i % 31)).collect();
    let text = lines.concat();
    let (folder, _) = file_of(text.as_bytes());
    let input = TextInput::new(discover(&[folder.path().to_owned()], &[]).unwrap().files, 1);
    let mut words = Vec::new();
    let (mut split, mut position) = (0, 0);
    while split < input.splits() {
        // One step a reader: every position a reader can return is continued by another.
        let mut reader = input.open(split, position).unwrap();
        let step = reader.step(&mut |word| words.push(String::from_utf8(word.to_vec()).unwrap())).unwrap();
        position = reader.position();
        if step == Step::End {
            (split, position) = (split + 1, 0);
        }
    }
    assert_eq!(words, expected(&text));
}

#[test]
fn large_files_are_cut_and_repeats_are_the_same_splits_again() {
    let text = "lorem ipsum dolor ".repeat(2_000_000);
    let (folder, path) = file_of(text.as_bytes());
    let input = TextInput::new(discover(&[path], &[]).unwrap().files, 3);
    let once = input.splits() / 3;
    assert!((4..=5).contains(&once), "{once} splits");
    assert_eq!(input.total_bytes(), Some(text.len() as u64 * 3));
    let mut counts = 0;
    for split in 0..input.splits() {
        let mut reader = input.open(split, 0).unwrap();
        while reader.step(&mut |_| counts += 1).unwrap() != Step::End {}
    }
    assert_eq!(counts, 3 * 3 * 2_000_000);
    drop(folder);
}

#[test]
fn text_without_white_space_is_cut_between_characters() {
    let text = "字".repeat(1_500_000);
    let (_folder, path) = file_of(text.as_bytes());
    let size = text.len() as u64;
    for (start, end) in [(0, 1_000_000), (1_000_000, size)] {
        let (file, from, end) = Region { start, end, file_size: size }.open(&path, 0).unwrap();
        assert_eq!(from % 3, 0);
        let mut reader =
            TextReader::new(Bytes::File(file), "text".to_owned(), Some(end - from), from - start);
        let mut words = Vec::new();
        drain(&mut reader, &mut words);
        assert!(words.iter().all(|word| word == "字"), "a character was cut in two");
        assert_eq!(words.len() as u64, (end - from) / 3);
    }
}

#[test]
fn a_file_that_shrinks_is_an_error_not_a_smaller_count() {
    let (_folder, path) = file_of(&b"word ".repeat(100_000));
    let files = discover(std::slice::from_ref(&path), &[]).unwrap().files;
    let input = TextInput::new(files, 1);
    let mut reader = input.open(0, 0).unwrap();
    fs::write(&path, b"word").unwrap();
    assert!(input.open(0, 0).err().unwrap().to_string().contains("shorter"));
    let error = loop {
        match reader.step(&mut |_| ()) {
            Ok(step) => assert_ne!(step, Step::End),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("shorter"));
}

#[test]
fn folders_are_read_in_order_without_hidden_binary_and_own_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.txt", "b"),
        ("a/z.txt", "z"),
        ("a/.hidden", "h"),
        (".git/x", "x"),
        ("bin", "a\0b"),
        ("out.tsv", "o"),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    let found = discover(&[folder.path().to_owned()], &[folder.path().join("out.tsv")]).unwrap();
    let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["/a/z.txt", "/b.txt"]);
    assert_eq!(found.skipped, [folder.path().join("bin")]);
}

#[test]
fn what_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.txt");
    let error = discover(std::slice::from_ref(&missing), &[]).unwrap_err().to_string();
    assert!(error.contains("missing.txt") && error.contains("No such file"), "{error}");
    let error = discover(&[folder.path().to_owned()], &[]).unwrap_err().to_string();
    assert!(error.starts_with("no text file in"), "{error}");
}

#[test]
fn a_stream_rings_for_every_word_and_for_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writing = std::thread::Builder::new().spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "one two ".repeat(100_000)).unwrap()
    });
    let input = TextInput::new(discover(&[pipe], &[]).unwrap().files, 1);
    assert_eq!((input.splits(), input.total_bytes()), (1, None));
    // The first word was counted by an earlier attempt.
    let mut reader = input.open(0, 4).unwrap();
    let (ring, rings) = std::sync::mpsc::channel();
    reader.set_wake(Arc::new(move || ring.send(()).unwrap()));
    let mut words = 0;
    loop {
        match reader.step(&mut |_| words += 1).unwrap() {
            Step::More => {}
            Step::Idle => rings.recv().unwrap(),
            Step::End => break,
        }
    }
    assert_eq!((words, reader.position()), (199_999, 800_000));
    writing.unwrap().join().unwrap();
}

#[test]
fn the_fingerprint_tells_inputs_apart_but_not_their_places() {
    let file =
        |name: &str, size_bytes| InputFile { path: PathBuf::from(name), name: name.to_owned(), size_bytes };
    let print = |files: Vec<InputFile>, repeat| TextInput::new(files, repeat).fingerprint();
    let base = print(vec![file("a", Some(1)), file("b", Some(2))], 1);
    assert_eq!(
        base,
        print(vec![InputFile { path: "/else/a".into(), ..file("a", Some(1)) }, file("b", Some(2))], 1)
    );
    for other in [
        print(vec![file("a", Some(2)), file("b", Some(1))], 1),
        print(vec![file("a", Some(1)), file("b", Some(2))], 2),
        print(vec![file("a", Some(1)), file("b", None)], 1),
        print(vec![file("a", Some(3))], 1),
    ] {
        assert_ne!(base, other);
    }
}

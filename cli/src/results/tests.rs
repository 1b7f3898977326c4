//! The file is sorted and complete, the table is the head of the sorted counts, whatever the runs were.
use std::fs;

use proptest::prelude::*;

use super::*;

fn write(runs: &[Vec<(Vec<u8>, u64)>], target: &std::path::Path) -> Result<()> {
    let mut file = SortedFile::create(target)?;
    for run in runs {
        file.begin_run()?;
        for (word, count) in run {
            file.push(word, *count)?;
        }
    }
    file.finish()
}

proptest! {
    #[test]
    fn the_file_holds_every_word_once_and_in_order(
        words in proptest::collection::btree_map("[a-dé]{1,6}", (any::<u64>(), 0_usize..5), 0..200),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("counts.tsv");
        let mut runs = vec![Vec::new(); 5];
        for (word, (count, run)) in &words {
            runs[*run].push((word.clone().into_bytes(), *count));
        }
        write(&runs, &target).unwrap();
        let lines: Vec<String> = words.iter().map(|(word, (count, _))| format!("{word}\t{count}\n")).collect();
        prop_assert_eq!(fs::read_to_string(&target).unwrap(), lines.concat());
        prop_assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn the_table_is_the_head_of_the_sorted_counts(
        words in proptest::collection::btree_map("[a-c]{1,3}", 0_u64..4, 0..30), k in 0_usize..8,
    ) {
        let mut top = TopWords::new(k);
        for (word, count) in &words {
            top.offer(word.as_bytes(), *count);
        }
        let mut expected: Vec<(String, u64)> = words.into_iter().collect();
        expected.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        expected.truncate(k);
        prop_assert_eq!(top.into_sorted(), expected);
    }
}

#[test]
fn runs_larger_than_a_block_merge() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("counts.tsv");
    let run = |odd: u64| (0..40_000_u64).map(|i| (format!("{:07}", i * 2 + odd).into_bytes(), i)).collect();
    write(&[run(0), run(1)], &target).unwrap();
    let text = fs::read_to_string(&target).unwrap();
    assert_eq!(text.lines().count(), 80_000);
    assert!(text.lines().is_sorted());
}

#[test]
fn nothing_but_a_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), std::path::Path::new("/dev/null"), &folder.path().join("missing/counts.tsv")]
    {
        let error = SortedFile::create(path).unwrap_err().to_string();
        assert!(error.contains("--output") && error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_link_keeps_pointing_at_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    write(&[vec![(b"a".to_vec(), 1)]], &link).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "a\t1\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn a_run_out_of_order_is_refused_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("counts.tsv");
    fs::write(&target, "old").unwrap();
    assert!(write(&[vec![(b"b".to_vec(), 1), (b"a".to_vec(), 1)]], &target).is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
}

#[test]
fn numbers_are_grouped_by_thousands() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
        assert_eq!(grouped(number), text);
    }
}

#[test]
fn the_kernel_knows_our_peak_memory() {
    if cfg!(target_os = "linux") {
        assert!(peak_rss_bytes() > 1 << 20);
    }
}

//! What a comparison was measured with, in the words of its own figures: so many keys, their sizes, the memory.
use serde_json::Value;

use super::results::Row;
use super::units;
use crate::bench::keys::KEY_BYTES;

/// How much data there was and how much memory, as far as all rows agree on it; nothing if they agree on nothing.
pub(super) fn of(compare: &str, rows: &[Row]) -> Option<String> {
    let agreed = |name: &str| agreed(rows, |figures| figures.get(name)?.as_f64());
    // Keys of jobs that Flink runs as well have eight bytes there.
    let sizes = agreed("value_bytes").map(|bytes| {
        if compare.starts_with("job-") {
            format!("values of {bytes} bytes")
        } else {
            format!("{KEY_BYTES} + {bytes} bytes")
        }
    });
    let keys = agreed("keys").map(|keys| format!("{} keys", units::whole(keys)));
    let data = match (keys, sizes) {
        (Some(keys), Some(sizes)) if compare.starts_with("job-") => Some(format!("{keys}, {sizes}")),
        (Some(keys), Some(sizes)) => Some(format!("{keys} of {sizes}")),
        (Some(keys), None) => Some(keys),
        (None, Some(sizes)) if compare.starts_with("job-") => Some(sizes.replacen("values", "Values", 1)),
        (None, Some(sizes)) => Some(format!("Keys and values of {sizes}")),
        (None, None) => None,
    };
    let memory = agreed("memory_bytes").map(|bytes| format!("{} of memory", units::binary(bytes)));
    let all: Vec<_> = data.into_iter().chain(memory).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A figure that all rows which have it have alike.
fn agreed(rows: &[Row], figure: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
    let mut found = rows.iter().filter_map(|row| row.spread(&figure));
    let first = found.next()?;
    let is_same = |value: f64| value.total_cmp(&first.least).is_eq();
    (is_same(first.most) && found.all(|other| is_same(other.least) && is_same(other.most)))
        .then_some(first.least)
}

#[cfg(test)]
mod tests {
    use super::super::results::Results;
    use super::*;

    fn of_rows(compare: &str, rows: &[(u64, u64, u64)]) -> Option<String> {
        let run = r#"{"run":{"date":"","commit":"","machine":"","command":""}}"#.to_owned();
        let lines = rows.iter().enumerate().map(|(at, (keys, value_bytes, memory_bytes))| {
            let figures =
                serde_json::json!({ "keys": keys, "value_bytes": value_bytes, "memory_bytes": memory_bytes });
            serde_json::json!({ "compare": compare, "row": at.to_string(), "figures": figures }).to_string()
        });
        let text: Vec<_> = std::iter::once(run).chain(lines).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text.join("\n")).unwrap();
        let results = Results::read(&[file.path().to_owned()]).unwrap();
        of(compare, &results.rows(compare))
    }

    #[test]
    fn what_all_rows_agree_on_is_told_and_nothing_else() {
        let six = (6_000_000, 100, 128 << 20);
        assert_eq!(of_rows("get", &[six, six]).unwrap(), "6 M keys of 16 + 100 bytes, 128 MiB of memory");
        let more = (6_000_000, 100, 256 << 20);
        assert_eq!(of_rows("get", &[six, more]).unwrap(), "6 M keys of 16 + 100 bytes");
        let fewer = (100_000, 100, 128 << 20);
        assert_eq!(
            of_rows("get", &[six, fewer]).unwrap(),
            "Keys and values of 16 + 100 bytes, 128 MiB of memory"
        );
        let job = of_rows("job-rmw", &[six]).unwrap();
        assert_eq!(job, "6 M keys, values of 100 bytes, 128 MiB of memory");
        assert_eq!(of_rows("get", &[(1, 2, 3), (4, 5, 6)]), None);
    }
}

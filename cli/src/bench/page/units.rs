//! How figures are written in tables and on axes: few digits, units that suit.

/// A count, in thousands or millions where that is shorter.
pub(super) fn count(value: f64) -> String {
    match value {
        v if v >= 1e7 => format!("{:.1} M", v / 1e6),
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e5 => format!("{:.0} k", v / 1e3),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 1e3 => format!("{:.2} k", v / 1e3),
        v if v >= 10.0 || v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.2}"),
    }
}

/// A count of which no digit is left out.
pub(super) fn whole(value: f64) -> String {
    match value {
        v if v >= 1e6 && v % 1e4 == 0.0 => format!("{} M", v / 1e6),
        v if v >= 1e4 && v % 1e3 == 0.0 => format!("{} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

/// Bytes, by the power of two, as memory is given.
pub(super) fn binary(value: f64) -> String {
    let (gibi, mebi) = (f64::from(1 << 30), f64::from(1 << 20));
    if value >= gibi && value % gibi == 0.0 {
        format!("{} GiB", value / gibi)
    } else {
        format!("{:.0} MiB", value / mebi)
    }
}

/// Microseconds.
pub(super) fn micros(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.1} s", v / 1e6),
        v if v >= 1e4 => format!("{:.0} ms", v / 1e3),
        v if v >= 1e3 => format!("{:.1} ms", v / 1e3),
        v if v >= 100.0 => format!("{v:.0} µs"),
        v if v > 0.0 && v < 0.1 => format!("{v:.2} µs"),
        v => format!("{v:.1} µs"),
    }
}

/// Seconds.
pub(super) fn seconds(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0} s") } else { format!("{value:.1} s") }
}

/// Milliseconds.
pub(super) fn millis(value: f64) -> String {
    if value >= 1e4 { format!("{:.1} s", value / 1e3) } else { format!("{value:.0} ms") }
}

/// Bytes, by the power of ten.
pub(super) fn bytes(value: f64) -> String {
    match value {
        v if v >= 1e12 => format!("{:.1} TB", v / 1e12),
        v if v >= 1e9 => format!("{:.1} GB", v / 1e9),
        v if v >= 1e8 => format!("{:.0} MB", v / 1e6),
        v if v >= 1e6 => format!("{:.1} MB", v / 1e6),
        v => format!("{:.0} kB", v / 1e3),
    }
}

/// A factor.
pub(super) fn factor(value: f64) -> String {
    format!("{value:.2}")
}

/// Dollars.
pub(super) fn dollars(value: f64) -> String {
    if value >= 100.0 { format!("${value:.0}") } else { format!("${value:.2}") }
}

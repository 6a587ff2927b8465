//! Sizes as people read them: decimal units, as `docker images` shows them.

/// Bytes with three significant digits in decimal units: `418 MB`, `14.2 MB`.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// How many times smaller `slim` is than `fat`; 0 where `slim` is empty.
#[must_use]
pub fn factor(fat: u64, slim: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    if slim == 0 { 0.0 } else { fat as f64 / slim as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_whatever_the_unit() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(999), "999 B");
        assert_eq!(human(1000), "1.00 kB");
        assert_eq!(human(14_230_000), "14.2 MB");
        assert_eq!(human(418_400_000), "418 MB");
        assert_eq!(human(999_600_000), "1.00 GB");
    }

    #[test]
    fn the_factor_of_an_empty_image_is_zero() {
        assert!(factor(100, 0).abs() < f64::EPSILON);
        assert!((factor(418, 14) - 29.857).abs() < 0.001);
    }
}

//! Pearson's chi-square test: are observed counts as expected shares predict?

/// The probability that counts as far from the expected shares as these, or
/// farther, come about by chance. Shares need not sum to 1; a share of 0 must
/// have a count of 0 (else the result is 0).
///
/// The usual rule applies: every expected count should be 5 or more.
pub fn chi_square_p(observed: &[u64], shares: &[f64]) -> f64 {
    assert_eq!(observed.len(), shares.len(), "one share for each count");
    let total: u64 = observed.iter().sum();
    let whole: f64 = shares.iter().sum();
    let mut statistic = 0.0;
    let mut classes = 0_u32;
    for (&count, &share) in observed.iter().zip(shares) {
        if share > 0.0 {
            let expected = total as f64 * share / whole;
            statistic += (count as f64 - expected).powi(2) / expected;
            classes += 1;
        } else if count > 0 {
            return 0.0;
        }
    }
    if classes < 2 {
        return 1.0;
    }
    upper_gamma(f64::from(classes - 1) / 2.0, statistic / 2.0)
}

/// The regularised upper incomplete gamma function Q(a, x): by the series of
/// its complement below a + 1, by Lentz's continued fraction above (Abramowitz
/// and Stegun 6.5.29 and 6.5.31).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        1.0 - scale * series(a, x)
    } else {
        scale * fraction(a, x)
    }
}

const STEPS: u32 = 1000;
const PRECISION: f64 = 1e-15;

fn series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    for n in 1..STEPS {
        term *= x / (a + f64::from(n));
        sum += term;
        if term < sum * PRECISION {
            break;
        }
    }
    sum
}

fn fraction(a: f64, x: f64) -> f64 {
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / f64::MIN_POSITIVE;
    let mut d = 1.0 / b;
    let mut value = d;
    for n in 1..STEPS {
        let n = f64::from(n);
        let an = -n * (n - a);
        b += 2.0;
        d = 1.0 / (an * d + b);
        c = b + an / c;
        value *= c * d;
        if (c * d - 1.0).abs() < PRECISION {
            break;
        }
    }
    value
}

/// Logarithm of the gamma function for multiples of a half, by its recurrence.
fn ln_gamma(a: f64) -> f64 {
    let mut sum = 0.0;
    let mut a = a;
    while a > 1.0 {
        a -= 1.0;
        sum += a.ln();
    }
    if a < 0.75 {
        sum + std::f64::consts::PI.sqrt().ln()
    } else {
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Critical values as every table prints them: (degrees of freedom, statistic, p).
    const TABLE: &[(u32, f64, f64)] = &[
        (1, 3.841, 0.05),
        (1, 10.828, 0.001),
        (2, 5.991, 0.05),
        (3, 7.815, 0.05),
        (3, 16.266, 0.001),
        (4, 0.711, 0.95),
        (10, 18.307, 0.05),
        (30, 59.703, 0.001),
        (99, 123.225, 0.05),
        (100, 149.449, 0.001),
    ];

    #[test]
    fn agrees_with_the_printed_tables() {
        for &(freedom, statistic, p) in TABLE {
            let got = upper_gamma(f64::from(freedom) / 2.0, statistic / 2.0);
            assert!(
                (got - p).abs() < 0.005 * p,
                "{freedom} degrees, {statistic}: {got} instead of {p}"
            );
        }
    }

    #[test]
    fn even_counts_pass_and_uneven_ones_fail() {
        assert!(chi_square_p(&[100, 100, 100], &[1.0, 1.0, 1.0]) > 0.999);
        assert!(chi_square_p(&[1015, 985, 2000], &[0.25, 0.25, 0.5]) > 0.05);
        assert!(chi_square_p(&[1200, 800, 2000], &[0.25, 0.25, 0.5]) < 1e-9);
    }

    #[test]
    fn a_count_where_none_may_be_fails() {
        assert!(chi_square_p(&[1, 500, 500], &[0.0, 1.0, 1.0]) < 1e-9);
        assert!(chi_square_p(&[0, 500, 500], &[0.0, 1.0, 1.0]) > 0.9);
        assert!(chi_square_p(&[500], &[1.0]) > 0.9);
    }
}

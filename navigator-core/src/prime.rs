//! Primes: a slot table has a prime number of slots.

/// Whether `number` is a prime.
pub(crate) fn is_prime(number: u32) -> bool {
    let number = u64::from(number);
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The nearest primes below and above `number` that lie within `least..=most`.
pub(crate) fn nearest(number: u32, least: u32, most: u32) -> (Option<u32>, Option<u32>) {
    let number = number.clamp(least, most);
    (
        (least..=number).rev().find(|&n| is_prime(n)),
        (number..=most).find(|&n| is_prime(n)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_told_from_the_rest() {
        let primes: Vec<u32> = (0..30).filter(|&n| is_prime(n)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(655_373) && is_prime(u32::MAX - 4));
        assert!(!is_prime(65_536) && !is_prime(u32::MAX) && !is_prime(257 * 257));
    }

    #[test]
    fn the_nearest_primes_stay_in_their_range() {
        assert_eq!(nearest(65_536, 251, 655_373), (Some(65_521), Some(65_537)));
        assert_eq!(nearest(0, 251, 655_373), (Some(251), Some(251)));
        assert_eq!(
            nearest(u32::MAX, 251, 655_373),
            (Some(655_373), Some(655_373))
        );
    }
}

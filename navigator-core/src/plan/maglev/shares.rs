//! How many slots each backend gets.

use std::{cmp::Reverse, net::SocketAddr};

/// How many slots each weight gets: all of `slots`, split in proportion,
/// rounded so that the largest error is as small as it can be, and at least
/// one for each if there are enough. Ties go to the earlier one.
pub(super) fn quotas(slots: u32, weights: &[u16]) -> Vec<u32> {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    let least = u32::from(slots as usize >= weights.len());
    let exact = |i: usize| u64::from(slots) * u64::from(weights[i]);
    let mut quotas: Vec<u32> = (0..weights.len())
        .map(|i| ((exact(i) / total) as u32).max(least))
        .collect();

    // How far each quota is below its ideal, in parts of `total` of a slot.
    let missing = |i: usize, quota: u32| exact(i) as i128 - i128::from(quota) * i128::from(total);
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let given: u64 = quotas.iter().map(|&quota| u64::from(quota)).sum();
    if given <= u64::from(slots) {
        order.sort_by_key(|&i| (Reverse(missing(i, quotas[i])), i));
        for &i in order.iter().take((u64::from(slots) - given) as usize) {
            quotas[i] += 1;
        }
        return quotas;
    }
    let mut over = given - u64::from(slots);
    while over > 0 {
        order.retain(|&i| quotas[i] > least);
        order.sort_by_key(|&i| (missing(i, quotas[i]), i));
        let round = order.len().min(over as usize);
        for &i in &order[..round] {
            quotas[i] -= 1;
        }
        over -= round as u64;
    }
    quotas
}

/// How true a table is to the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    /// The largest distance of a backend from its ideal share, in slots, rounded up.
    pub max_error_slots: u32,
    /// The fewest slots that a backend of a weight above 0 has.
    pub min_slots: u32,
    /// Slots without a backend.
    pub empty_slots: u32,
}

/// Measures a table that [`super::build`] made from `weighted`.
pub fn quality(table: &[u32], weighted: &[(SocketAddr, u16)]) -> Quality {
    let mut counts = vec![0u64; weighted.len()];
    let mut empty_slots = 0;
    for &index in table {
        match counts.get_mut(index as usize) {
            Some(count) => *count += 1,
            None => empty_slots += 1,
        }
    }
    let total: u64 = weighted.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let error = |(&count, &(_, weight)): (&u64, &(SocketAddr, u16))| {
        let ideal = table.len() as u64 * u64::from(weight);
        (count * total).abs_diff(ideal).div_ceil(total.max(1)) as u32
    };
    let pairs = || counts.iter().zip(weighted);
    let weighty = pairs().filter(|(_, (_, weight))| *weight > 0);
    Quality {
        max_error_slots: pairs().map(error).max().unwrap_or(0),
        min_slots: weighty.map(|(&count, _)| count as u32).min().unwrap_or(0),
        empty_slots,
    }
}

/// Slots that a table should have for each backend, so that weights and removals stay fine-grained.
const SLOTS_PER_BACKEND: u64 = 100;

/// What is wrong with a table of `slots` for that many backends, in words.
pub fn table_warning(slots: u32, backends: usize) -> Option<String> {
    let wanted = SLOTS_PER_BACKEND * backends as u64;
    (u64::from(slots) < wanted).then(|| {
        format!(
            "{slots} slots are few for {backends} backends: shares get coarse and changes move more \
             connections than need be; use a prime of at least {wanted}"
        )
    })
}

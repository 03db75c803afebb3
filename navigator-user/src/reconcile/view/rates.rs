//! Packets and bytes per second, from one look at the figures to a later one.

use crate::dataplane::Figures;
use navigator_core::model::VipKey;
use std::{collections::HashMap, net::SocketAddr, time::Duration};

/// Packets and bytes per second of every backend, packets of every counter, over at least [`Rates::SPAN`].
#[derive(Default)]
pub(super) struct Rates {
    measured_at: Duration,
    totals: HashMap<(VipKey, SocketAddr), (u64, u64)>,
    rates: HashMap<(VipKey, SocketAddr), (f64, f64)>,
    counted: HashMap<&'static str, u64>,
    counting: HashMap<&'static str, f64>,
}

impl Rates {
    const SPAN: Duration = Duration::from_millis(900);

    pub(super) fn measure(&mut self, figures: &Figures, now: Duration) {
        let elapsed = now.saturating_sub(self.measured_at);
        if elapsed < Self::SPAN {
            return;
        }
        let each = figures
            .vips
            .iter()
            .flat_map(|vip| vip.backends.iter().map(|b| (vip.key, b)));
        let totals: HashMap<_, _> = each
            .map(|(vip, b)| ((vip, b.address), (b.packets, b.bytes)))
            .collect();
        let rate =
            |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        self.rates = totals
            .iter()
            .filter_map(|(key, total)| {
                let before = self.totals.get(key)?;
                Some((*key, (rate(total.0, before.0), rate(total.1, before.1))))
            })
            .collect();
        self.totals = totals;
        let counted: HashMap<_, _> = figures.counters.iter().copied().collect();
        let counting = counted.iter().filter_map(|(name, packets)| {
            let before = self.counted.get(name)?;
            Some((*name, rate(*packets, *before)))
        });
        self.counting = counting.collect();
        self.counted = counted;
        self.measured_at = now;
    }

    pub(super) fn of_counter(&self, name: &str) -> f64 {
        self.counting.get(name).copied().unwrap_or_default()
    }

    pub(super) fn of(&self, vip: VipKey, address: SocketAddr) -> (f64, f64) {
        self.rates.get(&(vip, address)).copied().unwrap_or_default()
    }
}

//! VIPs and their backends, as the snapshot shows them.

use super::{Publisher, World};
use crate::{
    dataplane::{AdoptedVip, BackendFigures, VipFigures},
    reconcile::vip_state::VipState,
    snapshot::{BackendView, VipView},
};
use navigator_core::{
    model::VipKey,
    plan::members::{Member, State},
};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

impl Publisher {
    pub(super) fn vips(&self, world: &World<'_>) -> Vec<VipView> {
        let announced = world.addresses.announced();
        let figures: HashMap<_, _> = world
            .figures
            .vips
            .iter()
            .map(|vip| (vip.key, vip))
            .collect();
        let mut vips: Vec<_> = world
            .vips
            .values()
            .map(|state| {
                self.vip(
                    state,
                    figures.get(&state.vip.key).copied(),
                    &announced,
                    world,
                )
            })
            .collect();
        vips.extend(
            world
                .adopted
                .values()
                .map(|vip| self.adopted(vip, &figures, &announced)),
        );
        vips.sort_by(|a, b| a.name.cmp(&b.name));
        vips
    }

    fn vip(
        &self,
        state: &VipState,
        figures: Option<&VipFigures>,
        announced: &BTreeSet<IpAddr>,
        world: &World<'_>,
    ) -> VipView {
        let vip = &state.vip;
        let of: HashMap<_, _> = figures
            .into_iter()
            .flat_map(|f| &f.backends)
            .map(|b| (b.address, b))
            .collect();
        let backends = state
            .members()
            .iter()
            .map(|member| {
                let figures = of.get(&member.address).copied();
                let why_unreachable = world.unreachable.get(&member.address.ip());
                self.backend(vip.key, vip.slots, member, figures, why_unreachable)
            })
            .collect();
        VipView {
            name: vip.name.to_string(),
            service: vip.service.to_string(),
            mode: vip.mode,
            applied: state.is_applied(),
            problem: state.problem(),
            ..self.totals(vip.key, vip.slots, figures, announced, backends)
        }
    }

    /// A VIP of the maps that no registry entry was seen for yet.
    fn adopted(
        &self,
        adopted: &AdoptedVip,
        figures: &HashMap<VipKey, &VipFigures>,
        announced: &BTreeSet<IpAddr>,
    ) -> VipView {
        let settings = &adopted.vip;
        let figures = figures.get(&settings.key).copied();
        let of: HashMap<_, _> = figures
            .into_iter()
            .flat_map(|f| &f.backends)
            .map(|b| (b.address, b))
            .collect();
        let why = "adopted; the registry has not been read yet";
        let backends = adopted
            .backends
            .iter()
            .map(|backend| {
                let member = Member {
                    address: backend.address,
                    weight: 0,
                    state: if backend.takes_new {
                        State::Active
                    } else {
                        State::Unknown
                    },
                    why: why.to_owned(),
                    takes_new: backend.takes_new,
                    usable: backend.usable,
                };
                self.backend(
                    settings.key,
                    settings.slots,
                    &member,
                    of.get(&backend.address).copied(),
                    None,
                )
            })
            .collect();
        VipView {
            name: settings.key.to_string(),
            mode: settings.mode,
            applied: true,
            problem: why.to_owned(),
            ..self.totals(settings.key, settings.slots, figures, announced, backends)
        }
    }

    /// What a VIP's figures say; name, service, mode and problem are the caller's.
    fn totals(
        &self,
        key: VipKey,
        slots: u32,
        figures: Option<&VipFigures>,
        announced: &BTreeSet<IpAddr>,
        backends: Vec<BackendView>,
    ) -> VipView {
        VipView {
            name: String::new(),
            address: key.address,
            prefix: key.prefix,
            port: key.ports,
            protocol: key.protocol,
            mode: navigator_core::model::ForwardMode::L2,
            service: String::new(),
            applied: false,
            announced: announced.contains(&key.address),
            slots,
            at_risk_slots: figures.map_or(0, |figures| figures.at_risk),
            packets: backends.iter().map(|b| b.packets).sum(),
            bytes: backends.iter().map(|b| b.bytes).sum(),
            reply_packets: backends.iter().map(|b| b.reply_packets).sum(),
            reply_bytes: backends.iter().map(|b| b.reply_bytes).sum(),
            packets_per_second: backends.iter().map(|b| b.packets_per_second).sum(),
            bytes_per_second: backends.iter().map(|b| b.bytes_per_second).sum(),
            problem: String::new(),
            backends,
        }
    }

    fn backend(
        &self,
        vip: VipKey,
        slots: u32,
        member: &Member,
        figures: Option<&BackendFigures>,
        unreachable: Option<&String>,
    ) -> BackendView {
        let (packets_per_second, bytes_per_second) = self.rates.of(vip, member.address);
        let why = match unreachable {
            Some(unreachable) if member.why.is_empty() => format!("unreachable: {unreachable}"),
            Some(unreachable) => format!("{}; unreachable: {unreachable}", member.why),
            None => member.why.clone(),
        };
        BackendView {
            address: member.address,
            state: member.state,
            why,
            weight: member.weight,
            reachable: figures.is_some_and(|figures| figures.reachable),
            slots: figures.map_or(0, |figures| figures.slots),
            share: figures.map_or(0.0, |figures| {
                f64::from(figures.slots) / f64::from(slots.max(1))
            }),
            at_risk_slots: figures.map_or(0, |figures| figures.slots_before),
            packets: figures.map_or(0, |figures| figures.packets),
            bytes: figures.map_or(0, |figures| figures.bytes),
            reply_packets: figures.map_or(0, |figures| figures.reply_packets),
            reply_bytes: figures.map_or(0, |figures| figures.reply_bytes),
            packets_per_second,
            bytes_per_second,
        }
    }
}

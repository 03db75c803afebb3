//! From entries that changed to what is in force.

use super::{
    Catalog, Origin, Touched,
    source::{Item, Source, Subject},
    vips,
};
use crate::model::{InstanceKey, Order, keys};

impl Catalog {
    /// Brings what is in force up to date with the entries that changed.
    pub(super) fn settle(&mut self, changed: Vec<Subject>) -> Touched {
        let mut touched = Touched::default();
        if changed
            .iter()
            .any(|subject| matches!(subject, Subject::Vip))
        {
            self.settle_vips(&mut touched);
        }
        for subject in changed {
            match subject {
                Subject::Instance(key) => self.settle_instance(&key, &mut touched),
                Subject::Order(key) => self.settle_order(key, &mut touched),
                Subject::Vip => {}
            }
        }
        while let Some(key) = self.services.next_admissible() {
            self.settle_instance(&key, &mut touched);
        }
        touched
    }

    fn settle_instance(&mut self, key: &InstanceKey, touched: &mut Touched) {
        let wanted = match self.winner(&keys::instance(key)) {
            Some((_, created, Item::Instance(instance))) => Some((created, instance.clone())),
            _ => None,
        };
        let flaw = self.vips.conflict(key.address.ip());
        if self.services.settle(key, wanted, flaw) {
            touched.services.insert(key.service.clone());
        }
    }

    fn settle_order(&mut self, key: InstanceKey, touched: &mut Touched) {
        let new = match self.winner(&keys::order(&key)) {
            Some((_, _, Item::Order(_, order))) => order.clone(),
            _ => Order::default(),
        };
        if self.order(&key) == new {
            return;
        }
        touched.services.insert(key.service.clone());
        if new.is_empty() {
            self.orders.remove(&key);
        } else {
            self.orders.insert(key, new);
        }
    }

    fn settle_vips(&mut self, touched: &mut Touched) {
        let claims = |(origin, source): (Origin, &'_ Source)| {
            let counts = |key: &str| {
                self.winner(key)
                    .is_some_and(|(winner, ..)| winner == origin)
            };
            let vips = source.vips().filter(|(key, ..)| counts(key));
            vips.map(|(_, created, vip)| vips::Claim {
                origin,
                created,
                vip: vip.clone(),
            })
            .collect::<Vec<_>>()
        };
        let claims = self.sources().into_iter().flat_map(claims).collect();
        let change = self.vips.settle(claims);
        touched.vips = change.any;
        for network in change.addresses {
            for key in self.services.within(network) {
                self.settle_instance(&key, touched);
            }
        }
    }
}

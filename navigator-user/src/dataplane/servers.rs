//! The server ids of QUIC VIPs: which backend each names. The program looks at
//! the backend's record as well, so an entry that is late names nobody.

use super::{Steering, backends::Fate, plane::Plane, store::Store};
use navigator_common::quic::QuicKey;
use navigator_core::model::ServerId;
use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

impl<S: Store> Plane<S> {
    /// Makes the server ids of a VIP name the ids that their instances have now: what is new
    /// first, then what is gone.
    pub(super) fn settle_servers(
        &mut self,
        vip_id: u16,
        steering: &Steering,
        members: &BTreeMap<SocketAddr, u32>,
    ) {
        let mut wanted = BTreeMap::new();
        for (server, address) in &steering.server_ids {
            if let Some(&id) = members.get(address)
                && steering.quic.has_length(server.length())
            {
                wanted.entry(key(vip_id, server)).or_insert(id);
            }
        }
        for (&key, &id) in &wanted {
            if self.servers.get(&key) != Some(&id) {
                self.put_server(key, Some(id));
            }
        }
        for key in self.servers_of(vip_id) {
            if !wanted.contains_key(&key) {
                self.put_server(key, None);
            }
        }
    }

    /// Takes all server ids of a VIP out.
    pub(super) fn drop_servers(&mut self, vip_id: u16) {
        for key in self.servers_of(vip_id) {
            self.put_server(key, None);
        }
    }

    /// Lets what names `old` name `new`.
    pub(super) fn rename_servers(&mut self, old: u32, new: u32) {
        let named = self.servers.iter().filter(|(_, id)| **id == old);
        let keys: Vec<QuicKey> = named.map(|(key, _)| *key).collect();
        for key in keys {
            self.put_server(key, Some(new));
        }
    }

    /// Takes over what is in the map. VIPs and backends were read already.
    pub(super) fn adopt_servers(&mut self) {
        let vips: HashSet<u32> = self.vips.values().map(|vip| vip.id.into()).collect();
        for (key, id) in self.store.servers() {
            self.servers.insert(key, id);
            let heir = if vips.contains(&key.vip()) {
                self.live(id)
            } else {
                None
            };
            if heir != Some(id) {
                self.put_server(key, heir);
            }
        }
    }

    /// The server ids that lead to an instance of a VIP.
    pub(super) fn servers_of_vip(&self, vip_id: u16) -> Vec<(ServerId, SocketAddr)> {
        let named = self.servers_of(vip_id).into_iter().filter_map(|key| {
            let id = self.servers.get(&key)?;
            let bytes = [key.lo.to_le_bytes(), key.hi.to_le_bytes()].concat();
            let length = (key.scope >> 32) as usize;
            let server = ServerId::new(bytes.get(..length)?)?;
            Some((server, self.backends.get(*id)?.address))
        });
        named.collect()
    }

    fn live(&self, id: u32) -> Option<u32> {
        match self.backends.get(id)?.fate {
            Fate::Live => Some(id),
            Fate::Retired { .. } => self.backends.heir(id),
        }
    }

    fn servers_of(&self, vip_id: u16) -> Vec<QuicKey> {
        let keys = self.servers.keys().copied();
        keys.filter(|key| key.vip() == u32::from(vip_id)).collect()
    }

    fn put_server(&mut self, key: QuicKey, id: Option<u32>) {
        if let Err(error) = self.store.set_server(key, id) {
            tracing::error!("QUIC server ids are not as they should be: {error}");
            return;
        }
        match id {
            Some(id) => self.servers.insert(key, id),
            None => self.servers.remove(&key),
        };
    }
}

/// A server id as the program spells it.
pub(super) fn key(vip_id: u16, server: &ServerId) -> QuicKey {
    let mut bytes = [0; 16];
    bytes[..server.bytes().len()].copy_from_slice(server.bytes());
    let word = u128::from_le_bytes(bytes);
    QuicKey::new(
        vip_id.into(),
        server.length().into(),
        word as u64,
        (word >> 64) as u64,
    )
}

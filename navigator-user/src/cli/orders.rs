//! `instances drain`, `enable`, `maintenance`, `weight`: an operator's orders.

use super::{
    args::{InstanceArgs, InstancesCommand, WeightOrder},
    client::Client,
    failure::{Failure, Outcome},
};
use crate::snapshot::ServiceView;
use navigator_core::model::{InstanceKey, Order};

/// Gives one order; what was ordered before and is not named stays.
pub(super) async fn order(client: &Client, command: InstancesCommand) -> Outcome {
    let key = key(&command);
    let path = format!("/v1/orders/{key}");
    let before = match client.get::<Order>(&path).await {
        Ok(order) => order,
        Err(error) if error.is_not_found() => {
            must_exist(client, &key).await?;
            Order::default()
        }
        Err(error) => return Err(error.into()),
    };
    let after = changed(&before, &command);
    if after.is_empty() {
        match client.delete(&path).await {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    } else {
        let body = serde_json::to_vec(&after).map_err(|error| Failure::error(error.to_string()))?;
        client.put(&path, body).await?;
    }
    eprintln!("{key}: {}", words(&after));
    Ok(())
}

fn key(command: &InstancesCommand) -> InstanceKey {
    let (InstancesCommand::Drain(instance)
    | InstancesCommand::Enable(instance)
    | InstancesCommand::Maintenance(instance)
    | InstancesCommand::Weight { instance, .. }) = command;
    instance.key()
}

impl InstanceArgs {
    /// Which instance is named.
    pub fn key(&self) -> InstanceKey {
        InstanceKey {
            service: self.name.clone(),
            address: self.address,
        }
    }
}

// An order for an instance that is not there would be carried out when it comes:
// far more often the address was mistyped.
async fn must_exist(client: &Client, key: &InstanceKey) -> Outcome {
    let service: ServiceView = client.get(&format!("/v1/services/{}", key.service)).await?;
    if service.instances.iter().any(|i| i.address == key.address) {
        return Ok(());
    }
    let known: Vec<_> = service
        .instances
        .iter()
        .map(|i| i.address.to_string())
        .collect();
    Err(Failure::not_found(format!(
        "service {} has no instance {}; it has {}",
        key.service,
        key.address,
        known.join(", ")
    )))
}

fn changed(before: &Order, command: &InstancesCommand) -> Order {
    let mut order = before.clone();
    match command {
        InstancesCommand::Drain(_) => (order.drain, order.maintenance) = (true, false),
        InstancesCommand::Enable(_) => (order.drain, order.maintenance) = (false, false),
        InstancesCommand::Maintenance(_) => (order.drain, order.maintenance) = (false, true),
        InstancesCommand::Weight { weight, .. } => {
            order.weight = match weight {
                WeightOrder::Default => None,
                WeightOrder::Fixed(weight) => Some(*weight),
            };
        }
    }
    order
}

fn words(order: &Order) -> String {
    let drain = if order.drain {
        "drains"
    } else if order.maintenance {
        "is in maintenance"
    } else {
        "takes new flows"
    };
    match order.weight {
        Some(weight) => format!("{drain}, with weight {weight} by order"),
        None => format!("{drain}, with the weight that it registered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> InstanceArgs {
        InstanceArgs {
            name: "web".to_owned().try_into().expect("a name"),
            address: ([10, 0, 0, 1], 80).into(),
        }
    }

    #[test]
    fn orders_add_up() {
        let weight = |weight| InstancesCommand::Weight {
            instance: instance(),
            weight,
        };
        let mut order = Order::default();
        order = changed(&order, &weight(WeightOrder::Fixed(7)));
        order = changed(&order, &InstancesCommand::Drain(instance()));
        assert_eq!(
            order,
            Order {
                drain: true,
                maintenance: false,
                weight: Some(7)
            }
        );
        order = changed(&order, &InstancesCommand::Maintenance(instance()));
        assert_eq!((order.drain, order.maintenance), (false, true));
        order = changed(&order, &InstancesCommand::Enable(instance()));
        assert_eq!(
            order,
            Order {
                drain: false,
                maintenance: false,
                weight: Some(7)
            }
        );
        order = changed(&order, &weight(WeightOrder::Default));
        assert!(order.is_empty());
    }
}

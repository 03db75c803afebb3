//! `vip set`, `vip remove`: VIPs in the registry.

use super::{
    args::{VipArgs, VipCommand},
    client::Client,
    failure::{Failure, Outcome},
};
use navigator_core::{
    entry::parse_vip,
    model::{ServiceName, keys},
};
use serde_json::{Map, Value, json};

/// Carries out one command.
pub(super) async fn vip(client: &Client, command: VipCommand) -> Outcome {
    match command {
        VipCommand::Set(args) => set(client, &args).await,
        VipCommand::Remove { name } => remove(client, &name).await,
    }
}

async fn set(client: &Client, args: &VipArgs) -> Outcome {
    let body = value(args).to_string().into_bytes();
    let vip = parse_vip(&keys::vip(&args.name), &body)
        .map_err(|rejection| Failure::error(format!("VIP {}: {}", args.name, rejection.detail)))?;
    client.put(&format!("/v1/vips/{}", args.name), body).await?;
    eprintln!(
        "VIP {} set: {} to service {}",
        vip.name, vip.key, vip.service
    );
    Ok(())
}

async fn remove(client: &Client, name: &ServiceName) -> Outcome {
    client.delete(&format!("/v1/vips/{name}")).await?;
    eprintln!("VIP {name} removed");
    Ok(())
}

fn quic(&(config, length): &(u8, u8)) -> Value {
    json!({"config": config, "server_id_length": length})
}

// What is not named is left to the defaults of the daemon.
fn value(args: &VipArgs) -> Value {
    let text = |text: &Option<String>| text.clone().map(Value::from);
    let members = [
        ("address", Some(args.address.clone().into())),
        ("port", serde_json::to_value(args.port).ok()),
        ("protocol", Some(args.protocol.clone().into())),
        ("service", Some(args.service.as_str().into())),
        ("mode", Some(args.mode.clone().into())),
        ("slots", args.slots.map(Value::from)),
        ("udp", text(&args.udp)),
        ("affinity", text(&args.affinity)),
        (
            "quic",
            (!args.quic.is_empty()).then(|| args.quic.iter().map(quic).collect()),
        ),
        ("unserved", text(&args.unserved)),
        ("on_down", text(&args.on_down)),
        ("on_empty", text(&args.on_empty)),
        ("drain", text(&args.drain)),
    ];
    let named = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(named.collect::<Map<_, _>>())
}

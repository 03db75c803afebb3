//! `status`, `vips`, `backends`, `services`, `health`: views of the snapshot.

use super::{
    args::{Format, ReaderArgs},
    client::Client,
    failure::{Exit, Failure, Outcome},
    output,
    render::{self, Look},
};
use crate::snapshot::{RejectedView, ServiceView, Snapshot, VipView};
use navigator_core::{
    health::Health,
    model::{ServiceName, keys},
};
use serde::Serialize;
use std::time::Duration;
use tokio::time::sleep;

const REDRAW: Duration = Duration::from_secs(1);

/// What is shown of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum View {
    /// Everything on one page.
    Status,
    /// The VIPs.
    Vips,
    /// The backends of one VIP or of all.
    Backends(Option<String>),
    /// The services.
    Services,
    /// The instances of one service.
    Service(ServiceName),
    /// Entries of one service that were refused.
    Rejected(ServiceName),
    /// What the checks say of the instances of one service or of all.
    Health(Option<ServiceName>),
}

impl View {
    /// The view as text, ending with a line feed.
    ///
    /// # Errors
    /// The VIP or service that was named does not exist.
    pub fn render(&self, snapshot: &Snapshot, args: ReaderArgs, look: Look) -> Outcome<String> {
        let table = args.output.is_table();
        match self {
            Self::Status if table => Ok(render::status(look, snapshot)),
            Self::Status => document(snapshot, args),
            Self::Vips if table => Ok(render::vips(look, &snapshot.vips)),
            Self::Vips => document(&snapshot.vips, args),
            Self::Backends(name) => {
                let vips = named_vips(snapshot, name.as_deref())?;
                if table {
                    return Ok(render::backends(look, &vips));
                }
                document(&vips, args)
            }
            Self::Services => {
                let services: Vec<_> = snapshot.services.iter().map(|s| s.summary()).collect();
                if table {
                    return Ok(render::service_list(look, &services));
                }
                document(&services, args)
            }
            Self::Service(name) => {
                let services = named_services(snapshot, Some(name))?;
                if table {
                    let wide = args.output == Format::Wide;
                    return Ok(render::services(look, &services, wide));
                }
                document(&services[0], args)
            }
            Self::Rejected(name) => {
                let rejected = rejected(snapshot, name);
                if table {
                    return Ok(render::rejected(look, &rejected));
                }
                document(&rejected, args)
            }
            Self::Health(name) => {
                let services = named_services(snapshot, name.as_ref())?;
                if table {
                    return Ok(render::health_of(look, &services, snapshot.daemon.time));
                }
                document(&services, args)
            }
        }
    }
}

fn document(value: &impl Serialize, args: ReaderArgs) -> Outcome<String> {
    output::document(value, args.output, args.watch)
}

/// The refused entries of a service, and the orders for its instances.
fn rejected<'a>(snapshot: &'a Snapshot, name: &ServiceName) -> Vec<&'a RejectedView> {
    let prefixes = [keys::SERVICES, keys::ORDERS].map(|prefix| format!("{prefix}{name}/"));
    let of_service = |entry: &&RejectedView| prefixes.iter().any(|p| entry.key.starts_with(p));
    snapshot.rejected.iter().filter(of_service).collect()
}

/// Fails if any instance of a service, or of all, is unhealthy.
pub(super) async fn must_be_healthy(client: &Client, name: Option<&ServiceName>) -> Outcome {
    let snapshot = client.snapshot().await?;
    let services = named_services(&snapshot, name)?;
    let instances = services.iter().flat_map(|service| &service.instances);
    let unhealthy = instances.filter(|instance| instance.health == Health::Unhealthy);
    match unhealthy.count() {
        0 => Ok(()),
        count => {
            let message = format!("{count} unhealthy");
            Err(Failure::new(Exit::CheckFailed, message))
        }
    }
}

fn named_vips<'a>(snapshot: &'a Snapshot, name: Option<&str>) -> Outcome<Vec<&'a VipView>> {
    let Some(name) = name else {
        return Ok(snapshot.vips.iter().collect());
    };
    match snapshot.vips.iter().find(|vip| vip.name == name) {
        Some(vip) => Ok(vec![vip]),
        None => {
            let names = snapshot.vips.iter().map(|vip| vip.name.as_str());
            Err(unknown("VIP", name, names.collect()))
        }
    }
}

fn named_services<'a>(
    snapshot: &'a Snapshot,
    name: Option<&ServiceName>,
) -> Outcome<Vec<&'a ServiceView>> {
    let Some(name) = name.map(ServiceName::as_str) else {
        return Ok(snapshot.services.iter().map(|service| &**service).collect());
    };
    match snapshot
        .services
        .iter()
        .find(|service| service.name == name)
    {
        Some(service) => Ok(vec![&**service]),
        None => {
            let names = snapshot
                .services
                .iter()
                .map(|service| service.name.as_str());
            Err(unknown("service", name, names.collect()))
        }
    }
}

fn unknown(what: &str, name: &str, known: Vec<&str>) -> Failure {
    let known = match known.len() {
        0 => "there is none".to_owned(),
        1..=10 => format!("there is {}", known.join(", ")),
        many => format!("there are {many} others"),
    };
    Failure::not_found(format!("no {what} {name:?}; {known}"))
}

/// Shows a view once, or again every second until interrupted.
pub(super) async fn show(client: &Client, view: &View, args: ReaderArgs) -> Outcome {
    let look = Look::of_stdout();
    let first = view.render(&client.snapshot().await?, args, look)?;
    if !args.watch {
        return output::print(&first).map(drop);
    }
    let mut frame = first;
    while output::print_frame(&frame, args.output)?.is_continue() {
        sleep(REDRAW).await;
        frame = match next_frame(client, view, args).await {
            Ok(frame) => frame,
            // The daemon may be started again: what watches it need not be.
            Err(failure) if args.output.is_table() => format!("{failure}\n"),
            Err(failure) => {
                eprintln!("navigator: {failure}");
                String::new()
            }
        };
    }
    Ok(())
}

async fn next_frame(client: &Client, view: &View, args: ReaderArgs) -> Outcome<String> {
    // The terminal may have another size by now.
    view.render(&client.snapshot().await?, args, Look::of_stdout())
}

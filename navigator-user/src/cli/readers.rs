//! `status`, `vips`, `backends`, `services`: views of the snapshot.

use super::{
    args::{Format, ReaderArgs},
    client::Client,
    failure::{Failure, Outcome},
    output,
    render::{self, Look},
};
use crate::snapshot::{ServiceView, Snapshot, VipView};
use navigator_core::model::ServiceName;
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
    /// The instances of one service or of all.
    Services(Option<ServiceName>),
}

impl View {
    /// The view as text, ending with a line feed.
    ///
    /// # Errors
    /// The VIP or service that was named does not exist.
    pub fn render(&self, snapshot: &Snapshot, args: ReaderArgs, look: Look) -> Outcome<String> {
        let table = args.output == Format::Table;
        let json = args.watch;
        match self {
            Self::Status if table => Ok(render::status(look, snapshot)),
            Self::Status => output::json(snapshot, json),
            Self::Vips if table => Ok(render::vips(look, &snapshot.vips)),
            Self::Vips => output::json(&snapshot.vips, json),
            Self::Backends(name) => {
                let vips = named_vips(snapshot, name.as_deref())?;
                if table {
                    return Ok(render::backends(look, &vips));
                }
                output::json(&vips, json)
            }
            Self::Services(name) => {
                let services = named_services(snapshot, name.as_ref())?;
                if table {
                    return Ok(render::services(look, &services));
                }
                output::json(&services, json)
            }
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
            Err(failure) if args.output == Format::Table => format!("{failure}\n"),
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

//! `discover`: the instances of a service that take new clients.

use super::{
    args::{EtcdArgs, Format, ReaderArgs},
    client::{Client, ClientError},
    failure::{Failure, Outcome},
    output,
    render::{clean, labels},
};
use crate::{
    registry::{Registry, etcd::EtcdRegistry},
    snapshot::{InstanceView, ServiceView},
};
use navigator_core::{
    entry::{Rules, parse_instance},
    health::Health,
    model::{Instance, Order, ServiceName, keys},
};
use std::time::Duration;
use tokio::time::sleep;

/// How long the daemon may hold back an answer that has nothing new, and how late a
/// restart of the daemon may be seen.
const WAIT: Duration = Duration::from_secs(5);
/// Least time between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Who is asked.
enum Source {
    Daemon {
        client: Client,
        /// Index of what was seen last.
        seen: Option<u64>,
    },
    Etcd(EtcdRegistry),
}

/// Lists the instances, once or whenever they change.
pub(super) async fn discover(
    client: Client,
    name: &ServiceName,
    args: ReaderArgs,
    etcd: &EtcdArgs,
) -> Outcome {
    let mut source = match etcd.registry() {
        Some(etcd) => {
            eprintln!("as registered in etcd; their health is not known there");
            Source::Etcd(etcd)
        }
        None => Source::Daemon { client, seen: None },
    };
    let service = source.fetch(name).await?;
    if !args.watch {
        return output::print(&page(&service, &source, args)?).map(drop);
    }
    watch(source, name, service, args).await
}

async fn watch(
    mut source: Source,
    name: &ServiceName,
    mut service: ServiceView,
    args: ReaderArgs,
) -> Outcome {
    let mut shown = None;
    let mut trouble = None;
    loop {
        let page = page(&service, &source, args)?;
        if shown.as_ref() != Some(&page) {
            if output::print_frame(&page, args.output)?.is_break() {
                return Ok(());
            }
            shown = Some(page);
        }
        sleep(PAUSE).await;
        match source.fetch(name).await {
            Ok(newer) => {
                service = newer;
                trouble = None;
            }
            Err(failure) if failure.exit == super::failure::Exit::NotFound => {
                service.instances.clear();
                trouble = None;
            }
            // What is known stays; each trouble is said once.
            Err(failure) => {
                if trouble.as_ref() != Some(&failure) {
                    eprintln!("navigator: {failure}; trying on");
                }
                trouble = Some(failure);
            }
        }
    }
}

impl Source {
    async fn fetch(&mut self, name: &ServiceName) -> Outcome<ServiceView> {
        match self {
            Self::Etcd(etcd) => from_etcd(etcd, name).await,
            Self::Daemon { client, seen } => {
                let path = format!("/v1/services/{name}");
                let answer = client.get_changed(&path, *seen, WAIT).await;
                // After trouble the next answer may come from another daemon, which counts anew.
                *seen = answer.as_ref().ok().map(|(seq, _)| *seq);
                answer
                    .map(|(_, service)| service)
                    .map_err(|error| with_name(error, name))
            }
        }
    }

    fn takes_new(&self, instance: &InstanceView) -> bool {
        match self {
            Self::Daemon { .. } => instance.takes_new(),
            Self::Etcd(_) => instance.is_wanted(),
        }
    }
}

fn with_name(error: ClientError, name: &ServiceName) -> Failure {
    if error.is_not_found() {
        return Failure::not_found(format!("no service {name}"));
    }
    error.into()
}

async fn from_etcd(etcd: &EtcdRegistry, name: &ServiceName) -> Outcome<ServiceView> {
    let prefix = format!("{}{name}/", keys::SERVICES);
    let (entries, _) = etcd.list(&prefix).await?;
    if entries.is_empty() {
        return Err(Failure::not_found(format!("no service {name}")));
    }
    let mut instances = Vec::new();
    for entry in entries {
        match parse_instance(&entry.key, &entry.value, entry.leased, &Rules::default()) {
            Ok(instance) => instances.push(unchecked(instance)),
            Err(rejection) => {
                eprintln!(
                    "left out: {}: {}",
                    clean(&entry.key),
                    clean(&rejection.detail)
                );
            }
        }
    }
    instances.sort_by_key(|instance| instance.address);
    Ok(ServiceView {
        name: name.to_string(),
        index: 0,
        instances,
    })
}

fn unchecked(instance: Instance) -> InstanceView {
    let origin = if instance.leased { "lease" } else { "static" };
    InstanceView {
        address: instance.key.address,
        weight: instance.weight,
        origin: origin.to_owned(),
        health: Health::Unknown,
        health_since: 0.0,
        last_check: String::new(),
        checked_at: 0.0,
        check_seconds: 0.0,
        order: Order::default(),
        labels: instance.labels,
    }
}

fn page(service: &ServiceView, source: &Source, args: ReaderArgs) -> Outcome<String> {
    let all = service.instances.len();
    let taking: Vec<_> = service
        .instances
        .iter()
        .filter(|instance| source.takes_new(instance))
        .collect();
    if taking.is_empty() && !args.watch {
        eprintln!(
            "service {}: {all} instances, none takes new clients",
            service.name
        );
    }
    match args.output {
        Format::Table | Format::Wide => Ok(taking.into_iter().map(line).collect()),
        format => output::document(&taking, format, args.watch),
    }
}

fn line(instance: &InstanceView) -> String {
    let weight = instance.weight_in_force();
    let line = format!("{} {weight} {}", instance.address, clean(&labels(instance)));
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fixture;
    use std::path::Path;

    fn shown(output: Format, source: &Source) -> Outcome<String> {
        let watch = true;
        page(
            &fixture::snapshot().services[0],
            source,
            ReaderArgs { output, watch },
        )
    }

    #[test]
    fn only_healthy_instances_that_do_not_drain_are_shown() -> Outcome {
        let daemon = Source::Daemon {
            client: Client::new(Path::new("/nowhere")),
            seen: None,
        };
        let line = "10.0.0.1:80 100 version=1.2 zone=a\n";
        assert_eq!(shown(Format::Table, &daemon)?, line);
        let json = shown(Format::Json, &daemon)?;
        assert!(
            json.starts_with(r#"[{"address":"10.0.0.1:80","weight":100,"#),
            "{json}"
        );
        assert_eq!(json.lines().count(), 1);
        Ok(())
    }
}

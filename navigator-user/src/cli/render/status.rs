//! The state of everything on one page.

use super::{Column, Look, News, clean, numbers, paint, table, text, vips};
use crate::snapshot::{CounterView, RegistryView, Snapshot, TableView, WindowsView};
use navigator_common::reason::{Event, Reason};

const COUNTERS: &[Column] = &[("REASON", false), ("PACKETS", true), ("MEANING", false)];
const TABLES: &[Column] = &[
    ("TABLE", false),
    ("USED", true),
    ("CAPACITY", true),
    ("FILL", true),
];
const REJECTED: &[Column] = &[("REJECTED", false), ("REASON", false), ("DETAIL", false)];

/// The page.
pub fn status(look: Look, snapshot: &Snapshot) -> String {
    let sections = [
        head(look, snapshot),
        vips::vips(look, &snapshot.vips),
        counters(look, &snapshot.counters),
        tables(look, &snapshot.tables),
        problems(look, &snapshot.problems),
        rejected(look, snapshot),
    ];
    let shown: Vec<_> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    shown.join("\n")
}

fn head(look: Look, snapshot: &Snapshot) -> String {
    let daemon = &snapshot.daemon;
    let ready = if daemon.ready {
        paint(look, News::Good, "ready")
    } else {
        paint(look, News::Bad, "not ready")
    };
    let interfaces: Vec<_> = daemon
        .interfaces
        .iter()
        .map(|i| format!("{} ({})", clean(&i.name), clean(&i.attach)))
        .collect();
    let adopted = if daemon.adopted {
        ", after taking over what was pinned"
    } else {
        ""
    };
    format!(
        "navigator   {}, {ready}, pid {}, up {}\n\
         interfaces  {}\n\
         registry    {}\n\
         writes      {} slots since the start{adopted}\n\
         {}",
        clean(&daemon.version),
        daemon.pid,
        numbers::duration(daemon.uptime_seconds),
        interfaces.join(", "),
        registry(look, &snapshot.registry),
        daemon.slots_written,
        windows(&snapshot.windows),
    )
}

/// One line, once there was a window at all.
fn windows(windows: &WindowsView) -> String {
    if *windows == WindowsView::default() {
        return String::new();
    }
    let oldest = match windows.oldest_seconds {
        0 => String::new(),
        seconds => format!("oldest open for {}, ", numbers::duration(seconds as f64)),
    };
    format!(
        "windows     {oldest}{} slots closed, {} early, {} at rest again\n",
        windows.closed + windows.closed_early,
        windows.closed_early,
        windows.settled,
    )
}

fn registry(look: Look, registry: &RegistryView) -> String {
    let kind = clean(&registry.kind);
    let revision = registry.revision;
    if registry.connected {
        let connected = paint(look, News::Good, "connected");
        return format!("{kind}, {connected}, revision {revision}");
    }
    let lost = paint(look, News::Bad, "not connected");
    let why = match clean(&registry.why).as_ref() {
        "" => String::new(),
        why => format!(": {why}"),
    };
    if !registry.synced {
        return format!("{kind}, {lost} yet{why}");
    }
    format!(
        "{kind}, {lost} for {}{why}; revision {revision} stays in force",
        numbers::duration(registry.stale_seconds),
    )
}

fn counters(look: Look, counters: &[CounterView]) -> String {
    let row = |counter: &CounterView| {
        vec![
            text(&counter.name),
            text(counter.packets),
            text(meaning(&counter.name)),
        ]
    };
    let seen = counters.iter().filter(|counter| counter.packets > 0);
    let rows: Vec<_> = seen.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    table(look, COUNTERS, rows)
}

fn meaning(name: &str) -> &'static str {
    let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
    let event = Event::ALL.iter().find(|event| event.name() == name);
    let said = reason.map(|r| r.describe()).or(event.map(|e| e.describe()));
    said.unwrap_or_default()
}

fn tables(look: Look, tables: &[TableView]) -> String {
    if tables.is_empty() {
        return String::new();
    }
    let row = |t: &TableView| {
        vec![
            text(&t.name),
            text(numbers::count(t.used)),
            text(numbers::count(t.capacity)),
            text(numbers::percent(t.used as f64 / t.capacity.max(1) as f64)),
        ]
    };
    table(look, TABLES, tables.iter().map(row).collect())
}

fn problems(look: Look, problems: &[String]) -> String {
    let line = |problem: &String| {
        let problem = paint(look, News::Bad, &clean(problem));
        format!("problem: {problem}\n")
    };
    problems.iter().map(line).collect()
}

fn rejected(look: Look, snapshot: &Snapshot) -> String {
    if snapshot.rejected.is_empty() {
        return String::new();
    }
    let rows = snapshot.rejected.iter().map(|entry| {
        let stale = if entry.stale {
            " (its last valid version stays in force)"
        } else {
            ""
        };
        let detail = format!("{}{stale}", entry.detail);
        vec![text(&entry.key), text(&entry.reason), text(detail)]
    });
    table(look, REJECTED, rows.collect())
}

//! Figures, for people with the ratios that matter, for programs as they are, and as a plot.

use super::{
    Figure,
    load::Kind,
    paths::{HAPROXY, NGINX, ROUTING},
};
use crate::plot::{self, Bars};
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::{Value, json};

/// Modes in which answers go to the client directly, so that plain routing is their measure.
const DIRECT: [&str; 3] = ["l2", "ipip", "gue"];
/// What Navigator promises there for connections that are kept alive.
const OF_ROUTING: f64 = 0.9;

pub(super) fn print(figures: &[Figure], json: bool) -> Result<()> {
    if json {
        let rows: Vec<_> = figures.iter().map(row).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "medians; requests per second (99th percentile of their time), bulk in Gbit/s;\n\
         in brackets of plain routing\n{}",
        table(figures)
    );
    println!("{}", promises(figures));
    Ok(())
}

/// Draws what each path does, of plain routing.
pub(super) fn draw(figures: &[Figure], file: &std::path::Path) -> Result<()> {
    let paths = names(figures);
    let of_routing = |path: &'static str| {
        let ratios = Kind::ALL.map(|kind| 100.0 * ratio(figures, path, ROUTING, kind));
        (path, ratios.to_vec())
    };
    let series: Vec<_> = paths.into_iter().map(of_routing).collect();
    plot::bars(
        file,
        &Bars {
            title: "What goes through, of plain routing",
            axis: "per cent",
            groups: &[
                "requests, kept alive",
                "requests, each on its own",
                "one download",
            ],
            series: &series,
        },
    )
}

fn row(figure: &Figure) -> Value {
    let (path, kind) = (figure.path, figure.kind.word());
    let rounded = |value: f64, digits: i32| {
        let factor = 10f64.powi(digits);
        (value * factor).round() / factor
    };
    match figure.p99_ms {
        Some(p99_ms) => json!({
            "path": path, "kind": kind,
            "requests_per_s": rounded(figure.per_second, 0), "p99_ms": rounded(p99_ms, 3),
        }),
        None => json!({
            "path": path, "kind": kind, "requests_per_s": null, "p99_ms": null,
            "gbit_per_s": rounded(figure.per_second, 3),
        }),
    }
}

fn names(figures: &[Figure]) -> Vec<&'static str> {
    let mut names: Vec<_> = figures.iter().map(|figure| figure.path).collect();
    names.dedup();
    names
}

fn find<'a>(figures: &'a [Figure], path: &str, kind: Kind) -> Option<&'a Figure> {
    figures.iter().find(|f| f.path == path && f.kind == kind)
}

fn ratio(figures: &[Figure], of: &str, to: &str, kind: Kind) -> f64 {
    let value = |path| find(figures, path, kind).map_or(f64::NAN, |f| f.per_second);
    value(of) / value(to)
}

fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["path"].into_iter().chain(Kind::ALL.map(Kind::word)));
    for path in names(figures) {
        let cell = |kind| {
            let Some(figure) = find(figures, path, kind) else {
                return String::new();
            };
            let of_routing = ratio(figures, path, ROUTING, kind);
            match figure.p99_ms {
                Some(p99) => format!("{:.0} ({p99:.2} ms) [{of_routing:.2}]", figure.per_second),
                None => format!("{:.2} [{of_routing:.2}]", figure.per_second),
            }
        };
        table.add_row([path.to_owned()].into_iter().chain(Kind::ALL.map(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What must hold for connections that are kept alive, and whether it does.
fn promises(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["keep-alive", "measured", "at least"]);
    let mut line = |of: &str, to: &str, at_least: f64| {
        let ratio = ratio(figures, of, to, Kind::KeepAlive);
        let missed = if ratio < at_least { "  missed" } else { "" };
        table.add_row([
            format!("{of} / {to}"),
            format!("{ratio:.2}"),
            format!("{at_least:.2}{missed}"),
        ]);
    };
    let ours = names(figures);
    let ours = ours
        .iter()
        .filter(|p| ![HAPROXY, NGINX, ROUTING].contains(p));
    for path in ours {
        if DIRECT.contains(path) {
            line(path, ROUTING, OF_ROUTING);
        }
        for rival in [HAPROXY, NGINX] {
            line(path, rival, 1.0);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(path: &'static str, kind: Kind, per_second: f64) -> Figure {
        Figure {
            path,
            kind,
            per_second,
            p99_ms: (kind != Kind::Bulk).then_some(1.25),
        }
    }

    #[test]
    fn rows_have_the_promised_fields() {
        let requests = row(&figure("l2", Kind::KeepAlive, 1234.4));
        let expected =
            json!({"path": "l2", "kind": "keep-alive", "requests_per_s": 1234.0, "p99_ms": 1.25});
        assert_eq!(requests, expected);
        let bulk = row(&figure("l2", Kind::Bulk, 1.5));
        assert_eq!(bulk["gbit_per_s"], 1.5);
        assert!(bulk["requests_per_s"].is_null());
    }

    #[test]
    fn a_promise_that_is_missed_says_so() {
        let figures = [
            figure("l2", Kind::KeepAlive, 80.0),
            figure(HAPROXY, Kind::KeepAlive, 50.0),
            figure(NGINX, Kind::KeepAlive, 40.0),
            figure(ROUTING, Kind::KeepAlive, 100.0),
        ];
        let text = promises(&figures).to_string();
        let lines: Vec<_> = text.lines().filter(|line| line.contains(" / ")).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("0.80") && lines[0].contains("missed"));
        assert!(lines[1].contains("1.60") && !lines[1].contains("missed"));
    }
}

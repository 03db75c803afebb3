//! Figures, for people with the ratios that matter, for programs as they are.

use super::{FLOWS, Figure};
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;

#[derive(Serialize)]
struct Row<'a> {
    case: &'a str,
    flows: u32,
    ns_min: f64,
    ns_median: f64,
}

/// A ratio of minima that Navigator promises: case and flows, case and flows, at most.
struct Promise {
    of: (&'static str, u32),
    to: (&'static str, u32),
    at_most: f64,
}

const fn at_most(at_most: f64, of: &'static str, to: &'static str, flows: u32) -> Promise {
    Promise {
        of: (of, flows),
        to: (to, flows),
        at_most,
    }
}

const MILLION: u32 = 1_000_000;

const PROMISES: &[Promise] = &[
    at_most(1.9, "l2", "floor-parse-swap", 1),
    at_most(0.2, "l2", "classic-lru", MILLION),
    at_most(1.1, "syn", "l2", MILLION),
    at_most(0.7, "at-risk", "classic-lru", MILLION),
    at_most(1.75, "ipip4", "floor-ipip", 1),
    at_most(2.2, "ipip4", "floor-ipip", MILLION),
    at_most(1.75, "ip6ip6", "floor-ip6", 1),
    at_most(2.2, "ip6ip6", "floor-ip6", MILLION),
    at_most(2.0, "gue", "floor-gue", 1),
    at_most(3.0, "nat", "floor-nat", 1),
    at_most(1.5, "pass", "floor-parse-swap", 1),
];

pub(super) fn print(figures: &[Figure], json: bool) -> Result<()> {
    if json {
        let rows: Vec<_> = figures.iter().map(row).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "nanoseconds per packet, minimum and (median)\n{}",
        times(figures)
    );
    println!("ratios of minima\n{}", ratios(figures));
    Ok(())
}

fn row(figure: &Figure) -> Row<'_> {
    let rounded = |ns: f64| (ns * 10.0).round() / 10.0;
    Row {
        case: figure.case,
        flows: figure.flows,
        ns_min: rounded(figure.min),
        ns_median: rounded(figure.median),
    }
}

fn times(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    let flows = FLOWS.iter().map(|flows| format!("{flows} flows"));
    table.set_header(std::iter::once("case".to_owned()).chain(flows));
    for case in figures.chunks(FLOWS.len()) {
        let cells = case
            .iter()
            .map(|figure| format!("{:.1} ({:.1})", figure.min, figure.median));
        table.add_row(std::iter::once(case[0].case.to_owned()).chain(cells));
    }
    align(&mut table);
    table
}

fn ratios(figures: &[Figure]) -> Table {
    let min = |(case, flows): (&str, u32)| {
        figures
            .iter()
            .find(|f| f.case == case && f.flows == flows)
            .map(|f| f.min)
    };
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["ratio", "flows", "measured", "at most"]);
    for promise in PROMISES {
        let (Some(of), Some(to)) = (min(promise.of), min(promise.to)) else {
            continue;
        };
        let ratio = of / to;
        table.add_row([
            format!("{} / {}", promise.of.0, promise.to.0),
            promise.of.1.to_string(),
            format!("{ratio:.2}"),
            format!(
                "{:.2}{}",
                promise.at_most,
                if ratio <= promise.at_most {
                    ""
                } else {
                    "  missed"
                }
            ),
        ]);
    }
    align(&mut table);
    table
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

//! `bench model`: one long life of a VIP, what each way to balance breaks in it, as a plot.

use crate::model::{self, Point, Report, Settings};
use anyhow::{Context, Result, ensure};
use plotters::{
    coord::Shift,
    prelude::{
        BLACK, ChartBuilder, Color as _, DrawingArea, IntoDrawingArea as _, LineSeries,
        PathElement, RGBColor, SVGBackend, SeriesLabelPosition, WHITE,
    },
};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What is run, and where the plot goes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything random follows from it.
    pub seed: u64,
    /// The plot; none is drawn without.
    pub plot: Option<PathBuf>,
}

const COLOURS: [RGBColor; 4] = [
    RGBColor(0xc0, 0x39, 0x2b),
    RGBColor(0xe0, 0x8a, 0x1e),
    RGBColor(0x7f, 0x6a, 0x9e),
    RGBColor(0x1f, 0x77, 0x4d),
];
/// One of so many changes is drawn.
const EVERY: usize = 4;

/// Runs it, prints the report and draws it.
///
/// # Errors
/// Without root or BPF, or if the plot cannot be written.
pub fn run(options: &Options, json: bool) -> Result<()> {
    let settings = Settings {
        seed: options.seed,
        flows: 100_000,
        changes: 1_000,
    };
    let report = model::run(settings)?;
    if json {
        println!("{}", as_json(&report));
    } else {
        print!("seed {}: {report}", options.seed);
    }
    if let Some(path) = &options.plot {
        draw(&report, path).with_context(|| format!("draw {}", path.display()))?;
        eprintln!("drawn: {}", path.display());
    }
    ensure!(report.moved.is_empty(), "{:#?}", report.moved);
    Ok(())
}

fn as_json(report: &Report) -> serde_json::Value {
    let broken = report.points.last().map(|point| point.broken.clone());
    let classic = report.names.iter().zip(broken.unwrap_or_default());
    let mut ways = vec![json!({"way": "navigator", "broken": report.moved.len()})];
    ways.extend(classic.map(|(name, broken)| json!({"way": name, "broken": broken})));
    json!({
        "changes": report.points.len(),
        "connections": report.connections,
        "packets": report.packets,
        "ways": ways,
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Line<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

fn draw(report: &Report, path: &Path) -> Result<()> {
    let root = SVGBackend::new(path, (900, 720)).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(400);
    let names: Vec<&str> = report.names.iter().map(String::as_str).collect();
    let broken = names
        .iter()
        .enumerate()
        .map(|(way, name)| {
            (
                *name,
                COLOURS[way % 3],
                line(report, |p| p.broken[way] as f64),
            )
        })
        .chain([(
            "Navigator",
            COLOURS[3],
            line(report, |_| report.moved.len() as f64),
        )]);
    chart(
        &upper,
        "Connections broken although their backend was usable",
        "connections so far",
        broken.collect(),
    )?;
    let shares = vec![
        (
            "slots at risk",
            COLOURS[0],
            line(report, |p| 100.0 * p.at_risk),
        ),
        (
            "slots tracked",
            COLOURS[1],
            line(report, |p| 100.0 * p.tracked),
        ),
        (
            "flows remembered, of those alive",
            COLOURS[3],
            line(report, |p| 100.0 * p.remembered),
        ),
    ];
    chart(&lower, "What Navigator keeps for it", "%", shares)?;
    root.present()?;
    Ok(())
}

fn line(report: &Report, of: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let points = (1..).zip(&report.points).step_by(EVERY);
    points.map(|(x, point)| (f64::from(x), of(point))).collect()
}

fn chart(area: &Area<'_>, title: &str, unit: &str, lines: Vec<Line<'_>>) -> Result<()> {
    let end = |of: fn(&(f64, f64)) -> f64| {
        let points = lines.iter().flat_map(|(_, _, points)| points);
        points.map(of).fold(1.0, f64::max)
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..end(|p| p.0), 0.0..end(|p| p.1) * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("changes")
        .y_desc(unit)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (name, colour, points) in lines {
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE.mix(0.85))
        .draw()?;
    Ok(())
}

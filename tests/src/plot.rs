//! Plots for the documents, as SVG.

use anyhow::{Result, anyhow};
use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use std::path::Path;

const SIZE: (u32, u32) = (860, 420);
const FONT: &str = "sans-serif";
/// Distinct also for people who see few colours, in the order of the series.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(140, 140, 140),
    RGBColor(204, 121, 167),
];

/// A bar of every series in every group.
#[derive(Clone, Copy, Debug)]
pub struct Bars<'a> {
    /// The line above.
    pub title: &'a str,
    /// What the bars' heights are.
    pub axis: &'a str,
    /// Names of the groups.
    pub groups: &'a [&'a str],
    /// Names of the series with a height for each group.
    pub series: &'a [(&'a str, Vec<f64>)],
}

/// Draws bars to a file.
///
/// # Errors
/// There is nothing to draw, or the file cannot be written.
pub fn bars(file: &Path, plot: &Bars<'_>) -> Result<()> {
    draw_bars(file, plot).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))
}

fn draw_bars(file: &Path, plot: &Bars<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let heights = plot.series.iter().flat_map(|(_, heights)| heights);
    let top = heights.copied().fold(0.0, f64::max) * 1.08;
    if plot.groups.is_empty() || top <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(plot.title, (FONT, 21))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..plot.groups.len() as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_desc(plot.axis)
        .y_label_formatter(&|height| height.to_string())
        .y_label_style((FONT, 15))
        .light_line_style(WHITE)
        .draw()?;
    let centred = TextStyle::from((FONT, 17)).pos(Pos::new(HPos::Center, VPos::Top));
    let names = plot.groups.iter().enumerate().map(|(group, name)| {
        // A little below the axis.
        Text::new(
            (*name).to_owned(),
            (group as f64 + 0.5, top * -0.02),
            centred.clone(),
        )
    });
    chart.draw_series(names)?;
    // A group takes 1; a tenth on either side stays free.
    let width = 0.8 / plot.series.len() as f64;
    for (index, (name, heights)) in plot.series.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let bars = heights.iter().enumerate().map(|(group, &height)| {
            let left = group as f64 + 0.1 + index as f64 * width;
            Rectangle::new([(left, 0.0), (left + width * 0.9, height)], colour.filled())
        });
        chart
            .draw_series(bars)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .label_font((FONT, 15))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
    use super::*;

    #[test]
    fn every_name_is_in_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plot.svg");
        let series = [("first", vec![1.0, 2.0]), ("second", vec![0.5, 1.5])];
        let plot = Bars {
            title: "a title",
            axis: "an axis",
            groups: &["left", "right"],
            series: &series,
        };
        bars(&file, &plot).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        for name in ["a title", "an axis", "left", "right", "first", "second"] {
            assert!(text.contains(name), "no {name:?} in {text}");
        }
        let empty = Bars {
            series: &[],
            ..plot
        };
        assert!(bars(&file, &empty).is_err());
    }
}

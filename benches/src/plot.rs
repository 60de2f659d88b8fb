//! Plots of a report: lines over an axis that doubles.

use std::path::Path;

use plotters::prelude::*;

use crate::error::Error;

/// One plot.
#[derive(Debug)]
pub(crate) struct Plot {
    /// The file's name, after the command's.
    pub(crate) name: &'static str,
    /// Above it.
    pub(crate) title: String,
    /// What the axis counts, and its unit.
    pub(crate) axis: &'static str,
    /// What is drawn, and its unit.
    pub(crate) figure: &'static str,
    /// Names and points of the lines.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
}

const SIZE: (u32, u32) = (800, 480);

/// Draws it as SVG.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn draw(plot: &Plot, file: &Path) -> Result<(), Error> {
    paint(plot, file)
        .map_err(|error| Error::Plot { file: file.display().to_string(), problem: error.to_string() })
}

fn paint(plot: &Plot, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let points = || plot.lines.iter().flat_map(|(_, points)| points);
    let span = points().map(|point| point.0).fold((f64::INFINITY, 1.0), |(a, b), x| (x.min(a), x.max(b)));
    let top = points().map(|point| point.1).fold(0.0, f64::max);
    if top <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&plot.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((span.0..span.1 * 1.01).log_scale().base(2.0), 0.0..top * 1.1)?;
    let label = |x: &f64| format!("{x:.0}");
    chart.configure_mesh().x_desc(plot.axis).y_desc(plot.figure).x_label_formatter(&label).draw()?;
    for (index, (name, points)) in plot.lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE.mix(0.8)).draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_an_svg_with_its_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = vec![("ours".to_owned(), vec![(64.0, 80.0), (1514.0, 9.0)])];
        let mut plot = Plot { name: "x", title: "Rates".into(), axis: "bytes", figure: "Mpps", lines };
        draw(&plot, file.path()).unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        for word in ["<svg", "Rates", "bytes", "Mpps", "ours"] {
            assert!(text.contains(word), "{word}");
        }
        plot.lines.clear();
        assert!(draw(&plot, file.path()).unwrap_err().to_string().contains("nothing to draw"));
    }
}

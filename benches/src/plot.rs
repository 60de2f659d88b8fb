//! Plots of rates and latencies.

use std::path::Path;

use plotters::prelude::*;

use crate::error::Error;

/// The axes of a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Horizontally logarithmic, vertically from zero.
    Sizes,
    /// Horizontally nines of a percentile (`-log10(1 - quantile)`), vertically logarithmic.
    Percentiles,
}

/// A line of a plot.
#[derive(Debug)]
pub(crate) struct Line {
    /// Its name.
    pub(crate) name: String,
    /// Its points.
    pub(crate) points: Vec<(f64, f64)>,
    /// Place, minimum and maximum of its points, if they are shown.
    pub(crate) spread: Vec<(f64, f64, f64)>,
}

impl From<(String, Vec<(f64, f64)>, Vec<(f64, f64, f64)>)> for Line {
    fn from((name, points, spread): (String, Vec<(f64, f64)>, Vec<(f64, f64, f64)>)) -> Self {
        Self { name, points, spread }
    }
}

/// One plot.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Name of the file.
    pub(crate) name: String,
    /// Caption.
    pub(crate) title: String,
    /// Label of the horizontal axis, with its unit.
    pub(crate) axis: String,
    /// Label of the vertical axis, with its unit.
    pub(crate) figure: String,
    /// The axes.
    pub(crate) scale: Scale,
    /// The lines.
    pub(crate) lines: Vec<Line>,
}

const SIZE: (u32, u32) = (860, 480);
const FONT: &str = "sans-serif";
/// Lowest nanoseconds shown.
const LOWEST_NS: f64 = 50.0;

/// Draws a plot as SVG.
///
/// # Errors
/// There is nothing to draw, or the file cannot be written.
pub(crate) fn draw(plot: &Plot, file: &Path) -> Result<(), Error> {
    paint(plot, file)
        .map_err(|error| Error::Plot { file: file.display().to_string(), problem: error.to_string() })
}

type Painted = Result<(), Box<dyn std::error::Error>>;

fn paint(plot: &Plot, file: &Path) -> Painted {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let (left, right) =
        points().map(|point| point.0).fold((f64::INFINITY, 1.0), |(a, b), x| (x.min(a), x.max(b)));
    let highest = |line: &Line| line.spread.iter().map(|spread| spread.2).fold(0.0, f64::max);
    let top = points().map(|point| point.1).chain(plot.lines.iter().map(highest)).fold(0.0, f64::max);
    if top <= 0.0 {
        return Err("there is nothing to draw".into());
    }
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area);
    chart
        .caption(&plot.title, (FONT, 18))
        .margin(12)
        .margin_right(28)
        .x_label_area_size(40)
        .y_label_area_size(72);
    match plot.scale {
        Scale::Sizes => {
            let span = (left..right * 1.02).log_scale().base(2.0);
            let mut chart = chart.build_cartesian_2d(span, 0.0..top * 1.08)?;
            let label = |x: &f64| format!("{x:.0}");
            chart
                .configure_mesh()
                .x_desc(&plot.axis)
                .y_desc(&plot.figure)
                .light_line_style(WHITE)
                .x_label_formatter(&label)
                .draw()?;
            lines(&mut chart, &plot.lines, SeriesLabelPosition::UpperRight)?;
        }
        Scale::Percentiles => {
            let mut chart = chart.build_cartesian_2d(left..right, (LOWEST_NS..top * 1.3).log_scale())?;
            let label = |nines: &f64| percentile(*nines);
            chart
                .configure_mesh()
                .x_desc(&plot.axis)
                .y_desc(&plot.figure)
                .light_line_style(WHITE)
                .x_labels(5)
                .x_label_formatter(&label)
                .draw()?;
            lines(&mut chart, &plot.lines, SeriesLabelPosition::UpperLeft)?;
        }
    }
    area.present()?;
    Ok(())
}

/// Such as `p99.9` for three nines.
fn percentile(nines: f64) -> String {
    let text = format!("{:.4}", 100.0 * (1.0 - 10_f64.powf(-nines)));
    format!("p{}", text.trim_end_matches('0').trim_end_matches('.'))
}

type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

fn lines<'a, 'b, X, Y>(
    chart: &mut Chart<'a, 'b, X, Y>,
    lines: &[Line],
    legend: SeriesLabelPosition,
) -> Painted
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
    'b: 'a,
{
    for (index, line) in lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let spread =
            line.spread.iter().map(|(x, low, high)| PathElement::new([(*x, *low), (*x, *high)], color));
        chart.draw_series(spread)?;
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .border_style(BLACK)
        .background_style(WHITE.mix(0.8))
        .label_font((FONT, 13))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_an_svg_with_its_labels() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for scale in [Scale::Sizes, Scale::Percentiles] {
            let points = vec![(64.0, 80.0), (1514.0, 9.0)];
            let line = Line { name: "ours".to_owned(), points, spread: vec![(64.0, 70.0, 90.0)] };
            let mut plot = Plot {
                name: "x".into(),
                title: "Rates".into(),
                axis: "bytes".into(),
                figure: "Mpps".into(),
                scale,
                lines: vec![line],
            };
            draw(&plot, file.path()).unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            for word in ["<svg", "Rates", "bytes", "Mpps", "ours"] {
                assert!(text.contains(word), "{word}");
            }
            plot.lines.clear();
            assert!(draw(&plot, file.path()).unwrap_err().to_string().contains("nothing to draw"));
        }
    }

    #[test]
    fn nines_are_percentiles() {
        assert_eq!([0.0, 1.0, 2.0, 4.0].map(percentile), ["p0", "p90", "p99", "p99.99"]);
    }
}

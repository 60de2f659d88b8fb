//! Output of a run: a table, and a directory with samples and plots.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::distance::Usual;
use crate::error::Error;
use crate::machine::Machine;
use crate::measured::Measured;
use crate::plot::{self, Plot};
use crate::record::continued;
use crate::sample::{LOST_LIMIT, Ratio, Row, Run};

/// A target, and the figure that was measured.
#[derive(Debug)]
pub(crate) struct Target {
    /// What is compared.
    pub(crate) what: String,
    /// The figure, if both were measured.
    pub(crate) got: Option<Ratio>,
    /// The limit.
    pub(crate) limit: Limit,
}

/// Limit of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    /// At least.
    AtLeast(f64),
    /// At most.
    AtMost(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(got) = self.got else { return write!(f, "not measured  {}", self.what) };
        let (reached, words, limit) = match self.limit {
            Limit::AtLeast(limit) => (got.value >= limit, "at least", limit),
            Limit::AtMost(limit) => (got.value <= limit, "at most", limit),
        };
        let verdict = match (got.disturbed, reached) {
            (true, _) => "disturbed",
            (false, true) => "reached",
            (false, false) => "MISSED",
        };
        write!(f, "{verdict:<12}  {}: {:.2}, {words} {limit:.2}", self.what, got.value)
    }
}

/// Where the output goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Out {
    /// Directory for samples and plots
    #[arg(long = "out", value_name = "FOLDER", default_value = "target/bench")]
    pub(crate) folder: PathBuf,
    /// Add the rounds to those in the directory rather than replacing them; no plots
    #[arg(long)]
    pub(crate) append: bool,
}

/// A run and its labels.
pub(crate) struct Report<'r> {
    /// Name of the command and of its files.
    pub(crate) name: &'static str,
    /// The settings.
    pub(crate) settings: String,
    /// Headings of the cells of each row.
    pub(crate) columns: &'r [&'static str],
    /// Names of the figures, with units; the main one first.
    pub(crate) values: &'r [&'static str],
    /// What was measured.
    pub(crate) rows: &'r [Row<'r>],
    /// The result.
    pub(crate) run: &'r Run,
    /// Headings of further figures, and the figures for each row.
    pub(crate) ratios: Vec<(&'static str, Vec<Option<Ratio>>)>,
    /// The targets.
    pub(crate) targets: Vec<Target>,
}

impl Report<'_> {
    /// Prints the table, and writes samples and plots.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(crate) fn publish(&self, out: &Out, plots: &[Plot]) -> Result<(), Error> {
        let Out { folder, append } = out;
        let machine = Machine::read();
        println!("memif-bench {}\n{machine}", self.name);
        println!("settings  {}", self.settings);
        println!("{}\n\n{}\n", self.calm(), self.table(machine.ticks_mhz()));
        self.targets.iter().for_each(|target| println!("{target}"));
        fs::create_dir_all(folder).map_err(Error::io(format!("cannot make folder {}", folder.display())))?;
        let samples = folder.join(format!("{}.csv", self.name));
        self.write_samples(&samples, *append)?;
        println!("samples   {}", samples.display());
        for plot in plots.iter().filter(|_| !append) {
            let file: PathBuf = folder.join(format!("{}-{}.svg", self.name, plot.name));
            plot::draw(plot, &file)?;
            println!("plot      {}", file.display());
        }
        Ok(())
    }

    /// How undisturbed the machine was.
    fn calm(&self) -> String {
        let run = self.run;
        let Usual { ns, range: (least, most) } = run.usual;
        format!(
            "distance  {ns:.0} ns a cache line there and back most of the time; {least:.0} - {most:.0} ns seen\n\
             rejected  {} samples, taken again: the cores at another distance, or over {} % of the time off a core\n          \
             medians of the rest; ! none of the row's samples was like that",
            run.rejected(),
            LOST_LIMIT * 100.0
        )
    }

    /// `ticks`: of the time-stamp counter in a microsecond.
    fn table(&self, ticks: f64) -> String {
        let mut lines = vec![self.head()];
        lines.extend((0..self.rows.len()).map(|row| self.line(row, ticks)));
        let columns = lines.first().map_or(0, Vec::len);
        let width = |at: usize| lines.iter().filter_map(|line| Some(line.get(at)?.len())).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns).map(width).collect();
        let text = lines.iter().map(|line| {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
            cells.collect::<Vec<_>>().join("  ")
        });
        text.collect::<Vec<_>>().join("\n")
    }

    fn head(&self) -> Vec<String> {
        let names = self.columns.iter().chain(self.values).map(|name| (*name).to_owned());
        let ticks = self.is_rate().then_some("ticks a packet");
        let rest = ["min", "max"]
            .into_iter()
            .chain(ticks)
            .chain(self.ratios.iter().map(|(name, _)| *name))
            .chain(["n"]);
        names.chain(rest.map(str::to_owned)).collect()
    }

    /// Whether the main figure is a rate: then the table also has the time of a packet.
    fn is_rate(&self) -> bool {
        self.values.first() == Some(&"Mpps")
    }

    fn line(&self, row: usize, ticks: f64) -> Vec<String> {
        let mut line = self.rows.get(row).map(|row| row.cells.clone()).unwrap_or_default();
        let Some(summary) = self.run.summary(row) else { return line };
        line.extend(summary.medians.iter().map(|value| figure(*value)));
        line.extend([figure(summary.range.0), figure(summary.range.1)]);
        let main = summary.medians.first().filter(|_| self.is_rate());
        line.extend(main.map(|mpps| format!("{:.0}", ticks / mpps)));
        let ratio = |column: &[Option<Ratio>]| column.get(row).copied().flatten();
        let ratios = self.ratios.iter().map(|(_, column)| ratio(column));
        line.extend(ratios.map(|ratio| {
            let Some(Ratio { value, disturbed }) = ratio else { return "-".into() };
            format!("{}{}", figure(value), if disturbed { "!" } else { "" })
        }));
        line.push(format!("{}{}", summary.samples, if summary.disturbed > 0 { "!" } else { "" }));
        line
    }

    /// Writes every sample, including rejected ones.
    fn write_samples(&self, file: &Path, append: bool) -> Result<(), Error> {
        let fixed = ["round", "ping_before_ns", "ping_after_ns", "usual_distance", "kept", "lost_share"];
        let heads: Vec<_> =
            fixed.iter().chain(self.columns).chain(self.values).map(ToString::to_string).collect();
        let (is_new, rounds) = if append { continued(file, &heads)? } else { (true, 0) };
        let opened = OpenOptions::new().create(true).write(true).append(!is_new).truncate(is_new).open(file);
        let opened = opened.map_err(Error::io(format!("cannot write {}", file.display())))?;
        let mut writer = csv::Writer::from_writer(opened);
        if is_new {
            writer.write_record(&heads)?;
        }
        for (number, round) in self.run.rounds.iter().enumerate() {
            let of_row =
                |(row, samples)| std::iter::zip(0.., samples).map(move |(at, sample)| (row, sample, at == 0));
            for (row, sample, kept) in round.samples.iter().enumerate().flat_map(of_row) {
                let Measured { values, lost, line_ns } = sample;
                let (before, after) = line_ns.unwrap_or((f64::NAN, f64::NAN));
                let mut record = vec![
                    (rounds + number + 1).to_string(),
                    format!("{before:.1}"),
                    format!("{after:.1}"),
                    self.run.usual.is_of(sample).to_string(),
                    kept.to_string(),
                    format!("{lost:.4}"),
                ];
                record.extend(self.rows.get(row).map(|row| row.cells.clone()).unwrap_or_default());
                record.extend(values.iter().map(|value| format!("{value:.6}")));
                writer.write_record(record)?;
            }
        }
        writer.flush().map_err(Error::io(format!("cannot write {}", file.display())))
    }
}

/// Three significant digits or more.
fn figure(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "-".into(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memif_pmd::Stop;

    fn with_report(check: impl FnOnce(&Report<'_>)) {
        let sample = || Ok(Measured::new(vec![123.4, 5.678], 0.0));
        let rows = [
            Row { cells: vec!["64".into(), "S2M".into()], take: Box::new(sample) },
            Row { cells: vec!["1514".into(), "M2S".into()], take: Box::new(sample) },
        ];
        let run = Run::take(&rows, 2, (vec![100.0], &|| Ok(100.0)), &Stop::new().unwrap()).unwrap();
        check(&Report {
            name: "test",
            settings: String::new(),
            columns: &["size", "dir"],
            values: &["Mpps", "ns"],
            rows: &rows,
            run: &run,
            ratios: vec![("x floor", vec![Some(Ratio { value: 0.8, disturbed: false }), None])],
            targets: Vec::new(),
        });
    }

    #[test]
    fn the_table_is_aligned() {
        with_report(|report| {
            let table = report.table(2000.0);
            let lines: Vec<_> = table.lines().collect();
            assert_eq!(lines.len(), 3);
            assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{table}");
            assert_eq!(
                lines[1].split_whitespace().collect::<Vec<_>>(),
                ["64", "S2M", "123", "5.68", "123", "123", "16", "0.80", "2"]
            );
            assert!(lines[2].contains(" - "), "{table}");
        });
    }

    #[test]
    fn every_sample_is_a_record() {
        let folder = tempfile::tempdir().unwrap();
        with_report(|report| {
            report.publish(&Out { folder: folder.path().into(), append: false }, &[]).unwrap();
        });
        let mut reader = csv::Reader::from_path(folder.path().join("test.csv")).unwrap();
        assert_eq!(reader.headers().unwrap().get(7), Some("dir"));
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 4);
        assert_eq!(
            records[1].iter().collect::<Vec<_>>(),
            ["1", "100.0", "100.0", "true", "true", "0.0000", "1514", "M2S", "123.400000", "5.678000"]
        );
    }

    #[test]
    fn targets_report_whether_they_are_reached() {
        let target = |got: Option<f64>, limit| {
            let got = got.map(|value| Ratio { value, disturbed: false });
            Target { what: "a / b".into(), got, limit }.to_string()
        };
        let got = Some(Ratio { value: 9.0, disturbed: true });
        let doubtful = Target { what: "a / b".into(), got, limit: Limit::AtLeast(1.5) };
        assert!(doubtful.to_string().starts_with("disturbed"));
        assert!(target(Some(2.0), Limit::AtLeast(1.5)).starts_with("reached"));
        assert!(target(Some(1.0), Limit::AtLeast(1.5)).starts_with("MISSED"));
        assert!(target(Some(1.0), Limit::AtMost(1.5)).ends_with("a / b: 1.00, at most 1.50"));
        assert!(target(Some(f64::NAN), Limit::AtMost(1.5)).starts_with("MISSED"));
        assert!(target(None, Limit::AtMost(1.5)).starts_with("not measured"));
    }
}

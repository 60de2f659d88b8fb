//! `memif-bench plots`: tables and plots of records, for the records themselves and for a README.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::direction::Direction;
use crate::error::Error;
use crate::machine::ticks_mhz;
use crate::plot::{self, Plot, Scale};
use crate::record::{Figure, MACHINE, Table};

/// `memif-bench plots`
#[derive(Clone, Debug, Args)]
pub(crate) struct Plots {
    /// Folders of the records; each gets its plots and a README.md
    #[arg(required = true)]
    records: Vec<PathBuf>,
    /// File in which the lines between `<!-- figures: … -->` and `<!-- end of figures -->` are replaced
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

/// Tables of a record: file, columns that name a row, column that may change from round to round, figures.
const TABLES: [(&str, &[&str], &[&str]); 7] = [
    ("peers", &["size", "burst", "dir", "sender", "receiver"], &["Mpps"]),
    ("floors", &["floor", "size", "dir", "layout"], &["median"]),
    ("line", &["size", "burst", "ring", "dir", "access", "pages", "rx"], &["Mpps"]),
    (
        "latency",
        &["round trip", "rx", "load"],
        &["p50 ns", "p90", "p99", "p99.9", "p99.99", "longest", "echo cpu %"],
    ),
    (
        "load",
        &["arrivals", "Mpps due", "rx"],
        &["p50 ns", "p90", "p99", "p99.9", "p99.99", "longest", "Mpps"],
    ),
    ("forward", &["forward", "size"], &["ns a packet"]),
    ("scale", &["figure", "interfaces", "queues", "dir"], &["median"]),
];
/// The column whose value may change from round to round.
const KNOBS: &str = "knobs";
/// Figures of the curves of latency, and their quantiles.
const CURVE: [(&str, f64); 9] = [
    ("p10", 0.1),
    ("p25", 0.25),
    ("p50 ns", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.95", 0.9995),
    ("p99.99", 0.9999),
];
const OURS: &str = "ours";
const BURST: &str = "64";

/// Draws the plots of records and writes their tables.
///
/// # Errors
/// A record cannot be read, or a file cannot be written.
pub(crate) fn plots(args: &Plots) -> Result<(), Error> {
    let mut lines = String::new();
    for record in &args.records {
        let excerpt = of_record(record)?;
        if let Some(readme) = &args.readme {
            lines += &excerpt.lines(readme, record);
        }
    }
    args.readme.as_ref().map_or(Ok(()), |readme| insert(readme, &lines))
}

/// What a README shows of a record.
struct Excerpt {
    machine: String,
    /// Its tables.
    summary: String,
    /// Its plots: file, and what it shows.
    images: Vec<(String, String)>,
}

/// Draws the plots of one record and writes its tables.
fn of_record(folder: &Path) -> Result<Excerpt, Error> {
    let machine = read(&folder.join(MACHINE))?;
    let mut images = Vec::new();
    if let Some(peers) = Table::read(folder, "peers")? {
        for direction in Direction::BOTH {
            images.extend(draw(folder, rates(&peers, &direction.to_string(), &machine))?);
        }
    }
    if let Some(load) = Table::read(folder, "load")? {
        images.extend(draw(folder, curves(&load, &machine))?);
    }
    let summary = summary(folder, &machine)?;
    let mut text = format!("# {}\n\n{summary}\n", title(&machine));
    images.iter().for_each(|(file, alt)| text += &format!("\n![{alt}]({file})\n"));
    text += &format!("\n## Machine and settings\n\n```text\n{machine}```\n");
    text += "\nMade by `memif-bench plots` from the samples beside it. Median, minimum – maximum, number of samples.\n";
    for (name, columns, values) in TABLES {
        if let Some(table) = Table::read(folder, name)? {
            text += &format!("\n## {name}\n\n{}", whole(&table, columns, values, ticks_mhz(&machine)));
        }
    }
    write(&folder.join("README.md"), &text)?;
    Ok(Excerpt { machine, summary, images })
}

fn read(file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(Error::io(format!("cannot read {}", file.display())))
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(Error::io(format!("cannot write {}", file.display())))
}

/// Draws a plot, if there is anything on it. Returns its file and what it shows.
fn draw(folder: &Path, plot: Plot) -> Result<Option<(String, String)>, Error> {
    if plot.lines.is_empty() {
        return Ok(None);
    }
    let file = format!("{}.svg", plot.name);
    plot::draw(&plot, &folder.join(&file))?;
    Ok(Some((file, plot.title)))
}

/// A line of the description of the machine.
fn entry<'m>(machine: &'m str, name: &str) -> &'m str {
    let line = machine.lines().find_map(|line| line.strip_prefix(name));
    line.map_or("", str::trim)
}

fn title(machine: &str) -> String {
    format!("{}, {}", entry(machine, "processor"), entry(machine, "date"))
}

/// The key of a row of `peers`.
type Pair<'p> = [(&'p str, &'p str); 5];

fn pair<'p>(size: &'p str, direction: &'p str, sender: &'p str, receiver: &'p str) -> Pair<'p> {
    [("size", size), ("burst", BURST), ("dir", direction), ("sender", sender), ("receiver", receiver)]
}

/// Releases of DPDK in a table, oldest first.
fn releases(peers: &Table) -> Vec<String> {
    let rows = peers.rows(&["receiver"]).into_iter().flatten();
    let mut names: Vec<_> =
        rows.filter(|name| name.starts_with("DPDK") && !name.contains("zero-copy")).collect();
    names.sort();
    names
}

/// The fastest DPDK with itself that copies; none if one of them was disturbed.
fn fastest(peers: &Table, size: &str, direction: &str) -> Option<(String, String, Figure)> {
    let pairs =
        releases(peers).into_iter().flat_map(|to| [(to.clone(), to.clone()), (format!("{to} txonly"), to)]);
    let speeds = pairs.filter_map(|(from, to)| {
        let figure = peers.figure(&pair(size, direction, &from, &to), "Mpps")?;
        Some((from, to, figure))
    });
    let speeds: Vec<_> = speeds.collect();
    // the fastest of some is not the fastest of all
    let known = speeds.iter().all(|(_, _, figure)| !figure.disturbed);
    speeds.into_iter().filter(|_| known).max_by(|a, b| a.2.median.total_cmp(&b.2.median))
}

fn rates(peers: &Table, direction: &str, machine: &str) -> Plot {
    let newest = releases(peers).pop().unwrap_or_default();
    let pairs = [(OURS, OURS), (OURS, &newest), (&newest, OURS), (&newest, &newest), ("floor", "floor")];
    let sizes: Vec<_> = peers.rows(&["size"]).into_iter().flatten().collect();
    let lines = pairs.iter().map(|(from, to)| {
        let points = sizes.iter().filter_map(|size| {
            let figure = peers.figure(&pair(size, direction, from, to), "Mpps")?;
            Some((size.parse().ok()?, figure)).filter(|_| !figure.disturbed)
        });
        let mut points: Vec<(f64, Figure)> = points.collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let name =
            if *from == "floor" { "floor: no protocol".to_owned() } else { format!("{from} → {to}") };
        let spread = points.iter().map(|(x, figure)| (*x, figure.range.0, figure.range.1)).collect();
        (name, points.iter().map(|(x, figure)| (*x, figure.median)).collect::<Vec<_>>(), spread)
    });
    Plot {
        name: format!("rates-{}", direction.to_lowercase()),
        title: format!("{direction}, both ends copy, {}", entry(machine, "processor")),
        axis: "bytes of a packet".into(),
        figure: "Mpps".into(),
        scale: Scale::Sizes,
        lines: lines.filter(|(_, points, _)| points.len() > 1).map(plot::Line::from).collect(),
    }
}

fn curves(load: &Table, machine: &str) -> Plot {
    let rows = load.rows(&["arrivals", "Mpps due", "rx"]);
    let lines = rows.iter().filter_map(|row| {
        let [arrivals, mpps, rx] = row.as_slice() else { return None };
        let key = [("arrivals", arrivals.as_str()), ("Mpps due", mpps), ("rx", rx)];
        let points = CURVE.iter().filter_map(|(name, quantile)| {
            Some((
                -(1.0 - quantile).log10(),
                load.figure(&key, name).filter(|figure| !figure.disturbed)?.median,
            ))
        });
        let points: Vec<_> = points.collect();
        let shown = rx == "poll" && mpps != "-" && arrivals != "constant" && points.len() > 1;
        shown.then(|| (format!("{arrivals}, {mpps} Mpps"), points, Vec::new()))
    });
    Plot {
        name: "load".into(),
        title: format!("One way since due, polling, {}", entry(machine, "processor")),
        axis: "percentile".into(),
        figure: "ns".into(),
        scale: Scale::Percentiles,
        lines: lines.map(plot::Line::from).collect(),
    }
}

/// The table for a README: both directions, wins and losses. Figures of others that were disturbed are left out.
fn summary(folder: &Path, machine: &str) -> Result<String, Error> {
    let mut text = String::new();
    if let Some(peers) = Table::read(folder, "peers")? {
        text += &compared(&peers, ticks_mhz(machine));
    }
    if let Some(latency) = Table::read(folder, "latency")? {
        text += &round_trips(&latency);
    }
    Ok(text)
}

fn compared(peers: &Table, ticks: f64) -> String {
    let newest = releases(peers).pop().unwrap_or_default();
    let mut text = format!(
        "| bytes | direction | ours ↔ ours, Mpps | ticks a packet | of the floor | fastest DPDK ↔ DPDK, Mpps | ratio | ours → {newest} | \
         {newest} → ours |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    );
    for size in ["64", "256", "1514", "imix", "9000"] {
        for direction in ["S2M", "M2S"] {
            let ours = pair(size, direction, OURS, OURS);
            let (Some(figure), Some((from, to, theirs))) =
                (peers.figure(&ours, "Mpps"), fastest(peers, size, direction))
            else {
                continue;
            };
            let base = pair(size, direction, &from, &to);
            let times = |key: &Pair<'_>| {
                peers.ratio(key, &base, "Mpps").map_or("–".into(), |ratio| format!("{ratio:.2}"))
            };
            let of_floor = peers.ratio(&ours, &pair(size, direction, "floor", "floor"), "Mpps");
            let with = |from: &str, to: &str| {
                let key = pair(size, direction, from, to);
                let figure = peers.figure(&key, "Mpps").filter(|figure| !figure.disturbed);
                figure.map_or("–".into(), |figure| format!("{} ({})", short(figure.median), times(&key)))
            };
            let _ = writeln!(
                text,
                "| {size} | {direction} | {} | {:.0} | {} | {} ({}) | {} | {} | {} |",
                spread(figure),
                ticks / figure.median,
                of_floor.map_or("–".into(), |ratio| format!("{ratio:.2}")),
                short(theirs.median),
                from.trim_start_matches("DPDK "),
                times(&ours),
                with(OURS, &newest),
                with(&newest, OURS),
            );
        }
    }
    text
}

fn round_trips(latency: &Table) -> String {
    let p50 = |what, rx| latency.figure(&[("round trip", what), ("rx", rx), ("load", "1")], "p50 ns");
    let p99 = |rx| latency.figure(&[("round trip", "memif"), ("rx", rx), ("load", "1")], "p99");
    let Some(line) = p50("one cache line", "poll") else { return String::new() };
    let modes = ["poll", "adaptive"].into_iter().filter_map(|rx| {
        let (figure, tail) = (p50("memif", rx)?, p99(rx)?);
        let times = figure.median / line.median;
        Some(format!("{rx}: p50 {:.0} ns ({times:.2} lines), p99 {:.0} ns", figure.median, tail.median))
    });
    let iceoryx = p50("iceoryx2", "poll").map(|figure| format!("iceoryx2: p50 {:.0} ns", figure.median));
    let all: Vec<_> = modes.chain(iceoryx).collect();
    format!(
        "\nRound trip of 64 bytes, {}; one cache line there and back: {:.0} ns.\n",
        all.join("; "),
        line.median
    )
}

/// Every row of a table.
fn whole(table: &Table, columns: &[&str], values: &[&str], ticks: f64) -> String {
    let knobs = table.rows(&[KNOBS]).iter().flatten().any(|cell| !cell.is_empty());
    let is_rate = values.first() == Some(&"Mpps");
    let mut heads: Vec<_> = columns.iter().chain(values).copied().collect();
    heads.extend(["min – max", "n"]);
    heads.extend(is_rate.then_some("ticks a packet"));
    heads.extend(knobs.then_some(KNOBS));
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), " --- |".repeat(heads.len()));
    for row in table.rows(columns) {
        let key: Vec<_> = columns.iter().copied().zip(row.iter().map(String::as_str)).collect();
        let figures: Vec<_> = values.iter().map(|value| table.figure(&key, value)).collect();
        let mut cells = row.clone();
        cells.extend(figures.iter().map(|figure| figure.map_or("–".into(), |figure| short(figure.median))));
        if let Some(Some(main)) = figures.first() {
            let doubt = if main.disturbed { "!" } else { "" };
            cells.push(format!("{} – {}", short(main.range.0), short(main.range.1)));
            cells.push(format!("{}{doubt}", main.samples));
            cells.extend(is_rate.then(|| format!("{:.0}", ticks / main.median)));
        }
        cells.extend(knobs.then(|| table.last(&key, KNOBS)));
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

fn spread(figure: Figure) -> String {
    let doubt = if figure.disturbed { "!" } else { "" };
    format!("**{}**{doubt} ({} – {})", short(figure.median), short(figure.range.0), short(figure.range.1))
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

const BEGIN: &str = "<!-- figures:";
const END: &str = "<!-- end of figures -->";

impl Excerpt {
    /// The lines of `readme` about the record in `folder`.
    fn lines(&self, readme: &Path, folder: &Path) -> String {
        let base = readme.parent().unwrap_or_else(|| Path::new(""));
        let place = folder.strip_prefix(base).unwrap_or(folder).display().to_string();
        let place = place.trim_end_matches('/');
        let mut lines = format!(
            "\n{}, {}, commit {}; DPDK {}; in Mpps, one direction, both ends copy, bursts of 64, 4 KiB pages; medians with \
             minimum and maximum, in brackets the ratio to the fastest DPDK ↔ DPDK by round; all rows in \
             [the record]({place}/README.md):\n\n{}",
            entry(&self.machine, "processor"),
            entry(&self.machine, "date"),
            entry(&self.machine, "commit"),
            entry(&self.machine, "DPDK"),
            self.summary,
        );
        self.images.iter().for_each(|(file, alt)| lines += &format!("\n![{alt}]({place}/{file})\n"));
        lines
    }
}

/// Replaces the lines between the marks.
fn insert(readme: &Path, lines: &str) -> Result<(), Error> {
    let text = read(readme)?;
    let missing = || Error::Unfit(format!("{} has no lines `{BEGIN} … -->` and `{END}`", readme.display()));
    let begin = text.find(BEGIN).ok_or_else(missing)?;
    let body = begin + text[begin..].find('\n').ok_or_else(missing)? + 1;
    let end = body + text[body..].find(END).ok_or_else(missing)?;
    write(readme, &format!("{}{lines}\n{}", &text[..body], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([123.4, 12.34, 1.234].map(short), ["123", "12.3", "1.23"]);
    }

    #[test]
    fn lines_between_the_marks_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("r");
        fs::create_dir(&record).unwrap();
        fs::write(record.join(MACHINE), "processor  P\ndate  D\ncommit  C\nDPDK  1.2\n").unwrap();
        let readme = folder.path().join("README.md");
        fs::write(&readme, "a\n<!-- figures: x -->\nold\n<!-- end of figures -->\nb\n").unwrap();
        let args = Plots { records: vec![record.clone(), record], readme: Some(readme.clone()) };
        plots(&args).unwrap();
        let text = read(&readme).unwrap();
        assert!(
            text.starts_with("a\n<!-- figures: x -->\n") && text.ends_with("<!-- end of figures -->\nb\n"),
            "{text}"
        );
        assert!(
            text.matches("P, D, commit C; DPDK 1.2;").count() == 2 && text.contains("(r/README.md)"),
            "{text}"
        );
        assert!(!text.contains("old"), "{text}");
        fs::write(&readme, "a\n").unwrap();
        assert!(plots(&args).unwrap_err().to_string().contains("has no lines"));
    }

    #[test]
    fn a_readme_shows_the_summary_and_the_plots() {
        let folder = tempfile::tempdir().unwrap();
        let readme = folder.path().join("README.md");
        fs::write(&readme, "<!-- figures: x -->\n<!-- end of figures -->\n").unwrap();
        let images = vec![("p.svg".into(), "P".into())];
        let excerpt = Excerpt { machine: String::new(), summary: "new\n".into(), images };
        insert(&readme, &excerpt.lines(&readme, &folder.path().join("r"))).unwrap();
        let text = read(&readme).unwrap();
        assert!(text.contains("\nnew\n") && text.contains("\n![P](r/p.svg)\n"), "{text}");
    }
}

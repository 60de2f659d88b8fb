//! A record: the samples of all tables of one machine and commit, in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::machine::TICKS;
use crate::measured::median;
use crate::sample::LOST_LIMIT;

/// File with the description of the machine, beside the tables.
pub(crate) const MACHINE: &str = "machine.txt";

/// The samples of a table that were kept.
#[derive(Debug)]
pub(crate) struct Table {
    heads: Vec<String>,
    samples: Vec<Vec<String>>,
}

/// The figure of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// Median.
    pub(crate) median: f64,
    /// Minimum and maximum.
    pub(crate) range: (f64, f64),
    /// Number of samples.
    pub(crate) samples: usize,
    /// Whether an end had lost its core, or the cores were at another distance, in all of them: not reliable.
    pub(crate) disturbed: bool,
}

/// Columns and the cells that a row has in them.
pub(crate) type Key<'k> = &'k [(&'k str, &'k str)];

impl Table {
    /// That of a record, if it was measured.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(folder: &Path, name: &str) -> Result<Option<Self>, Error> {
        let file = folder.join(format!("{name}.csv"));
        if !file.exists() {
            return Ok(None);
        }
        let mut reader = csv::Reader::from_path(&file)?;
        let heads = reader.headers()?.iter().map(str::to_owned).collect();
        let records = reader.records().map(|record| Ok(record?.iter().map(str::to_owned).collect()));
        let mut table = Self { heads, samples: records.collect::<Result<_, Error>>()? };
        let kept = table.at("kept");
        table.samples.retain(|sample| cell(sample, kept) == "true");
        Ok(Some(table))
    }

    /// Whether both ends had their cores, at the usual distance.
    fn is_calm(&self, sample: &[String]) -> bool {
        let (lost, usual) = (self.at("lost_share"), self.at("usual_distance"));
        number(sample, lost) <= LOST_LIMIT && cell(sample, usual) == "true"
    }

    fn at(&self, column: &str) -> Option<usize> {
        self.heads.iter().position(|head| head == column)
    }

    /// The different cells of some columns, in the order in which they were measured first.
    pub(crate) fn rows(&self, columns: &[&str]) -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for sample in &self.samples {
            let row: Vec<_> = columns.iter().map(|column| cell(sample, self.at(column)).to_owned()).collect();
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        rows
    }

    fn matching(&self, key: Key<'_>) -> Vec<&Vec<String>> {
        let fits =
            |sample: &&Vec<String>| key.iter().all(|(column, value)| cell(sample, self.at(column)) == *value);
        self.samples.iter().filter(fits).collect()
    }

    /// The last cell of a row in a column that may differ from round to round.
    pub(crate) fn last(&self, key: Key<'_>, column: &str) -> String {
        self.matching(key).last().map(|sample| cell(sample, self.at(column)).to_owned()).unwrap_or_default()
    }

    /// A figure of a row: of its undisturbed samples, or of all if there are none.
    pub(crate) fn figure(&self, key: Key<'_>, value: &str) -> Option<Figure> {
        let value = self.at(value)?;
        let all = self.matching(key);
        let calm: Vec<_> = all.iter().copied().filter(|sample| self.is_calm(sample)).collect();
        let (used, disturbed) = if calm.is_empty() { (&all, true) } else { (&calm, false) };
        let mut values: Vec<_> =
            used.iter().map(|sample| number(sample, Some(value))).filter(|value| !value.is_nan()).collect();
        let range =
            values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
        let samples = values.len();
        (samples > 0).then(|| Figure { median: median(&mut values), range, samples, disturbed })
    }

    /// Median over the rounds of the ratio of two rows in the same round. Rounds in which one of them was disturbed are used
    /// only if there are no others.
    pub(crate) fn ratio(&self, key: Key<'_>, to: Key<'_>, value: &str) -> Option<f64> {
        let (value, round) = (self.at(value), self.at("round"));
        let others = self.matching(to);
        let ratios = self.matching(key).into_iter().filter_map(|sample| {
            let other = others.iter().find(|other| cell(other, round) == cell(sample, round))?;
            let is_calm = self.is_calm(sample) && self.is_calm(other);
            Some((is_calm, number(sample, value) / number(other, value)))
        });
        let ratios: Vec<_> = ratios.collect();
        let calm = ratios.iter().any(|(is_calm, _)| *is_calm);
        let mut used: Vec<_> =
            ratios.iter().filter(|(is_calm, _)| *is_calm == calm).map(|(_, ratio)| *ratio).collect();
        (!used.is_empty()).then(|| median(&mut used))
    }
}

fn cell(sample: &[String], at: Option<usize>) -> &str {
    at.and_then(|at| sample.get(at)).map_or("", String::as_str)
}

/// Not a number if there is none.
fn number(sample: &[String], at: Option<usize>) -> f64 {
    cell(sample, at).parse().unwrap_or(f64::NAN)
}

/// Where samples of a table are added: the file, whether it is new, and the number of rounds that it has.
///
/// # Errors
/// The file has other columns.
pub(crate) fn continued(file: &Path, heads: &[String]) -> Result<(bool, usize), Error> {
    if !file.exists() {
        return Ok((true, 0));
    }
    let mut reader = csv::Reader::from_path(file)?;
    if !reader.headers()?.iter().eq(heads) {
        return Err(Error::Unfit(format!("{} has other columns: choose another folder", file.display())));
    }
    let rounds = reader.records().filter_map(|record| record.ok()?.get(0)?.parse().ok());
    Ok((false, rounds.max().unwrap_or_default()))
}

/// Begins a record of this machine, or makes sure that the one in the folder is of it.
///
/// # Errors
/// The folder cannot be written, or has a record of another machine, commit or DPDK.
pub(crate) fn begin(folder: &Path, machine: &str) -> Result<(), Error> {
    let file: PathBuf = folder.join(MACHINE);
    match fs::read_to_string(&file) {
        Ok(text) => {
            // measured anew each time, or of the day on which it was begun
            let may_differ = |line: &str| line.starts_with(TICKS) || line.starts_with("date");
            let mut lines = text.lines().zip(machine.lines());
            let Some((old, new)) = lines.find(|(old, new)| old != new && !may_differ(old)) else {
                return Ok(());
            };
            let folder = folder.display();
            Err(Error::Unfit(format!(
                "{folder} is a record of `{old}`, this is `{new}`: choose another folder"
            )))
        }
        Err(_) => {
            fs::create_dir_all(folder)
                .map_err(Error::io(format!("cannot make folder {}", folder.display())))?;
            fs::write(&file, machine).map_err(Error::io(format!("cannot write {}", file.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
round,ping_before_ns,ping_after_ns,usual_distance,kept,lost_share,size,knobs,Mpps
1,100,100,true,true,0,64,a,10
1,100,100,true,false,0.5,64,a,1
1,100,100,true,true,0,256,b,5
2,100,120,true,true,0,64,c,30
2,100,120,true,true,0,256,d,10
3,100,400,false,true,0,64,e,99
4,100,100,true,true,0.9,64,f,77
4,100,100,true,true,0,256,f,7
";

    fn table() -> Table {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.csv"), TEXT).unwrap();
        assert!(Table::read(folder.path(), "y").unwrap().is_none());
        Table::read(folder.path(), "x").unwrap().unwrap()
    }

    #[test]
    fn figures_are_of_kept_undisturbed_samples_of_valid_rounds() {
        let figure = table().figure(&[("size", "64")], "Mpps").unwrap();
        assert_eq!(figure, Figure { median: 20.0, range: (10.0, 30.0), samples: 2, disturbed: false });
        assert_eq!(table().figure(&[("size", "9")], "Mpps"), None);
        assert_eq!(table().figure(&[("size", "64")], "ns"), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(table().ratio(&[("size", "64")], &[("size", "256")], "Mpps"), Some(2.5));
    }

    #[test]
    fn rows_are_named_once_and_the_last_cell_is_known() {
        assert_eq!(table().rows(&["size"]), [["64"], ["256"]]);
        assert_eq!(table().last(&[("size", "256")], "knobs"), "f");
    }

    #[test]
    fn a_table_is_continued_after_its_last_round() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.csv");
        let heads: Vec<_> = TEXT.lines().next().unwrap().split(',').map(str::to_owned).collect();
        assert_eq!(continued(&file, &heads).unwrap(), (true, 0));
        fs::write(&file, TEXT).unwrap();
        assert_eq!(continued(&file, &heads).unwrap(), (false, 4));
        assert!(continued(&file, &heads[1..]).unwrap_err().to_string().contains("other columns"));
    }

    #[test]
    fn a_record_is_of_one_machine() {
        let folder = tempfile::tempdir().unwrap();
        begin(folder.path(), "a\nb\ndate  1\n").unwrap();
        begin(folder.path(), "a\nb\ndate  2\n").unwrap();
        let error = begin(folder.path(), "a\nc\n").unwrap_err().to_string();
        assert!(error.contains("`b`") && error.contains("`c`"), "{error}");
    }
}

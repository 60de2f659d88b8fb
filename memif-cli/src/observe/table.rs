//! Links as text, in 80 columns.

use super::rows::{EndRow, LinkRow, RegionRow, RingRow, Rows};

/// Longest line, in characters.
pub(crate) const WIDTH: usize = 80;

/// All links, with an empty line between them.
pub(crate) fn text(rows: &Rows) -> String {
    let links: Vec<String> = rows.links.iter().map(link).collect();
    let mut text = links.join("\n");
    if rows.links.is_empty() {
        text.push_str("no links\n");
    }
    if rows.hidden_processes > 0 {
        text.push_str(&format!("\n{}\n", hidden(rows.hidden_processes)));
    }
    text
}

/// The line about processes that could not be observed.
pub(crate) fn hidden(processes: usize) -> String {
    hidden_from(processes, rustix::process::geteuid().is_root())
}

fn hidden_from(processes: usize, root: bool) -> String {
    let count = if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") };
    if root {
        format!("not observed: {count}, which the system does not let root trace")
    } else {
        format!("not observed, for lack of rights: {count}; root can see their links")
    }
}

fn link(row: &LinkRow) -> String {
    let mut lines = vec![socket(row).to_owned(), format!("  {}", ends(row))];
    lines.extend(row.regions.iter().map(region));
    lines.push(header());
    lines.extend(row.rings.iter().map(ring));
    let mut text = lines.iter().map(|line| shortened(line) + "\n").collect::<String>();
    // in words, and whole
    for problem in &row.problems {
        text.push_str(&format!("  ! {problem}\n"));
    }
    text
}

/// The socket's address, where it is known.
pub(crate) fn socket(row: &LinkRow) -> &str {
    row.socket.as_deref().unwrap_or("(socket unknown)")
}

/// The processes.
pub(crate) fn ends(row: &LinkRow) -> String {
    let end = |row: &EndRow| format!("{} {} (PID {})", row.role.unwrap_or("?"), row.command, row.pid);
    row.ends.iter().map(end).collect::<Vec<_>>().join("   ")
}

/// One line.
pub(crate) fn region(row: &RegionRow) -> String {
    let index = row.index.map_or_else(|| "?".to_owned(), |index| index.to_string());
    let seals = if row.seals.is_empty() { "none".to_owned() } else { row.seals.join(" ") };
    let (bytes, page) = (bytes(row.bytes), bytes(row.page));
    format!("  region {index}  {bytes}, pages of {page}, seals: {seals}; {}", row.name)
}

fn bytes(bytes: usize) -> String {
    let (unit, name) = match bytes {
        0x4000_0000.. => (30, "GiB"),
        0x10_0000.. => (20, "MiB"),
        _ => (10, "KiB"),
    };
    let tenths = (bytes * 10) >> unit;
    if tenths.is_multiple_of(10) {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// Names of the columns of [`ring`].
pub(crate) fn header() -> String {
    columns(
        ["ring", "size", "head", "tail", "used", "full", "interrupts", "descriptors/s"].map(str::to_owned),
    )
}

/// One line. A `?` marks a direction that is assumed.
pub(crate) fn ring(row: &RingRow) -> String {
    let number = |number: Option<u16>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let mark = if row.direction_seen == Some(false) { "?" } else { "" };
    let masked = row.masked.map_or("?", |masked| if masked { "masked" } else { "wanted" });
    let percent = row.percent().map_or_else(|| "?".to_owned(), |percent| format!("{percent}%"));
    columns([
        format!("{}{mark}", row.name),
        number(row.size),
        number(row.head),
        number(row.tail),
        number(row.used),
        percent,
        masked.to_owned(),
        row.rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.0}")),
    ])
}

fn columns([name, size, head, tail, used, full, masked, rate]: [String; 8]) -> String {
    format!("  {name:<9} {size:>6} {head:>6} {tail:>6} {used:>6} {full:>5}  {masked:<10} {rate:>14}")
}

/// At most [`WIDTH`] characters.
fn shortened(line: &str) -> String {
    shortened_to(line, WIDTH)
}

/// At most `width` characters, with an ellipsis for what is cut off.
pub(crate) fn shortened_to(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> RingRow {
        RingRow {
            name: name.to_owned(),
            direction_seen: Some(true),
            size: Some(16384),
            line: Some(64),
            head: Some(65535),
            tail: Some(65535),
            used: Some(16384),
            masked: Some(false),
            descriptors: 1,
            rate: Some(35_999_999.4),
            late_looks: 1,
        }
    }

    #[test]
    fn root_is_not_told_that_root_could_see_more() {
        let text = hidden_from(1, true);
        assert!(text.contains("1 process,") && !text.contains("root can"), "{text}");
        assert!(hidden_from(2, false).contains("2 processes; root can"));
    }

    #[test]
    fn no_line_but_a_problem_is_longer_than_a_terminal_is_wide() {
        let region = RegionRow {
            index: Some(0),
            name: "/memfd:".to_owned() + &"n".repeat(200),
            bytes: 5 << 40,
            page: 2 << 20,
            seals: vec!["seal", "shrink", "grow", "write", "future-write"],
        };
        let end = EndRow { pid: u32::MAX, command: "c".repeat(15), role: None };
        let link = LinkRow {
            file: String::new(),
            socket: Some("/".repeat(107)),
            ends: vec![end.clone(), end],
            regions: vec![region],
            rings: vec![row("s2m/255")],
            problems: vec![],
            broken: false,
        };
        let text = text(&Rows { links: vec![link], hidden_processes: 12345 });
        let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= WIDTH, "{longest}");
        assert!(text.contains(" 35999999"), "{text}");
    }

    #[test]
    fn what_is_assumed_or_unknown_is_marked() {
        let assumed = RingRow { direction_seen: Some(false), ..row("m2s/0") };
        assert!(ring(&assumed).contains("m2s/0? "));
        let unknown = RingRow { direction_seen: None, size: None, tail: None, used: None, ..row("ring/3") };
        assert_eq!(ring(&unknown).matches('?').count(), 4, "{}", ring(&unknown));
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!([4096, 5 << 20, 1 << 30, 4_500_000].map(bytes), ["4 KiB", "5 MiB", "1 GiB", "4.2 MiB"]);
    }
}

//! `memif show --watch` on a terminal: what is drawn, and what keys do.

use std::collections::{HashMap, VecDeque};

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table, TableState};

use super::rows::{LinkRow, RingRow, Rows};
use super::table;

/// Smallest terminal that anything is drawn on.
const LEAST: (u16, u16) = (40, 8);
/// Seconds of a ring that are kept.
const HISTORY: usize = 120;
/// Lines of the details.
const DETAILS: u16 = 10;
/// Levels of a sparkline.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The order of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Found,
    Rate,
    Full,
}

impl Order {
    const fn name(self) -> &'static str {
        match self {
            Self::Found => "as found",
            Self::Rate => "by rate",
            Self::Full => "by how full",
        }
    }

    const fn next(self) -> Self {
        match self {
            Self::Found => Self::Rate,
            Self::Rate => Self::Full,
            Self::Full => Self::Found,
        }
    }
}

/// Names a ring over time: its link's file, and its name.
type RingKey = (String, String);

/// What is on the screen.
pub(crate) struct Screen {
    rows: Rows,
    history: HashMap<RingKey, VecDeque<u64>>,
    selected: usize,
    order: Order,
    details: bool,
    colour: bool,
}

impl Screen {
    /// Nothing is known yet. Without `colour` only attributes such as bold are used.
    pub(crate) fn new(colour: bool) -> Self {
        let rows = Rows { links: Vec::new(), hidden_processes: 0 };
        Self { rows, history: HashMap::new(), selected: 0, order: Order::Found, details: true, colour }
    }

    /// Takes what was measured in the last second.
    pub(crate) fn update(&mut self, rows: Rows) {
        let mut history = HashMap::new();
        for link in &rows.links {
            for ring in &link.rings {
                let key = (link.file.clone(), ring.name.clone());
                let mut rates = self.history.remove(&key).unwrap_or_default();
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
                rates.push_back(ring.rate.unwrap_or_default() as u64);
                while rates.len() > HISTORY {
                    rates.pop_front();
                }
                history.insert(key, rates);
            }
        }
        self.history = history;
        self.rows = rows;
    }

    /// Does what a key stands for. True if it ends the program.
    pub(crate) fn key(&mut self, key: KeyEvent) -> bool {
        // a terminal whose input ends may send Ctrl-D
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return key.code == KeyCode::Char('c');
        }
        let last = self.rings().len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Down | KeyCode::Char('j') => self.selected = self.selected.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            KeyCode::Char('s') => self.order = self.order.next(),
            KeyCode::Char('d') | KeyCode::Enter => self.details = !self.details,
            _ => {}
        }
        self.selected = self.selected.min(last);
        false
    }

    /// All rings, in the order that was chosen.
    fn rings(&self) -> Vec<(&LinkRow, &RingRow)> {
        let rings = self.rows.links.iter().flat_map(|link| link.rings.iter().map(move |ring| (link, ring)));
        let mut rings: Vec<_> = rings.collect();
        match self.order {
            Order::Found => {}
            Order::Rate => rings.sort_by(|(_, one), (_, other)| {
                other.rate.unwrap_or_default().total_cmp(&one.rate.unwrap_or_default())
            }),
            Order::Full => rings.sort_by_key(|(_, ring)| std::cmp::Reverse(ring.percent())),
        }
        rings
    }

    /// Draws it.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            let text = format!("make the terminal {} x {} or larger; q quits", LEAST.0, LEAST.1);
            frame.render_widget(Paragraph::new(text), area);
            return;
        }
        let below = if self.details && area.height >= 2 * DETAILS { DETAILS } else { 0 };
        let parts =
            [Constraint::Length(1), Constraint::Min(3), Constraint::Length(below), Constraint::Length(1)];
        let [top, middle, bottom, keys] = Layout::vertical(parts).areas(area);
        frame.render_widget(Line::styled(self.title(), Modifier::BOLD), top);
        self.draw_rings(frame, middle);
        if below > 0 {
            self.draw_details(frame, bottom);
        }
        frame.render_widget(Line::raw("q quit  s sort  d details  up/down select"), keys);
    }

    fn title(&self) -> String {
        let hidden = self.rows.hidden_processes;
        let hidden = if hidden > 0 { format!(", {hidden} processes not allowed") } else { String::new() };
        format!("memif: {} links{hidden}; rings {}", self.rows.links.len(), self.order.name())
    }

    fn draw_rings(&self, frame: &mut Frame<'_>, area: Rect) {
        let rings = self.rings();
        if rings.is_empty() {
            frame.render_widget(Paragraph::new("no links"), area);
            return;
        }
        // what the other columns leave
        let link = (area.width / 3).min(40);
        let spark = usize::from(area.width.saturating_sub(link + 10 + 5 + 13 + 2 + 5));
        let row = |(link_row, ring): &(&LinkRow, &RingRow)| {
            let wrong =
                link_row.problems.iter().any(|problem| problem.starts_with(&format!("{}:", ring.name)));
            let wrong = wrong || link_row.broken || link_row.ends.len() < 2;
            let mark = if ring.direction_seen == Some(false) { "?" } else { "" };
            let cells = [
                table::shortened_to(&name(link_row), link.into()),
                format!("{}{mark}", ring.name),
                ring.percent().map_or_else(|| "   ?".to_owned(), |percent| format!("{percent:>3}%")),
                format!("{:>13}", ring.rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.0}"))),
                if wrong { "!" } else { "" }.to_owned(),
                self.sparkline(link_row, ring, spark),
            ];
            let style = if wrong { self.alarm() } else { Style::new() };
            Row::new(cells).style(style)
        };
        let widths = [
            Constraint::Length(link),
            Constraint::Length(10),
            Constraint::Length(5),
            Constraint::Length(13),
            Constraint::Length(2),
            Constraint::Min(0),
        ];
        let header = Row::new(["link", "ring", "full", "descriptors/s", "", "last minutes"]);
        let table = Table::new(rings.iter().map(row), widths)
            .header(header.style(Modifier::UNDERLINED))
            .row_highlight_style(Modifier::REVERSED);
        let mut state = TableState::new().with_selected(Some(self.selected.min(rings.len() - 1)));
        frame.render_stateful_widget(table, area, &mut state);
    }

    fn sparkline(&self, link: &LinkRow, ring: &RingRow, width: usize) -> String {
        let Some(rates) = self.history.get(&(link.file.clone(), ring.name.clone())) else {
            return String::new();
        };
        let most = rates.iter().copied().max().unwrap_or_default();
        let shown = rates.iter().skip(rates.len().saturating_sub(width));
        let bar = |rate: &u64| match most {
            0 => ' ',
            _ => usize::try_from(rate.saturating_mul(7) / most)
                .ok()
                .and_then(|level| BARS.get(level))
                .copied()
                .unwrap_or('█'),
        };
        shown.map(bar).collect()
    }

    fn draw_details(&self, frame: &mut Frame<'_>, area: Rect) {
        let rings = self.rings();
        let Some((link, ring)) = rings.get(self.selected.min(rings.len().saturating_sub(1))) else { return };
        let mut lines =
            vec![Line::raw(table::socket(link).to_owned()), Line::raw(format!("  {}", table::ends(link)))];
        // first, as there may be no room for the rest
        lines
            .extend(link.problems.iter().map(|problem| Line::styled(format!("  ! {problem}"), self.alarm())));
        lines.extend([table::header(), table::ring(ring)].map(Line::raw));
        lines.extend(link.regions.iter().map(|region| Line::raw(table::region(region))));
        let block = Block::bordered().title(ring.name.clone());
        frame.render_widget(Paragraph::new(lines).block(block), area);
    }

    /// The style of what is wrong.
    fn alarm(&self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.colour { bold.fg(Color::Red) } else { bold }
    }
}

/// What a link is called in the list.
fn name(link: &LinkRow) -> String {
    let pids = || link.ends.iter().map(|end| end.pid.to_string()).collect::<Vec<_>>().join(" ");
    link.socket.clone().unwrap_or_else(|| format!("PID {}", pids()))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rows::{EndRow, RegionRow};
    use super::*;

    fn ring(name: &str, used: u16, rate: f64) -> RingRow {
        RingRow {
            name: name.to_owned(),
            direction_seen: Some(true),
            size: Some(1024),
            line: Some(64),
            head: Some(used),
            tail: Some(0),
            used: Some(used),
            masked: Some(true),
            descriptors: 0,
            late_looks: 0,
            rate: Some(rate),
        }
    }

    fn rows() -> Rows {
        let end = |pid, role| EndRow { pid, command: "testpmd".to_owned(), role: Some(role) };
        let region =
            RegionRow { index: Some(0), name: "memif".to_owned(), bytes: 4096, page: 4096, seals: vec![] };
        let link = LinkRow {
            file: "1:2".to_owned(),
            socket: Some("/run/m.sock".to_owned()),
            ends: vec![end(70, "master"), end(71, "slave")],
            regions: vec![region],
            rings: vec![ring("s2m/0", 1024, 5.0), ring("m2s/0", 512, 1_234_567.0)],
            problems: vec!["s2m/0: full for 12 s: the master does not receive (PID 70)".to_owned()],
            broken: false,
        };
        Rows { links: vec![link], hidden_processes: 1 }
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> (String, bool) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let coloured = buffer.content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        let lines = buffer.content().chunks(width.into());
        let text =
            lines.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n");
        (text.collect(), coloured)
    }

    fn press(screen: &mut Screen, code: KeyCode) -> bool {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn it_is_readable_at_80_and_140_columns_without_colour() {
        let mut screen = Screen::new(false);
        (0..5).for_each(|_| screen.update(rows()));
        for width in [80, 140] {
            let (text, coloured) = drawn(&screen, width, 24);
            assert!(!coloured, "{text}");
            for part in [
                "/run/m.sock",
                "s2m/0",
                "100%",
                "1234567",
                "█████",
                "! s2m/0: full for 12 s",
                "(PID 70)",
                "q quit",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        let mut screen = Screen::new(true);
        screen.update(rows());
        assert!(drawn(&screen, 80, 24).1);
    }

    #[test]
    fn any_size_can_be_drawn() {
        let mut screen = Screen::new(true);
        for _ in 0..2 {
            for width in [1, 2, 39, 40, 41, 80, 300] {
                for height in [1, 2, 7, 8, 9, 19, 20, 100] {
                    drawn(&screen, width, height);
                }
            }
            screen.update(rows());
        }
        assert!(drawn(&screen, 39, 8).0.contains("make the terminal"));
    }

    #[test]
    fn keys_sort_select_and_quit() {
        let mut screen = Screen::new(false);
        screen.update(rows());
        let first = |screen: &Screen| screen.rings()[0].1.name.clone();
        assert_eq!(first(&screen), "s2m/0");
        assert!(!press(&mut screen, KeyCode::Char('s')));
        assert_eq!(first(&screen), "m2s/0");
        press(&mut screen, KeyCode::Char('s'));
        assert_eq!(first(&screen), "s2m/0");
        for _ in 0..5 {
            press(&mut screen, KeyCode::Down);
        }
        assert_eq!(screen.selected, 1);
        press(&mut screen, KeyCode::Char('d'));
        assert!(!drawn(&screen, 80, 24).0.contains("seals"));
        assert!(press(&mut screen, KeyCode::Char('q')) && press(&mut screen, KeyCode::Esc));
        let details = screen.details;
        assert!(!screen.key(KeyEvent::new(KeyCode::Char('d'), KeyModifiers::CONTROL)));
        assert_eq!(screen.details, details, "Ctrl-D is another key");
        assert!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    }
}

//! Errors of the command line as one line, without secrets.

use std::cmp::Reverse;

/// clap's message, of several lines and with the usage below, as one line. Values of ports in `args` are not shown.
pub(crate) fn one_line(error: &clap::Error, args: impl Iterator<Item = String>) -> String {
    let text = hide_values(error.render().to_string(), args);
    let message = text.split("\n\nUsage:").next().unwrap_or_default();
    let message = message.split("\n\nFor more information").next().unwrap_or_default();
    let paragraphs = message.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = paragraphs.collect::<Vec<_>>().join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line}; see memif --help")
}

/// Cuts each of `args` in `text` that may be a port, or a part of one, at its first comma or equals sign.
fn hide_values(mut text: String, args: impl Iterator<Item = String>) -> String {
    let mut hidden = Vec::new();
    for arg in args {
        let option = arg.split_once('=').filter(|_| arg.starts_with("--"));
        let value = option.map_or(arg.as_str(), |(_, value)| value);
        hidden.extend([value].into_iter().chain(value.split(',')).map(str::to_owned));
    }
    // the longest first, as a shorter one may be part of it
    hidden.sort_unstable_by_key(|part| Reverse(part.len()));
    for part in hidden {
        if let Some(end) = part.find([',', '=']) {
            text = text.replace(&part, &format!("{}…", part.get(..=end).unwrap_or_default()));
        }
    }
    text
}

//! Escapes in the text of a port, for paths and values that contain separators.

/// The character that escapes the next one.
const ESCAPE: char = '\\';
/// Characters that can be escaped.
const ESCAPED: [char; 3] = [',', '=', ESCAPE];

/// Splits at the first `separator` that is not escaped, and removes it. The second part is `None` if there is none.
pub(super) fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if char == separator && !escaped {
            let (front, behind) = text.split_at(at);
            return (front, behind.strip_prefix(separator));
        }
        escaped = char == ESCAPE && !escaped;
    }
    (text, None)
}

/// Replaces each escaped character by the character itself.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let next = chars.next_if(|next| char == ESCAPE && ESCAPED.contains(next));
        out.push(next.unwrap_or(char));
    }
    out
}

/// Escapes `text`, so that [`cut`] does not split it and [`unescaped`] returns it.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|char| ESCAPED.contains(&char).then_some(ESCAPE).into_iter().chain([char]))
        .collect()
}

//! Escapes in the text of a port: separators that belong to a path or to a value.

/// What escapes the character behind it.
const ESCAPE: char = '\\';
/// Characters that can be escaped.
const ESCAPED: [char; 3] = [',', '=', ESCAPE];

/// Splits at the first `separator` that is not escaped.
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

/// Text with its escapes resolved.
pub(super) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let next = chars.next_if(|next| char == ESCAPE && ESCAPED.contains(next));
        out.push(next.unwrap_or(char));
    }
    out
}

/// Text that [`unescaped`] makes `text` of, and that [`cut`] does not split.
pub(super) fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|char| ESCAPED.contains(&char).then_some(ESCAPE).into_iter().chain([char]))
        .collect()
}

//! Ports as text, against a reading of their documentation: which texts are ports, what an interface made of one is, and
//! that no secret is ever shown.
#![no_main]

use std::fmt::Write;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_pmd::{Port, Role};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Anything at all.
    Text(&'a str),
    /// Mostly well-formed.
    Parts { path: &'a str, parts: Vec<(Key, Value<'a>)> },
    /// A port with a secret, and anything behind it.
    Secret { path: &'a str, key: u8, mark: bool, rest: &'a str },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Key {
    Known(u8),
    Unknown(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Value<'a> {
    Word(u8),
    Number(u64),
    Text(&'a str),
}

const KEYS: [&str; 17] = [
    "role",
    "id",
    "mode",
    "secret",
    "queues",
    "ring",
    "buffer",
    "huge",
    "rx",
    "secret-file",
    "netns",
    "silence",
    "handshake",
    "line",
    "layout",
    "rx-queues",
    "tx-queues",
];
/// Keys that somebody writes a secret behind, rightly or not.
const SECRET_KEYS: [&str; 5] = ["secret", "secert", "Secret", "", "id"];
const SECRET: &str = "hush-hush-hush";
const WORDS: [&str; 15] = [
    "master",
    "slave",
    "ethernet",
    "ip",
    "punt-inject",
    "off",
    "prefer",
    "require",
    "poll",
    "interrupt",
    "adaptive",
    "",
    "128",
    "packed",
    "fixed",
];

impl Input<'_> {
    fn text(&self) -> String {
        let (path, parts) = match self {
            Self::Text(text) => return (*text).to_owned(),
            Self::Secret { path, key, mark, rest } => {
                let key = SECRET_KEYS[usize::from(*key) % SECRET_KEYS.len()];
                return format!("{path},{key}{}{SECRET}{rest}", if *mark { "=" } else { ":" });
            }
            Self::Parts { path, parts } => (path, parts),
        };
        let mut text = (*path).to_owned();
        for (key, value) in parts {
            match key {
                Key::Known(key) => write!(text, ",{}=", KEYS[usize::from(*key) % KEYS.len()]).unwrap(),
                Key::Unknown(key) => write!(text, ",k{key}=").unwrap(),
            }
            match value {
                Value::Word(word) => text.push_str(WORDS[usize::from(*word) % WORDS.len()]),
                Value::Number(number) => write!(text, "{number}").unwrap(),
                Value::Text(value) => text.push_str(value),
            }
        }
        text
    }
}

/// What `u16` and its kin take: an optional plus sign and decimal digits, within range.
fn is_number(value: &str, max: u128) -> bool {
    let digits = value.strip_prefix('+').unwrap_or(value);
    let sane = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    sane && digits.trim_start_matches('0').len() <= 30 && digits.bytes().fold(0u128, add_digit) <= max
}

fn add_digit(sum: u128, digit: u8) -> u128 {
    (sum.saturating_mul(10)).saturating_add(u128::from(digit - b'0'))
}

/// A character of a port's text: itself, or escaped by a backslash.
#[derive(Clone, Copy, PartialEq)]
enum Char {
    Plain(char),
    Escaped(char),
}

/// The fields of a port's text, which commas that are not escaped separate.
fn fields(text: &str) -> Vec<Vec<Char>> {
    let mut fields = vec![Vec::new()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escaped = rest.strip_prefix('\\').and_then(|behind| behind.chars().next());
        let char = match escaped {
            Some(second @ (',' | '=' | '\\')) => {
                rest = &rest[2..];
                Char::Escaped(second)
            }
            _ => {
                rest = &rest[first.len_utf8()..];
                Char::Plain(first)
            }
        };
        if char == Char::Plain(',') {
            fields.push(Vec::new());
        } else {
            fields.last_mut().unwrap().push(char);
        }
    }
    fields
}

fn meaning(chars: &[Char]) -> String {
    chars.iter().map(|&(Char::Plain(char) | Char::Escaped(char))| char).collect()
}

/// The path and the role of a text that is a port.
fn expected(text: &str) -> Option<(String, Role)> {
    let mut role = Role::Slave;
    let mut seen: Vec<String> = Vec::new();
    let fields = fields(text);
    let (path, parts) = fields.split_first()?;
    if path.contains(&Char::Plain('=')) {
        return None;
    }
    for part in parts {
        let equals = part.iter().position(|&char| char == Char::Plain('='))?;
        // no key has a character that can be escaped
        if part[..equals].iter().any(|char| matches!(char, Char::Escaped(_))) {
            return None;
        }
        let (key, value) = (meaning(&part[..equals]), meaning(&part[equals + 1..]));
        let (key, value) = (key.as_str(), value.as_str());
        let seen_key = |key: &str| seen.iter().any(|seen| seen == key);
        if seen_key(key) {
            return None;
        }
        let fits = match key {
            "role" => {
                role = if value == "master" { Role::Master } else { Role::Slave };
                ["master", "slave"].contains(&value)
            }
            "mode" => ["ethernet", "ip", "punt-inject"].contains(&value),
            "huge" => ["off", "prefer", "require"].contains(&value),
            "rx" => ["poll", "interrupt", "adaptive"].contains(&value),
            "line" => ["64", "128"].contains(&value),
            "layout" => ["packed", "fixed"].contains(&value),
            "netns" => !value.is_empty(),
            "secret" => !value.is_empty() && !seen_key("secret-file"),
            "secret-file" => !value.is_empty() && !seen_key("secret"),
            "queues" => !seen_key("rx-queues") && !seen_key("tx-queues") && is_number(value, u16::MAX.into()),
            "rx-queues" | "tx-queues" => !seen_key("queues") && is_number(value, u16::MAX.into()),
            "id" | "ring" | "buffer" | "silence" | "handshake" => is_number(value, u32::MAX.into()),
            _ => false,
        };
        if !fits {
            return None;
        }
        seen.push(key.to_owned());
    }
    Some((meaning(path), role))
}

/// Neither a port nor an error shows a secret that stands behind the path.
fn assert_shows_no_secret(input: &Input<'_>, shown: &str) {
    if let Input::Secret { path, rest, .. } = input {
        // what the fuzzer makes up elsewhere, such as the name of a file, is no secret; nor is what a path escapes
        let made_up =
            path.contains(SECRET) || rest.contains(SECRET) || fields(&format!("{path},")).len() == 1;
        assert!(made_up || !shown.contains(SECRET), "{shown}");
    }
}

fuzz_target!(|input: Input<'_>| {
    let text = input.text();
    match (text.parse::<Port>(), expected(&text)) {
        (Ok(port), Some((path, role))) => {
            let path = if path.is_empty() { memif_pmd::DEFAULT_SOCKET } else { &path };
            assert_eq!(port.socket(), path);
            assert_eq!(port.role(), role);
            assert_shows_no_secret(&input, &format!("{port} {port:?}"));
            let again: Port = port.to_string().parse().unwrap();
            assert_eq!(again.to_string(), port.to_string());
        }
        (Err(error), None) => {
            assert!(error.to_string().starts_with("port "));
            assert_shows_no_secret(&input, &format!("{error} {error:?}"));
        }
        (got, want) => panic!("{text:?}: {got:?}, expected {want:?}"),
    }
});

//! `NAME[,key=value…]`: the text of a `tap:`, `packet:` or `xdp:` port behind the colon.

use memif_os::socket::NetNamespace;

use crate::error::ToolError;

/// A name and its keys.
#[derive(Debug)]
pub(super) struct Keys<'t> {
    kind: &'static str,
    /// The interface's name.
    pub(super) name: &'t str,
    /// Each key with its value; `None` for one without `=`.
    pub(super) pairs: Vec<(&'t str, Option<&'t str>)>,
}

impl<'t> Keys<'t> {
    /// Splits the text of a port of this kind. Only keys in `known` are allowed, each once unless it is in `repeated`.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: no interface can have this name, or a key is unknown or given twice.
    pub(super) fn split(
        kind: &'static str,
        text: &'t str,
        known: &[&str],
        repeated: &[&str],
    ) -> Result<Self, ToolError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let mut keys = Self { kind, name, pairs: Vec::new() };
        // the kernel's rule; = is also excluded, as it separates a key from its value
        let is_name = (1..=15).contains(&name.len())
            && !matches!(name, "." | "..")
            && !name.bytes().any(|byte| matches!(byte, b'/' | b':' | b'=') || byte.is_ascii_whitespace());
        if !is_name {
            return Err(
                keys.wrong(format!("{name:?} is not the name of an interface: names have 1 to 15 bytes, without / : = or white space"))
            );
        }
        for part in parts {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (part, None),
            };
            if !known.contains(&key) {
                return Err(keys.wrong(format!("unknown key {key:?}: use {}", known.join(", "))));
            }
            if keys.pairs.iter().any(|(other, _)| *other == key) && !repeated.contains(&key) {
                return Err(keys.wrong(format!("{key} is given twice")));
            }
            keys.pairs.push((key, value));
        }
        Ok(keys)
    }

    /// The error for a mistake in this port's text.
    pub(super) fn wrong(&self, problem: impl std::fmt::Display) -> ToolError {
        ToolError::Usage(format!("port {}:{}: {problem}", self.kind, self.name))
    }

    /// The value of `key`, a number in `range`.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: there is no value, it is not a number, or it is outside of the range.
    pub(super) fn number(
        &self,
        key: &str,
        value: Option<&str>,
        range: std::ops::RangeInclusive<u16>,
    ) -> Result<u16, ToolError> {
        let number = value.and_then(|value| value.parse().ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| {
            self.wrong(format!("{key} must be a number from {} to {}", range.start(), range.end()))
        })
    }

    /// A network namespace.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: the value is missing or names no network namespace.
    pub(super) fn namespace(&self, value: Option<&str>) -> Result<NetNamespace, ToolError> {
        NetNamespace::new(value.unwrap_or_default()).map_err(|error| self.wrong(error))
    }

    /// True, for a key without a value.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: the key has a value.
    pub(super) fn flag(&self, key: &str, value: Option<&str>) -> Result<bool, ToolError> {
        value.map_or(Ok(true), |_| Err(self.wrong(format!("{key} takes no value"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_split_and_mistakes_named() {
        let split = |text| Keys::split("tap", text, &["mtu", "ip", "persist"], &["ip"]);
        let keys = split("t0,mtu=1500,ip=1.2.3.4/8,persist,ip=::1/64").unwrap();
        assert_eq!((keys.name, keys.pairs.len()), ("t0", 4));
        assert_eq!(keys.number("mtu", keys.pairs[0].1, 68..=9000).unwrap(), 1500);
        assert!(keys.flag("persist", keys.pairs[2].1).unwrap());
        for (text, problem) in [
            ("", "\"\" is not the name"),
            ("a/b", "is not the name"),
            ("interface-of-16b", "1 to 15 bytes"),
            ("t0,speed=1", "unknown key \"speed\": use mtu, ip, persist"),
            ("t0,mtu=1,mtu=2", "mtu is given twice"),
        ] {
            let error = split(text).unwrap_err();
            assert!(error.to_string().contains(problem) && error.exit_code() == 2, "{text}: {error}");
        }
        assert!(
            keys.number("mtu", Some("9001"), 68..=9000).is_err() && keys.flag("persist", Some("1")).is_err()
        );
    }
}

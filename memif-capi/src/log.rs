//! The library's warnings, on standard error, for programs that ask for them with the environment variable `MEMIF_LOG`.

use std::env;
use std::io::stderr;
use std::sync::Once;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

/// `error`, `warn`, `info`, `debug` or `trace`; anything else means `warn`. Nothing is written where it is not set, empty or
/// `off`.
const VARIABLE: &str = "MEMIF_LOG";

/// Begins to write where the program has asked for it; once, with the first socket.
pub(crate) fn begin() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let Some(value) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) else { return };
        let level = value.to_str().and_then(|value| value.parse().ok()).unwrap_or(LevelFilter::WARN);
        // a Rust program may have a subscriber of its own
        let _ = fmt().with_max_level(level).with_writer(stderr).with_ansi(false).try_init();
    });
}

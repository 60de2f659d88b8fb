//! `memif show`: the links of this host.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use memif_pmd::{Stop, ctrl_c};

use super::metrics::openmetrics;
use super::rows::Rows;
use super::sampler::Sampler;
use super::table;
use super::watch::watch;
use crate::args::ShowArgs;
use crate::error::ToolError;

/// Time between two reports.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Shows links once, or each second.
///
/// # Errors
/// No links, or no rights to see them; standard output cannot be written.
pub(crate) fn show(args: &ShowArgs) -> Result<(), ToolError> {
    let mut sampler = Sampler::start(args.scope.scope())?;
    let stop = ctrl_c()?;
    if !args.watch {
        if !args.json && !args.openmetrics && sampler.observer().links().is_empty() {
            return Err(no_links(sampler.observer().hidden()));
        }
        return print(&next(&mut sampler, &stop)?, args);
    }
    if !args.json && io::stdout().is_terminal() {
        return watch(sampler, &stop);
    }
    while !stop.is_stopped() {
        print(&next(&mut sampler, &stop)?, args)?;
    }
    Ok(())
}

fn next(sampler: &mut Sampler, stop: &Stop) -> Result<Rows, ToolError> {
    sampler.look(SECOND, || stop.is_stopped());
    sampler.report()
}

fn print(rows: &Rows, args: &ShowArgs) -> Result<(), ToolError> {
    let text = if args.openmetrics {
        openmetrics(rows)?
    } else if args.json {
        serde_json::to_string(rows).map_err(io::Error::from).map_err(ToolError::Output)? + "\n"
    } else if args.watch {
        table::text(rows) + "\n"
    } else {
        table::text(rows)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ToolError::Output)
}

/// There are none.
pub(super) fn no_links(hidden: usize) -> ToolError {
    let why = if hidden > 0 { format!("; {}", table::hidden(hidden)) } else { String::new() };
    ToolError::NoLinks(why)
}

//! `memif exporter`: the links of this host for Prometheus.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use memif_observe::Scope;
use memif_pmd::ctrl_c;

use super::metrics::openmetrics;
use super::sampler::Sampler;
use super::show::SECOND;
use crate::args::ExporterArgs;
use crate::error::ToolError;
use crate::serve::Server;

/// Serves the metrics of all links until Ctrl-C.
///
/// # Errors
/// The address cannot be used, links cannot be searched for, or standard output cannot be written.
pub(crate) fn exporter(args: &ExporterArgs) -> Result<(), ToolError> {
    let mut sampler = Sampler::start(Scope::default())?;
    let stop = ctrl_c()?;
    let latest = Arc::new(Mutex::new(openmetrics(&sampler.report()?)?));
    let served = Arc::clone(&latest);
    // a panic cannot leave the text half replaced
    let source = move || served.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let server = Server::start(args.listen, source)?;
    writeln!(io::stdout(), "{}", server.url()).map_err(ToolError::Output)?;
    while !stop.is_stopped() {
        sampler.look(SECOND, || stop.is_stopped());
        let text = openmetrics(&sampler.report()?)?;
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
    Ok(())
}

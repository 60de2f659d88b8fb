//! The machine that a run uses: processor, cores and memory.

use std::collections::BTreeSet;

use memif_pmd::LineSize;

use crate::ports::Port;
use crate::report::Machine;

impl Machine {
    /// This machine, for a run on `cores` with `ports`.
    pub(crate) fn of(ports: &[&dyn Port], cores: &str) -> Self {
        Self { processor: processor(), cores: cores.to_owned(), memory: memory(ports), rings: rings(ports) }
    }
}

/// Page sizes of the shared memory, and why it is not on huge pages if this process allocated it.
fn memory(ports: &[&dyn Port]) -> String {
    let details = ports.iter().filter_map(|port| port.details());
    let regions: Vec<_> = details.flat_map(|details| details.regions).collect();
    let sizes: BTreeSet<u64> = regions.iter().map(|region| region.page_size / 1024).collect();
    if sizes.is_empty() {
        return "none".to_owned();
    }
    let sizes: Vec<String> = sizes.iter().map(|kib| format!("{kib} KiB")).collect();
    let reason = regions.iter().find_map(|region| region.fallback.as_ref());
    format!(
        "{} pages{}",
        sizes.join(" and "),
        reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
    )
}

/// The cache lines that the rings of the links are laid out for.
fn rings(ports: &[&dyn Port]) -> String {
    let details = ports.iter().filter_map(|port| port.details());
    let sizes: BTreeSet<usize> =
        details.filter_map(|details| details.line_size).map(LineSize::bytes).collect();
    if sizes.is_empty() {
        return "none".to_owned();
    }
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    format!("lines of {} bytes", sizes.join(" and "))
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model(&info).unwrap_or_else(|| "unknown".to_owned())
}

fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    Some(model.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_name_is_found() {
        assert_eq!(model("processor: 0\nmodel name\t: Some CPU @ 3 GHz\n"), Some("Some CPU @ 3 GHz".into()));
        assert_eq!(model("processor: 0\n"), None);
        assert_eq!((memory(&[]), rings(&[])), ("none".into(), "none".into()));
    }
}
